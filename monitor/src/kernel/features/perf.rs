//! Which perf events this kernel opens: asked by opening one for this process, disabled, and closing it.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
};

use super::list::{Feature, PROFILES};

const PMUS: &str = "/sys/bus/event_source/devices";

/// `struct perf_event_attr` as it was first (`PERF_ATTR_SIZE_VER0`): every kernel takes it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_TYPE_SOFTWARE: u32 = 1;
const COUNT_HARDWARE_CPU_CYCLES: u64 = 0;
const COUNT_SOFTWARE_CPU_CLOCK: u64 = 0;
const DISABLED: u64 = 1;
/// Without it the question would be one of privilege.
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// Opens an event of this thread on any CPU, and closes it.
fn open(kind: u32, config: u64) -> io::Result<()> {
    let attributes = Attributes {
        kind,
        size: size_of::<Attributes>() as u32,
        config,
        flags: DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
        ..Attributes::default()
    };
    let (this_thread, any_cpu, no_group): (libc::pid_t, libc::c_int, libc::c_int) = (0, -1, -1);
    // SAFETY: the attributes are of the size they say, and the kernel only reads them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            this_thread,
            any_cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

/// What an answer means: refused for want of privilege is not known, anything else is not there.
fn judge(answer: io::Result<()>) -> (Option<bool>, String) {
    match answer {
        Ok(()) => (Some(true), "perf_event_open opens it".to_owned()),
        Err(error) => {
            let is_denied = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
            ((!is_denied).then_some(false), format!("perf_event_open: {error}"))
        }
    }
}

pub(super) fn hardware() -> Feature {
    let (is_present, detail) = judge(open(PERF_TYPE_HARDWARE, COUNT_HARDWARE_CPU_CYCLES));
    // Nothing lacks without: samples come from the software clock.
    Feature::seen("hardware counters", is_present, detail, "give the virtual machine a PMU", &[])
}

pub(super) fn cpu_clock() -> Feature {
    let (is_present, detail) = judge(open(PERF_TYPE_SOFTWARE, COUNT_SOFTWARE_CPU_CLOCK));
    let remedy = "allow perf_event_open: CONFIG_PERF_EVENTS, and no seccomp filter against it";
    Feature::seen("software CPU clock", is_present, detail, remedy, &[PROFILES])
}

pub(super) fn kprobes() -> Feature {
    let (is_present, detail) = pmu(Path::new(PMUS), "kprobe");
    Feature::seen("kprobes", is_present, detail, "run a kernel with CONFIG_KPROBE_EVENTS", &[])
}

pub(super) fn uprobes() -> Feature {
    let (is_present, detail) = pmu(Path::new(PMUS), "uprobe");
    Feature::seen("uprobes", is_present, detail, "run a kernel with CONFIG_UPROBE_EVENTS", &[])
}

/// Whether the kernel lists a kind of perf event.
fn pmu(pmus: &Path, name: &str) -> (Option<bool>, String) {
    let path = pmus.join(name);
    match path.try_exists() {
        Ok(true) => (Some(true), path.display().to_string()),
        Ok(false) if pmus.exists() => (Some(false), format!("{} is missing", path.display())),
        Ok(false) => (None, format!("{} is missing: is sysfs mounted?", pmus.display())),
        Err(error) => (None, format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_event_that_no_kernel_has_is_not_there() {
        assert_eq!(judge(open(u32::MAX, 0)).0, Some(false));
    }

    #[test]
    fn want_of_privilege_is_not_absence() {
        assert_eq!(judge(Err(io::Error::from_raw_os_error(libc::EACCES))).0, None);
        assert_eq!(judge(Err(io::Error::from_raw_os_error(libc::ENOENT))).0, Some(false));
    }

    #[test]
    fn without_sysfs_it_is_not_known() {
        assert_eq!(pmu(Path::new("/nowhere"), "kprobe").0, None);
        assert_eq!(pmu(Path::new("/proc"), "kprobe").0, Some(false));
        assert_eq!(pmu(Path::new("/proc"), "stat").0, Some(true));
    }
}
