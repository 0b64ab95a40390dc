//! Records of the `memory` family: faults, use of the page cache, stalls for memory and out-of-memory kills per cgroup slot.
//!
//! Contract: all hooks run in the thread concerned, in process context with preemption off: a record is written by its own CPU
//! and never from an interrupt, so additions are plain.

use crate::bucket::RawHistogram;

/// What is counted of a slot.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryCounter {
    /// Faults of user mode that were settled from memory.
    FaultsUserMinor,
    /// Faults of user mode that waited for a disk.
    FaultsUserMajor,
    /// Faults of kernel mode on the memory of the process, settled from memory.
    FaultsKernelMinor,
    /// The same that waited for a disk.
    FaultsKernelMajor,
    /// Pages that calls which read files asked the page cache for.
    CacheAccessesRead,
    /// The same by other calls.
    CacheAccessesOther,
    /// Pages that were read into the cache by calls which read files, read ahead included.
    CacheMissesRead,
    /// The same by faults on mapped files.
    CacheMissesMapped,
    /// The same by calls that neither read nor write files: metadata, `execve`, `io_uring`.
    CacheMissesOther,
    /// Pages that were freed in a stall because the host was short.
    ReclaimedHost,
    /// Pages that were freed in a stall because a limit was reached.
    ReclaimedLimit,
    /// Kills that a thread of it brought about by asking for memory.
    OomCauses,
}

impl MemoryCounter {
    /// How many there are.
    pub const COUNT: usize = 12;

    /// The one of a fault.
    pub const fn of_fault(is_user: bool, is_major: bool) -> Self {
        match (is_user, is_major) {
            (true, false) => Self::FaultsUserMinor,
            (true, true) => Self::FaultsUserMajor,
            (false, false) => Self::FaultsKernelMinor,
            (false, true) => Self::FaultsKernelMajor,
        }
    }
}

/// Why a thread waits for memory: each has a distribution.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryWait {
    /// A fault of user mode.
    FaultUser,
    /// A fault of kernel mode on the memory of the process.
    FaultKernel,
    /// It frees memory itself because the host is short of it.
    Reclaim,
    /// It frees memory itself because a cgroup is at its limit.
    Limit,
    /// It moves pages to make room for a large one.
    Compaction,
}

impl MemoryWait {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotMemory {
    /// By [`MemoryCounter`].
    pub counters: [u64; MemoryCounter::COUNT],
    /// Waits recorded: unchanged means that no distribution is.
    pub waits: u64,
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 3],
}

const _: () = assert!(size_of::<SlotMemory>() == 128);

/// The distributions of one slot and lane: how long each wait took, by [`MemoryWait`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotMemoryWaits {
    /// By [`MemoryWait`].
    pub histograms: [RawHistogram; MemoryWait::COUNT],
}

const _: () =
    assert!(size_of::<SlotMemoryWaits>() == MemoryWait::COUNT * size_of::<RawHistogram>());

/// The fault that a thread is in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultStart {
    /// Whose it is.
    pub tid: u32,
    /// Explicit padding.
    pub padding: u32,
    /// The page.
    pub page: u64,
    /// `CLOCK_MONOTONIC` ns.
    pub at_ns: u64,
}

const _: () = assert!(size_of::<FaultStart>() == 24);

/// Places for those, a power of two for each mode: a thread's is its id modulo that. Of two threads in faults at once that
/// share a place, one is counted without its time.
pub const FAULT_STARTS: u32 = 4_096;

/// Threads that can stall at once.
pub const MAX_STALLS: u32 = 8_192;

/// A kill for want of memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OomKey {
    /// The slot of who was killed.
    pub victim: u32,
    /// The slot of who asked for memory.
    pub culprit: u32,
}

const _: () = assert!(size_of::<OomKey>() == 8);

/// Pairs of victim and culprit.
pub const MAX_OOM_PAIRS: u32 = 1_024;

/// Victims remembered, a power of two: a process of several threads is marked once for each that needs memory to end.
pub const OOM_VICTIMS: u32 = 64;

/// A victim, and when.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomVictim {
    /// Its process.
    pub tgid: u64,
    /// `CLOCK_MONOTONIC` ns.
    pub at_ns: u64,
}

/// The last use of the page cache by a thread's read call. The kernel tells of a long call in parts, each with all that is
/// left of it: a part is told from a new call by its end, which is the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheRead {
    /// Whose it is.
    pub tid: u32,
    /// Explicit padding.
    pub padding: u32,
    /// The inode number.
    pub inode: u64,
    /// The first page of the part.
    pub first: u64,
    /// The last page of the call.
    pub last: u64,
}

const _: () = assert!(size_of::<CacheRead>() == 32);

/// Places for those, a power of two: a thread's is its id modulo that, and one that is overwritten is counted anew.
pub const CACHE_READS: u32 = 4_096;

/// System calls by number, a bit each.
pub const CALL_WORDS: usize = 16;
