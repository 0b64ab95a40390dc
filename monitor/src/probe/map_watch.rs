//! Who maps code: records of `perf_event_open(2)`, one for each executable mapping that any process makes.
//!
//! Contract: costs nothing but at such a mapping. Records that found no room are told as [`Mapped::Lost`].

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::kernel::{cpus, ids::Tgid};

/// 64 KiB a CPU: a program with 20 libraries makes some 3 KiB of records.
const DATA_PAGES: usize = 16;
const PAGE_BYTES: usize = 4096;
const DATA_BYTES: usize = DATA_PAGES * PAGE_BYTES;

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const FLAG_MMAP: u64 = 1 << 8;
const FLAG_WATERMARK: u64 = 1 << 14;
const FLAG_MMAP2: u64 = 1 << 23;
const RECORD_LOST: u32 = 2;
const RECORD_MMAP2: u32 = 10;
/// Offsets of `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// `struct perf_event_attr`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_watermark: u32,
    rest: [u32; 15],
}

const _: () = assert!(size_of::<Attributes>() == 112);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// A process has a new executable mapping.
    By(Tgid),
    /// Records found no room: it may have been anybody.
    Lost,
}

/// Watches all CPUs until it is dropped.
pub struct MapWatch {
    rings: Vec<Ring>,
}

struct Ring {
    event: OwnedFd,
    base: NonNull<u8>,
}

// SAFETY: the mapping belongs to the process, and only its owner reads it.
unsafe impl Send for Ring {}

impl MapWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// The kernel's: needs CAP_PERFMON, and `perf_event_mlock_kb` where that is all it has.
    pub fn open() -> io::Result<Self> {
        let rings = cpus::online()?.into_iter().map(Ring::open).collect::<io::Result<_>>()?;
        Ok(Self { rings })
    }

    /// Waits until something happened, at most so long.
    pub fn wait(&self, patience: Duration) {
        let polled = |ring: &Ring| libc::pollfd {
            fd: ring.event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polled: Vec<_> = self.rings.iter().map(polled).collect();
        let count = polled.len() as libc::nfds_t;
        // SAFETY: the array outlives the call and has that many entries. An interrupted wait is a short one.
        unsafe { libc::poll(polled.as_mut_ptr(), count, patience.as_millis() as i32) };
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, mut take: impl FnMut(Mapped)) {
        for ring in &mut self.rings {
            ring.drain(&mut take);
        }
    }
}

impl Ring {
    fn open(cpu: u32) -> io::Result<Self> {
        let attributes = Attributes {
            kind: PERF_TYPE_SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: PERF_COUNT_SW_DUMMY,
            flags: FLAG_MMAP | FLAG_MMAP2 | FLAG_WATERMARK,
            wakeup_watermark: 1,
            ..Attributes::default()
        };
        const FLAG_FD_CLOEXEC: u64 = 8;
        // SAFETY: the structure outlives the call and says how large it is.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                -1,
                cpu,
                -1,
                FLAG_FD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        // SAFETY: a new mapping at an address the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE_BYTES + DATA_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { event, base })
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the first page, aligned; the kernel reads and writes it atomically.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    fn drain(&mut self, take: &mut impl FnMut(Mapped)) {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let mut tail = self.position(DATA_TAIL).load(Ordering::Relaxed);
        while head.wrapping_sub(tail) >= 8 {
            let kind = self.word(tail);
            let bytes = self.word(tail + 4) >> 16;
            match kind {
                RECORD_MMAP2 => take(Mapped::By(Tgid(self.word(tail + 8)))),
                RECORD_LOST => take(Mapped::Lost),
                _ => {}
            }
            if bytes < 8 {
                tail = head;
                break;
            }
            tail += u64::from(bytes);
        }
        self.position(DATA_TAIL).store(tail, Ordering::Release);
    }

    /// A word of the data; records are whole multiples of 8 bytes, so none is torn at the end.
    fn word(&self, at: u64) -> u32 {
        let at = PAGE_BYTES + (at as usize & (DATA_BYTES - 1) & !3);
        // SAFETY: inside the mapping, aligned.
        unsafe { self.base.as_ptr().add(at).cast::<u32>().read_volatile() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: made by `open` with this size, and nobody can hold a reference into it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), PAGE_BYTES + DATA_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_starts_is_seen() {
        let mut watch = MapWatch::open().expect("root, as for all tests of this stage");
        let child = std::process::Command::new("/bin/true").spawn();
        let mut child = child.expect("true");
        let tgid = Tgid(child.id());
        child.wait().expect("a child of ours");
        watch.wait(Duration::from_secs(1));
        let mut seen = 0;
        watch.drain(|mapped| seen += u32::from(mapped == Mapped::By(tgid)));
        // The program and its loader at least.
        assert!(seen >= 2, "{seen} mappings");
        let mut again = 0;
        watch.drain(|mapped| again += u32::from(mapped == Mapped::By(tgid)));
        assert_eq!(again, 0, "records that were read are gone");
    }
}
