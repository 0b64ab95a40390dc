//! Records of the `process` family.

/// Births and deaths counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotProcess {
    /// Processes forked by a thread of the slot.
    pub forks: u64,
    /// Threads created by a thread of the slot.
    pub clones: u64,
    /// Programs executed.
    pub execs: u64,
    /// Processes ended.
    pub exits: u64,
    /// Explicit padding to a cache line.
    pub padding: [u64; 4],
}

const _: () = assert!(size_of::<SlotProcess>() == 64);
