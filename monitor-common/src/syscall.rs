//! Records of the `syscall` family: calls, errors and time by class per cgroup slot.
//!
//! Contract: both hooks run in the calling thread with preemption off and never from an interrupt: a record is written by its own
//! CPU, so additions are plain.

use crate::{bucket::RawHistogram, state::SYSCALL_LIMIT};

/// What a call is for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallClass {
    /// None of the below, and calls of another architecture's table.
    #[default]
    Other,
    /// Data from a descriptor.
    Read,
    /// Data to a descriptor.
    Write,
    /// Making data durable.
    Sync,
    /// Names and descriptors of files: open, close, stat, rename.
    File,
    /// Sockets, data through their own calls included.
    Network,
    /// Waiting for descriptors.
    Poll,
    /// Waiting for a time or a signal.
    Sleep,
    /// Locks.
    Lock,
    /// Address space.
    Memory,
    /// Processes and threads: making, waiting, signalling them.
    Process,
}

impl CallClass {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// The values of the label `class`, in their order.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "other", "read", "write", "sync", "file", "network", "poll", "sleep", "lock", "memory",
        "process",
    ];
}

/// Calls that are counted one by one, at most.
pub const SINGLE_CALLS: usize = 8;

/// The class of each system call of this architecture: a [`CallClass`], or [`CallClass::COUNT`] and more for the calls that are counted
/// one by one.
pub type CallClasses = [u8; SYSCALL_LIMIT];

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSyscall {
    /// Calls that returned, by [`CallClass`].
    pub calls: [u64; CallClass::COUNT],
    /// Those of them that failed.
    pub errors: [u64; CallClass::COUNT],
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 2],
}

const _: () = assert!(size_of::<SlotSyscall>() == 192);

/// The distributions of one slot and lane: how long calls took, by [`CallClass`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotSyscallLatency {
    /// By [`CallClass`].
    pub histograms: [RawHistogram; CallClass::COUNT],
}

const _: () =
    assert!(size_of::<SlotSyscallLatency>() == CallClass::COUNT * size_of::<RawHistogram>());

/// What is counted per slot and CPU of the calls that are counted one by one: they are in no class here, so that none is written twice.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCalls {
    /// Calls that returned.
    pub calls: [u64; SINGLE_CALLS],
    /// Those of them that failed.
    pub errors: [u64; SINGLE_CALLS],
}

const _: () = assert!(size_of::<SlotCalls>() == 128);

/// The distributions of one slot and lane: how long the calls took that are counted one by one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotCallsLatency {
    /// In their order.
    pub histograms: [RawHistogram; SINGLE_CALLS],
}

const _: () = assert!(size_of::<SlotCallsLatency>() == SINGLE_CALLS * size_of::<RawHistogram>());

/// The call that a thread is in, at `tid & thread_mask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CallStart {
    /// Whose it is.
    pub tid: u32,
    /// As in [`CallClasses`].
    pub class: u16,
    /// What it does with files, a [`crate::files::FileOperation::code`]; 0 for nothing.
    pub file_operation: u16,
    /// `CLOCK_MONOTONIC` ns; 0 when it is in none.
    pub at_ns: u64,
}

const _: () = assert!(size_of::<CallStart>() == 16);
