//! The vDSO: an ELF that the kernel maps into every process and that is no file.
//!
//! All processes of one bitness share one image, so ours serves for them; it is copied into memory
//! that has a descriptor, and is then an object like any other.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::maps;
use super::object::{Object, Objects};
use super::open::FileKey;

/// The name of the mapping in `/proc/PID/maps`.
pub(super) const NAME: &str = "[vdso]";
/// The image has a page or two; more would not be one.
const SIZE_BYTES_MAX: u64 = 1 << 20;

/// The vDSO of a process.
pub(super) struct Vdso {
    object: Arc<Object>,
    size_bytes: u64,
}

impl Vdso {
    /// Reads the image out of our own memory; `None` if there is none.
    pub fn load(objects: &Objects) -> Option<Self> {
        let (file, key, size_bytes) = image()?;
        let object = objects.add(file, key, NAME.into(), None)?;
        Some(Self { object, size_bytes })
    }

    /// The object, if a mapping of that size is the same image (a 32-bit process has another).
    pub fn object(&self, size_bytes: u64) -> Option<Arc<Object>> {
        (size_bytes == self.size_bytes).then(|| Arc::clone(&self.object))
    }
}

/// A copy of the image as a file, with its key and its length in bytes.
pub(crate) fn image() -> Option<(File, FileKey, u64)> {
    let text = std::fs::read("/proc/self/maps").ok()?;
    let line = maps::parse(&text).into_iter().find(|line| line.path == NAME)?;
    let size_bytes = line.end - line.start;
    if size_bytes > SIZE_BYTES_MAX {
        return None;
    }
    let mut image = vec![0; size_bytes as usize];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut image, line.start).ok()?;
    let mut file = memory_file().ok()?;
    file.write_all(&image).ok()?;
    let key = FileKey::of(&file.metadata().ok()?).ok()?;
    Some((file, key, size_bytes))
}

fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a terminated string.
    let fd = unsafe { libc::memfd_create(c"cgscope-vdso".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
