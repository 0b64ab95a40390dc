//! Opening files that belong to somebody else.
//!
//! Contract: a container chooses what lies under its root, so a path there is resolved inside that
//! root (an absolute symbolic link does not lead to the host's files), only regular files are
//! opened, and opening never blocks.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What makes two open files the same file with the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    device: u64,
    /// The inode number, as `/proc/PID/maps` shows it too.
    pub inode: u64,
    /// The size when it was looked at.
    pub size_bytes: u64,
    mtime_ns: i128,
}

impl FileKey {
    /// The key of a regular file.
    pub fn of(metadata: &std::fs::Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        })
    }
}

/// Opens a regular file by a path of our own (procfs links included) and tells its key.
pub(super) fn regular(path: &Path) -> io::Result<(File, FileKey)> {
    // A device or a pipe is refused before it is opened: opening one can have effects.
    FileKey::of(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    let key = FileKey::of(&file.metadata()?)?;
    Ok((file, key))
}

/// Opens `path`, absolute as the process sees it, inside the root directory of the process.
pub(super) fn in_root(proc_id: u32, path: &Path) -> io::Result<(File, FileKey)> {
    inside(&root_of(proc_id)?, path)
}

/// The root directory of a process: what is in it can be opened even when the process has ended.
pub(super) fn root_of(proc_id: u32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(format!("/proc/{proc_id}/root"))
}

/// Opens `path` inside such a directory.
pub(super) fn inside(root: &File, path: &Path) -> io::Result<(File, FileKey)> {
    let handle = open_beneath(root, path, libc::O_PATH)?;
    regular(&fd_path(&handle))
}

/// The path by which this process can open `file` again, whatever became of its name.
pub(super) fn fd_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn open_beneath(root: &File, path: &Path, flags: i32) -> io::Result<File> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `open_how` is plain data for which all zeroes is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the descriptor, the terminated string and the structure outlive the call, and the
    // size given is the size of the structure.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_lead_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("out")).unwrap();
        std::fs::write(root.path().join("in"), "x").unwrap();
        std::os::unix::fs::symlink("/in", root.path().join("link")).unwrap();
        let directory = File::open(root.path()).unwrap();
        assert!(open_beneath(&directory, Path::new("/out"), libc::O_PATH).is_err());
        assert!(open_beneath(&directory, Path::new("/link"), libc::O_PATH).is_ok());
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the string is terminated and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert_eq!(regular(&path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
