//! Records of the `sched` family: the table of threads and what is counted per cgroup slot.
//!
//! Contract of [`SlotTime`]: for each state, the time spent in it up to the instant `t` is
//! `offset_ns + threads * t` (wrapping). Entering a state at `a` subtracts `a` and adds a thread, leaving it at `b` adds
//! `b` and takes the thread away: closed intervals contribute `b - a`, open ones `t - a`. So a reader sees the time of
//! threads that have slept for an hour without visiting them, sums over CPUs are exact although a thread enters on one CPU and
//! leaves on another, and a skewed clock cannot lose time. A record is written by its own CPU with interrupts off; `seq` is odd
//! while it is being written.

use crate::{bucket::RawHistogram, state::ThreadState};

/// What is known of one CPU, written by it alone.
///
/// The family's instants are of the scheduler's own clock (`rq->clock`), which the kernel accounts CPU time and
/// `/proc/PID/schedstat` by: so ours agree with it, and at a wake-up an instant costs three loads where
/// `bpf_ktime_get_ns` costs 20-30 ns. It runs at the same speed as `CLOCK_MONOTONIC` from another origin.
///
/// At a switch it can be late: the scheduler leaves it as the wake-up that asked for the switch has set it, or the last tick, up to 4 ms
/// before. Accounting wants it so; a latency does not. The distance of the two clocks is least when it is fresh, so the least distance of
/// the last [`CALIBRATION_INTERVAL_NS`] relates them, and what a switch has more is how late its clock is.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// When the distance was last settled, on the scheduler's clock; 0 before the first time.
    pub calibrated_at_ns: u64,
    /// `CLOCK_MONOTONIC` less the scheduler's clock when that is fresh, wrapping.
    pub ktime_distance_ns: u64,
    /// The least distance seen since it was settled.
    pub least_distance_ns: u64,
    /// How far the scheduler's clock was ahead of its clock of work at the last switch, ns: what interrupts (where the kernel accounts
    /// them) and the hypervisor have taken of this CPU since boot.
    pub taken_ns: u64,
    /// What was taken of the slice that runs and is accounted already, ns.
    pub settled_ns: u64,
    /// The address of the thread it runs. The thread may be gone.
    pub task: u64,
    /// The thread it runs; 0 for the idle task.
    pub tid: u32,
    /// The last thread that was put on this CPU unseen: the switch was from a thread that is hidden from us.
    pub unseen_tid: u32,
    /// The end of the wait that it came from, on the scheduler's clock; 0 if that cannot be told.
    pub unseen_end_ns: u64,
}

const _: () = assert!(size_of::<Cpu>() == 64);

/// How often the distance of the two clocks is settled: a slew of 500 ppm, the most that NTP does, moves them 50 us in between.
pub const CALIBRATION_INTERVAL_NS: u64 = 100_000_000;

/// Slot of what found no slot of its own.
pub const SLOT_UNATTRIBUTED: u32 = 0;
/// Slot of kernel threads: they are nobody's container.
pub const SLOT_KERNEL: u32 = 1;
/// The first of the slots that threads are watched in, besides the slot of their cgroup.
pub const SLOT_WATCH_FIRST: u32 = 2;
/// How many watches there can be at once.
pub const WATCH_SLOTS: u32 = 8;
/// The first slot given to a cgroup.
pub const SLOT_FIRST: u32 = SLOT_WATCH_FIRST + WATCH_SLOTS;

/// One live thread, found at `tid & (entries - 1)`. A `tid` of 0 marks a free entry. Exactly a cache line: a waker on another
/// CPU fetches one, not two.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    /// When it entered its state, ns of the scheduler's clock.
    pub since_ns: u64,
    /// When it last left a CPU; 0 before it ever ran under observation. While it runs, since when it could run: the end of its last wait.
    pub switched_out_ns: u64,
    /// Address of its set of cgroups when last looked at: another one means that it was moved.
    pub cgroups: u64,
    /// `task->stime` when last looked at, ns.
    pub system_time_ns: u64,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// The slot of its cgroup.
    pub slot: u32,
    /// The CPU it last ran on.
    pub cpu: u32,
    /// A [`ThreadState`].
    pub state: u8,
    /// The [`ThreadState`] of a wait on `descriptor`.
    pub descriptor_state: u8,
    /// Uses of that memory that are left: it is made anew every [`DESCRIPTOR_MEMORY_USES`].
    pub descriptor_uses: u8,
    /// [`MARK_WAKER_KEPT`] and [`MARK_STACK_WANTED`]: written by others while the thread waits, before they wake it.
    pub marks: u8,
    /// Descriptor whose kind `descriptor_state` remembers.
    pub descriptor: u32,
    /// Voluntary switches so far, the low 32 bits of `task->nvcsw`.
    pub voluntary: u32,
    /// An extra slot that this thread's time is also counted in, set by user space; 0 for none.
    pub watch_slot: u32,
    /// The extra slot it is in now.
    pub watching: u32,
}

const _: () = assert!(size_of::<Thread>() == 64);

/// The stack of who wakes the thread is kept (see [`crate::wakeup`]).
pub const MARK_WAKER_KEPT: u8 = 1;
/// The stack of its wait is wanted when it ends (see [`crate::outlier::OutlierStack`]).
pub const MARK_STACK_WANTED: u8 = 1 << 1;

/// A descriptor's kind is looked up anew after so many waits on it (a closed and reopened descriptor can be of
/// another kind): three probe reads cost 40-50 ns, the memory 1 ns.
pub const DESCRIPTOR_MEMORY_USES: u8 = 16;

/// The accumulator of one state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateTime {
    /// See the contract above.
    pub offset_ns: u64,
    /// Threads that entered on this CPU less those that left on it.
    pub threads: u64,
}

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct SlotTime {
    /// Odd while the record is being written.
    pub seq: u64,
    /// Kernel-mode CPU time as the kernel accounts it (`task->stime`), ns.
    pub system_time_ns: u64,
    /// Switches away that the thread asked for.
    pub voluntary_switches: u64,
    /// Switches away that the scheduler forced.
    pub involuntary_switches: u64,
    /// Switches in on another CPU than the last.
    pub migrations: u64,
    /// Wake-ups that ended a wait.
    pub wakeups: u64,
    /// The state model, indexed by [`ThreadState`].
    pub states: [StateTime; ThreadState::COUNT],
    /// Time on a CPU that interrupts or the hypervisor took, ns.
    pub stolen_ns: u64,
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 3],
}

const _: () = assert!(size_of::<SlotTime>() == 256);

/// What is distributed, in the order of [`SlotLatency`].
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// From runnable to running, counted for the thread that waited.
    Runqueue,
    /// From switched in to switched out.
    OnCpu,
    /// From switched out to switched in.
    OffCpu,
}

impl Latency {
    /// How many distributions.
    pub const COUNT: usize = 3;
}

/// The distributions of one slot and lane, indexed by [`Latency`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotLatency {
    /// See [`Latency`].
    pub histograms: [RawHistogram; Latency::COUNT],
}

const _: () = assert!(size_of::<SlotLatency>() == Latency::COUNT * size_of::<RawHistogram>());
