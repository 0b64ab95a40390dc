//! An array map seen through mmap: reading a counter is a load, not a system call.
//!
//! Contract: the map was made with `BPF_F_MMAPABLE`, its value is a multiple of 8 bytes, and any bytes are a valid `T`.
//! The kernel half writes while we read, so every access is volatile and by copy.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{Ordering, fence},
};

use monitor_common::{
    block::{BlockKey, PairCounters, PairLatency},
    drops::DropCounters,
    interference::WaitPair,
    memory::{SlotMemory, SlotMemoryWaits},
    process::SlotProcess,
    sched::{Cpu, SlotLatency, SlotTime, Thread},
    syscall::{SlotSyscall, SlotSyscallLatency},
    tcp::{SlotTcp, SlotTcpLatency},
    unwind::{Mapping, PageRows, Row},
};

/// Records of the kernel half that may be read in place.
///
/// # Safety
/// `repr(C)`, integers only, a multiple of 8 bytes.
pub unsafe trait Record: Copy {}
// SAFETY: asserted beside their definitions.
unsafe impl Record for DropCounters {}
// SAFETY: as above.
unsafe impl Record for Cpu {}
// SAFETY: as above.
unsafe impl Record for SlotTime {}
// SAFETY: as above.
unsafe impl Record for SlotLatency {}
// SAFETY: as above.
unsafe impl Record for SlotProcess {}
// SAFETY: as above.
unsafe impl Record for WaitPair {}
// SAFETY: as above.
unsafe impl Record for Thread {}
// SAFETY: as above.
unsafe impl Record for BlockKey {}
// SAFETY: as above.
unsafe impl Record for PairCounters {}
// SAFETY: as above.
unsafe impl Record for PairLatency {}
// SAFETY: as above.
unsafe impl Record for SlotTcp {}
// SAFETY: as above.
unsafe impl Record for SlotTcpLatency {}
// SAFETY: as above.
unsafe impl Record for SlotMemory {}
// SAFETY: as above.
unsafe impl Record for SlotMemoryWaits {}
// SAFETY: as above.
unsafe impl Record for SlotSyscall {}
// SAFETY: as above.
unsafe impl Record for SlotSyscallLatency {}

// SAFETY: as above.
unsafe impl Record for Mapping {}
// SAFETY: as above.
unsafe impl Record for PageRows {}
// SAFETY: as above.
unsafe impl Record for Row {}

/// A mapped array of `T`.
#[derive(Debug)]
pub struct MappedArray<T> {
    base: NonNull<T>,
    entries: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl<T: Record> Send for MappedArray<T> {}
// SAFETY: shared access only reads, or writes single records that no other reader depends on.
unsafe impl<T: Record> Sync for MappedArray<T> {}

impl<T: Record> MappedArray<T> {
    /// Maps an array of `entries` values.
    pub fn new(map: BorrowedFd<'_>, entries: u32) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let entries = entries as usize;
        // SAFETY: a new mapping at an address the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::bytes_of(entries),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, entries })
    }

    fn bytes_of(entries: usize) -> usize {
        (entries * size_of::<T>()).next_multiple_of(4096)
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Where a value lies.
    ///
    /// # Panics
    /// If there is no such value.
    pub fn as_ptr(&self, index: usize) -> *mut T {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: inside the mapping.
        unsafe { self.base.as_ptr().add(index) }
    }

    /// A copy of a value. Words of it may be of different instants.
    pub fn read(&self, index: usize) -> T {
        // SAFETY: inside the mapping; any bytes are a valid T.
        unsafe { self.as_ptr(index).read_volatile() }
    }

    /// Replaces a value that the kernel half does not write now.
    pub fn write(&self, index: usize, value: T) {
        // SAFETY: inside the mapping.
        unsafe { self.as_ptr(index).write_volatile(value) }
    }
}

/// Tries of a consistent read before giving up: the writer holds a record for some 20 ns.
const TRIES: usize = 1_000;

impl MappedArray<SlotTime> {
    /// The sequence number of a record: unchanged means nothing has happened.
    pub fn sequence(&self, index: usize) -> u64 {
        // SAFETY: inside the mapping.
        unsafe { (&raw const (*self.as_ptr(index)).seq).read_volatile() }
    }

    /// A copy of a record of one instant; `None` if its writer never rests, which a live kernel does not do.
    pub fn read_consistent(&self, index: usize) -> Option<SlotTime> {
        for _ in 0..TRIES {
            let before = self.sequence(index);
            fence(Ordering::Acquire);
            let record = self.read(index);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence(index) == before {
                return Some(record);
            }
            std::hint::spin_loop();
        }
        None
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        let bytes = (self.entries * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: made by `new` with this size, and nobody can hold a reference into it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}
