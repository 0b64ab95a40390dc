//! tracefs: whether the kernel's tracepoints are listed, and mounting it.

use std::{ffi::CStr, fs, io};

use thiserror::Error;

use super::list::Feature;

/// Where it is mounted: an empty directory of sysfs made for it.
const MOUNT_POINT: &CStr = c"/sys/kernel/tracing";
/// Where to see that it is.
const EVENTS: &str = "/sys/kernel/tracing/events";

/// Why tracefs is not mounted.
#[derive(Debug, Error)]
pub enum TracefsError {
    /// Not allowed to mount.
    #[error("not allowed to mount tracefs at /sys/kernel/tracing: {0}; run as root")]
    Privilege(io::Error),
    /// The kernel has none.
    #[error("tracefs cannot be mounted at /sys/kernel/tracing: {0}; it needs CONFIG_TRACING")]
    Refused(io::Error),
}

pub(super) fn tracefs() -> Feature {
    let (is_present, detail) = match fs::read_dir(EVENTS) {
        Ok(_) => (Some(true), format!("{EVENTS} is readable")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (Some(false), "not mounted at /sys/kernel/tracing".to_owned())
        }
        Err(error) => (None, format!("{EVENTS}: {error}")),
    };
    // Nothing lacks without: the programs hook typed and raw tracepoints, which need no file.
    Feature::seen(
        "tracefs",
        is_present,
        detail,
        "mount -t tracefs tracefs /sys/kernel/tracing",
        &[],
    )
}

/// Mounts tracefs at `/sys/kernel/tracing` if nothing is mounted there, and says whether it did.
///
/// # Errors
/// [`TracefsError`].
pub fn mount_tracefs() -> Result<bool, TracefsError> {
    if fs::exists(EVENTS).unwrap_or(false) {
        return Ok(false);
    }
    let kind = c"tracefs".as_ptr();
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: the strings end with 0 and live through the call.
    let outcome = unsafe { libc::mount(kind, MOUNT_POINT.as_ptr(), kind, flags, std::ptr::null()) };
    if outcome == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TracefsError::Privilege(error),
        _ => TracefsError::Refused(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives this thread mounts of its own, so that the machine's stay as they are.
    fn private_mounts() -> io::Result<()> {
        // SAFETY: no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        let (none, root) = (std::ptr::null(), c"/".as_ptr());
        // SAFETY: the path ends with 0; the other arguments may be null for these flags.
        match unsafe { libc::mount(none, root, none, flags, std::ptr::null()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[test]
    fn mounting_shows_the_events_or_says_what_is_needed() {
        let outcome = std::thread::spawn(|| {
            if let Err(error) = private_mounts() {
                // Without the privilege for a private mount table there is none for a mount either.
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                return tracefs().is_present == Some(true)
                    || matches!(mount_tracefs(), Err(TracefsError::Privilege(_)));
            }
            // SAFETY: the path ends with 0. There may be nothing to take away.
            unsafe { libc::umount2(MOUNT_POINT.as_ptr(), libc::MNT_DETACH) };
            let before = tracefs().is_present;
            let did = mount_tracefs().expect("root may mount");
            assert!(did || before == Some(true));
            assert!(!mount_tracefs().expect("mounted already"), "mounted twice");
            tracefs().is_present == Some(true)
        });
        assert!(outcome.join().expect("no panic"));
    }
}
