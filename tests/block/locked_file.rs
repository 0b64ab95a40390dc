//! A file whose pages stay in the page cache: what was only read once may be dropped again when memory is short.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::{fs, io, ptr};

use anyhow::{Context, Result};

/// As long as this lives, every page of the file is in memory.
pub struct LockedFile {
    pages: *mut libc::c_void,
    bytes: usize,
}

impl LockedFile {
    /// Reads and locks all of a file.
    ///
    /// # Errors
    /// When it cannot be mapped, or the caller may not lock so much (CAP_IPC_LOCK).
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs::File::open(path)?;
        let bytes = usize::try_from(file.metadata()?.len())?;
        // SAFETY: a new mapping, anywhere; the descriptor is open.
        let pages = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mapping the file");
        }
        let this = Self { pages, bytes };
        // SAFETY: the mapping just made.
        if unsafe { libc::mlock(pages, bytes) } != 0 {
            return Err(io::Error::last_os_error()).context("locking the file in memory");
        }
        Ok(this)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, which nobody else has.
        unsafe { libc::munmap(self.pages, self.bytes) };
    }
}
