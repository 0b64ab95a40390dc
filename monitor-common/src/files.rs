//! Records of the `files` family: opens, reads, writes and syncs of files per cgroup slot, and which layer of an overlay served opens.
//!
//! Contract: counted where a call returns, in the calling thread with preemption off and never from an interrupt: a record of a slot
//! is written by its own CPU, so additions are plain. Layers are shared by CPUs.

use crate::{bucket::RawHistogram, state::SYSCALL_LIMIT};

/// What is done with files.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// By name, whatever it is.
    Open,
    /// Of a regular file.
    Read,
    /// To a regular file.
    Write,
    /// That what was written to it be durable.
    Sync,
}

impl FileOperation {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The values of the label `operation`, in their order.
    pub const NAMES: [&'static str; Self::COUNT] = ["open", "read", "write", "sync"];

    /// What stands for it in [`FileCalls`].
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }
}

/// What each system call of this architecture does with files: [`FileOperation::code`], 0 for nothing.
pub type FileCalls = [u8; SYSCALL_LIMIT];

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotFiles {
    /// Calls that returned, by [`FileOperation`].
    pub operations: [u64; FileOperation::COUNT],
    /// Those of them that failed.
    pub errors: [u64; FileOperation::COUNT],
    /// Bytes that calls gave, by [`FileOperation`]; none but of reads and writes.
    pub bytes: [u64; FileOperation::COUNT],
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 4],
}

const _: () = assert!(size_of::<SlotFiles>() == 128);

/// The distributions of one slot and lane: how long calls took, by [`FileOperation`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotFilesLatency {
    /// By [`FileOperation`].
    pub histograms: [RawHistogram; FileOperation::COUNT],
}

const _: () =
    assert!(size_of::<SlotFilesLatency>() == FileOperation::COUNT * size_of::<RawHistogram>());

/// Whose opens were served by which layer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerKey {
    /// Whose.
    pub slot: u32,
    /// The overlay: `super_block.s_dev`, `major << 20 | minor`, as in the third column of `/proc/PID/mountinfo`.
    pub device: u32,
    /// The layer: 0 is the upper directory, 1 the first of the option `lowerdir`.
    pub layer: u32,
}

const _: () = assert!(size_of::<LayerKey>() == 12);

/// What a layer served.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerOpens {
    /// Opens that found their file there.
    pub opens: u64,
    /// How long those took whose beginning was seen, ns.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<LayerOpens>() == 16);

/// Layers of all slots together.
pub const MAX_LAYERS: u32 = 8_192;
