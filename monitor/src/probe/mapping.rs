//! An array map seen through mmap: reading a counter is a load, not a system call.
//!
//! Contract: the map was made with `BPF_F_MMAPABLE`, its value is a multiple of 8 bytes, and any bytes are a valid `T`.
//! The kernel half writes while we read, so every access is volatile and by copy.
//!
//! The kernel enters all pages of such a map when it is mapped, and each of them counts as resident memory of ours: of arrays with room
//! for 1,024 cgroups that is 37 MB, for 100 cgroups and for one. So an array is mapped window by window, as it is looked at.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering, fence},
};

use monitor_common::{
    block::{BlockKey, PairCounters, PairLatency},
    drops::DropCounters,
    files::{SlotFiles, SlotFilesLatency},
    interference::WaitPair,
    irq::{IrqVector, SlotIrq},
    memory::{SlotMemory, SlotMemoryWaits},
    offcpu::{WaitDraw, WaitFilter},
    process::SlotProcess,
    sched::{Cpu, SlotLatency, SlotTime, Thread},
    syscall::{SlotCalls, SlotCallsLatency, SlotSyscall, SlotSyscallLatency},
    tcp::{SlotTcp, SlotTcpLatency},
    unwind::{Mapping, PackedRows, PageRows},
    weight::WeightDraw,
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
unsafe impl Record for SlotCalls {}
// SAFETY: as above.
unsafe impl Record for SlotCallsLatency {}
// SAFETY: as above.
unsafe impl Record for SlotFiles {}
// SAFETY: as above.
unsafe impl Record for SlotFilesLatency {}
// SAFETY: as above.
unsafe impl Record for SlotIrq {}
// SAFETY: as above.
unsafe impl Record for IrqVector {}
// SAFETY: as above.
unsafe impl Record for WaitDraw {}
// SAFETY: as above.
unsafe impl Record for WaitFilter {}
// SAFETY: as above.
unsafe impl Record for WeightDraw {}
// SAFETY: as above.
unsafe impl Record for u64 {}

// SAFETY: as above.
unsafe impl Record for Mapping {}
// SAFETY: as above.
unsafe impl Record for PageRows {}
// SAFETY: as above.
unsafe impl Record for PackedRows {}

/// A window is so large at least: some slots of the smaller arrays.
const MIN_WINDOW_BYTES: usize = 64 << 10;
/// Windows of an array: each is a mapping of its own, and a process may have 65,530.
const MAX_WINDOWS: usize = 256;
const PAGE_BYTES: usize = 4096;

/// A mapped array of `T`.
#[derive(Debug)]
pub struct MappedArray<T> {
    map: OwnedFd,
    base: NonNull<T>,
    entries: usize,
    window_bytes: usize,
    /// A bit per window: whether it is mapped.
    mapped: [AtomicU64; MAX_WINDOWS / 64],
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl<T: Record> Send for MappedArray<T> {}
// SAFETY: shared access only reads, or writes single records that no other reader depends on; a window mapped twice is the same memory.
unsafe impl<T: Record> Sync for MappedArray<T> {}

impl<T: Record> MappedArray<T> {
    /// Maps an array of `entries` values.
    ///
    /// # Errors
    /// The kernel's: when there is no address space, or the map cannot be mapped.
    pub fn new(map: BorrowedFd<'_>, entries: u32) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let entries = entries as usize;
        let bytes = bytes_of::<T>(entries);
        // SAFETY: a new mapping at an address the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        let window_bytes = bytes.div_ceil(MAX_WINDOWS).next_power_of_two().max(MIN_WINDOW_BYTES);
        let map = map.try_clone_to_owned()?;
        let array = Self { map, base, entries, window_bytes, mapped: Default::default() };
        // What cannot be mapped at all is said now.
        array.map_window(0)?;
        Ok(array)
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
        let at = index * size_of::<T>();
        // A value may lie in two windows, or in many if it is large.
        for window in at / self.window_bytes..=(at + size_of::<T>() - 1) / self.window_bytes {
            if self.mapped[window / 64].load(Ordering::Acquire) & (1 << (window % 64)) == 0 {
                self.map_late(window);
            }
        }
        // SAFETY: inside the mapping.
        unsafe { self.base.as_ptr().add(index) }
    }

    #[cold]
    fn map_late(&self, window: usize) {
        if let Err(error) = self.map_window(window) {
            // Its values are 0 for us until it succeeds.
            tracing::error!(window, %error, "counters of the kernel half could not be mapped");
        }
    }

    fn map_window(&self, window: usize) -> io::Result<()> {
        let at = window * self.window_bytes;
        let bytes = self.window_bytes.min(bytes_of::<T>(self.entries) - at);
        // SAFETY: inside the address space that `new` took; what is replaced holds nothing.
        let mapped = unsafe {
            libc::mmap(
                self.base.as_ptr().byte_add(at).cast(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                self.map.as_raw_fd(),
                at as libc::off_t,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        self.mapped[window / 64].fetch_or(1 << (window % 64), Ordering::Release);
        Ok(())
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
        // SAFETY: made by `new` with this size, and nobody can hold a reference into it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes_of::<T>(self.entries)) };
    }
}

fn bytes_of<T>(entries: usize) -> usize {
    (entries * size_of::<T>()).next_multiple_of(PAGE_BYTES)
}
