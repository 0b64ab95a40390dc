//! Records of interference: whom the threads of a cgroup waited for.
//!
//! Contract: the slices of a [`Timeline`] tile the time of its CPU: each begins where the one before it ended. A thread that
//! arrives on a CPU has waited for those whose slices lie in its wait, so the parts of a wait sum to it exactly. Of a wait of more
//! slices than are looked at the parts are what each ran since the [`Totals`] row next to its beginning, which is off by half of
//! [`ROW_NS`] at most, and sum to it exactly as well.

/// Slot of a CPU that nobody used: the thread was awake, and the CPU not yet.
pub const SLOT_IDLE: u32 = u32::MAX;
/// Slot of what ran before the oldest row of totals, or unseen.
pub const SLOT_UNKNOWN: u32 = u32::MAX - 1;

/// Slices that are remembered of a CPU. Neighbours of one slot are one slice.
pub const SLICES: usize = 64;

/// Slices that are looked at when a thread arrives; for a longer wait the totals are.
pub const SLICES_OF_A_WAIT: u32 = 32;

/// Those who ran on a CPU lately that are told apart.
pub const RUNNERS: usize = 32;
/// Places after its own where a runner is looked for.
pub const RUNNER_PLACES: usize = 4;
/// Rows of totals that are kept: of the last 256 ms at least.
pub const ROWS: usize = 64;
/// log2 of [`ROWS`].
pub const ROW_STEPS: u32 = 6;
/// A row is begun no sooner than so long after the one before it.
pub const ROW_NS: u64 = 4_000_000;

/// How long each had run on a CPU when a row ended, so that the difference of two rows is who ran between them.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Nanoseconds of each runner, by its place, in a ring of rows. The newest goes on.
    pub ran_ns: [[u64; RUNNERS]; ROWS],
    /// When each row ended, ns of the scheduler's clock.
    pub ended_ns: [u64; ROWS],
    /// [`runner`] at each place; 0 for nobody. A place is given to another when none of the rows knows of a difference there.
    pub runners: [u32; RUNNERS],
    /// How many rows were begun: the newest row's number.
    pub newest: u64,
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 7],
}

const _: () = assert!(size_of::<Totals>().is_multiple_of(64) && ROWS == 1 << ROW_STEPS);

/// A slot as a runner, never 0.
pub const fn runner(slot: u32) -> u32 {
    slot ^ 1 << 31
}

/// The slot of a runner.
pub const fn slot_of(runner: u32) -> u32 {
    runner ^ 1 << 31
}

/// Where a runner is looked for first.
pub const fn runner_place(runner: u32) -> usize {
    (runner.wrapping_mul(0x9e37_79b1) >> 27) as usize
}

/// Who used a CPU until when.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Slice {
    /// When it ended, ns of the scheduler's clock.
    pub ended_ns: u64,
    /// The slot of who ran.
    pub slot: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// The last slices of one CPU, written by it alone.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// The slices, in a ring.
    pub slices: [Slice; SLICES],
    /// The place of the newest.
    pub newest: u32,
    /// Explicit padding to whole cache lines.
    pub padding: [u32; 15],
}

const _: () = assert!(size_of::<Timeline>() == SLICES * 16 + 64);

/// log2 of the pairs that each CPU keeps.
pub const PAIR_BITS: u32 = 10;
/// Pairs that each CPU keeps: 16 KiB.
pub const PAIRS_PER_CPU: u32 = 1 << PAIR_BITS;
/// Places after its own where a pair is looked for.
pub const PLACES: u32 = 4;

/// How long one slot's threads waited on a CPU while another's ran there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitPair {
    /// [`key`]; 0 for a free entry.
    pub key: u64,
    /// Nanoseconds. What a free entry holds means nothing.
    pub waited_ns: u64,
}

const TAKEN: u64 = 1 << 63;

/// A pair as one number. Slots of those who wait are small: the highest bit is free.
pub const fn key(waiter: u32, culprit: u32) -> u64 {
    TAKEN | (waiter as u64) << 32 | culprit as u64
}

/// Who waited and for whom.
pub const fn slots_of(key: u64) -> (u32, u32) {
    (((key & !TAKEN) >> 32) as u32, key as u32)
}

/// Where a pair is looked for first.
pub const fn place(waiter: u32, culprit: u32) -> u32 {
    let mixed = waiter.wrapping_mul(0x9e37_79b1) ^ culprit.wrapping_mul(0x85eb_ca6b);
    mixed.wrapping_mul(0xc2b2_ae35) >> (32 - PAIR_BITS)
}
