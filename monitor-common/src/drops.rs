//! Every way to lose something in the kernel half, each with its own counter.

/// Why an event, a sample or an attribution was lost.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The ring of cgroup and process events was full.
    EventRingFull,
    /// The ring of stack samples was full.
    StackRingFull,
    /// No cgroup slot was free: the time went to `unattributed`.
    NoSlot,
    /// Another live thread holds the entry of this thread in the thread table.
    ThreadTableCollision,
    /// A timestamp taken on another CPU lay in the future.
    ClockSkew,
    /// A thread ran without its wake-up having been seen (while attaching, or a nested call was refused), and the kernel did not
    /// say when it was.
    WakeupMissed,
    /// A thread left its CPU unseen: its time went to `unknown` until its next event. Or it was put on a CPU unseen, and the
    /// kernel did not say when.
    SwitchMissed,
    /// The stack of a sample could not be read at all.
    StackUnreadable,
    /// A cgroup or task could not be read through its kernel structure.
    TaskUnreadable,
    /// A block request completed whose issue was not seen: its queue and service time are not known.
    IssueMissed,
    /// The table of connections was full: one is not counted by state, and its time to connect is not known.
    ConnectionTableFull,
    /// The table of dropped packets was full.
    PacketDropTableFull,
    /// The table of who waited for whom was full on a CPU: a part of a wait is in no pair.
    InterferenceTableFull,
    /// The table of threads that wait for memory, or of kills, was full.
    MemoryTableFull,
    /// A page fault ended whose beginning was not seen.
    FaultMissed,
    /// A system call returned whose beginning was not seen.
    CallMissed,
    /// The outermost callers of a sampled user stack are missing, or were looked for by frame pointers only. The sample itself was
    /// kept, and says why.
    StackTruncated,
    /// The ring of stack samples was full as a wait was sent.
    WaitRingFull,
    /// The table of threads whose waits are recorded was full.
    WaitTableFull,
    /// The ring of stack samples was full as an event with a weight was sent.
    WeightRingFull,
    /// A stack was to be taken in an interrupt of the taking of another one.
    StackNested,
    /// The table of who waits for a lock of the kernel, or of the memory of processes, was full during a recording.
    WeightTableFull,
    /// The table of layers that served opens was full.
    LayerTableFull,
    /// The table of devices, or of who waited for whom there, was full.
    DeviceTableFull,
    /// The table of threads whose waker's stack is kept was full.
    WakingTableFull,
    /// The functions of an interpreter could not be read, or not all of them. The sample itself was kept, and has the interpreter's own
    /// functions in their place.
    InterpreterUnreadable,
    /// More operations of a CPU were among the slowest of their second than are told.
    OutlierLimit,
    /// The ring of slow operations was full.
    OutlierRingFull,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 28;

    /// All reasons, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::EventRingFull,
        Self::StackRingFull,
        Self::NoSlot,
        Self::ThreadTableCollision,
        Self::ClockSkew,
        Self::WakeupMissed,
        Self::SwitchMissed,
        Self::StackUnreadable,
        Self::TaskUnreadable,
        Self::IssueMissed,
        Self::ConnectionTableFull,
        Self::PacketDropTableFull,
        Self::InterferenceTableFull,
        Self::MemoryTableFull,
        Self::FaultMissed,
        Self::CallMissed,
        Self::StackTruncated,
        Self::WaitRingFull,
        Self::WaitTableFull,
        Self::WeightRingFull,
        Self::StackNested,
        Self::WeightTableFull,
        Self::LayerTableFull,
        Self::DeviceTableFull,
        Self::WakingTableFull,
        Self::InterpreterUnreadable,
        Self::OutlierLimit,
        Self::OutlierRingFull,
    ];

    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventRingFull => "event_ring_full",
            Self::StackRingFull => "stack_ring_full",
            Self::NoSlot => "no_slot",
            Self::ThreadTableCollision => "thread_table_collision",
            Self::ClockSkew => "clock_skew",
            Self::WakeupMissed => "wakeup_missed",
            Self::SwitchMissed => "switch_missed",
            Self::StackUnreadable => "stack_unreadable",
            Self::TaskUnreadable => "task_unreadable",
            Self::IssueMissed => "issue_missed",
            Self::ConnectionTableFull => "connection_table_full",
            Self::PacketDropTableFull => "packet_drop_table_full",
            Self::InterferenceTableFull => "interference_table_full",
            Self::MemoryTableFull => "memory_table_full",
            Self::FaultMissed => "fault_missed",
            Self::CallMissed => "call_missed",
            Self::StackTruncated => "stack_truncated",
            Self::WaitRingFull => "wait_ring_full",
            Self::WaitTableFull => "wait_table_full",
            Self::WeightRingFull => "weight_ring_full",
            Self::StackNested => "stack_nested",
            Self::WeightTableFull => "weight_table_full",
            Self::LayerTableFull => "layer_table_full",
            Self::DeviceTableFull => "device_table_full",
            Self::WakingTableFull => "waking_table_full",
            Self::InterpreterUnreadable => "interpreter_unreadable",
            Self::OutlierLimit => "outlier_limit",
            Self::OutlierRingFull => "outlier_ring_full",
        }
    }

    /// What the user can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::EventRingFull => "raise --event-ring-size",
            Self::StackRingFull => "raise --stack-ring-size or lower --frequency",
            Self::NoSlot => "raise --max-cgroups",
            Self::ThreadTableCollision => "raise --max-threads",
            Self::ClockSkew => "check the clock source: CPUs disagree about the time",
            Self::WakeupMissed => "expected for a few threads while attaching",
            Self::SwitchMissed => "expected where the platform hides its own threads from tracing",
            Self::StackUnreadable => "the user stack was not resident",
            Self::TaskUnreadable => "report it with the kernel version",
            Self::IssueMissed => "expected for the requests in flight while attaching",
            Self::ConnectionTableFull => {
                "more than 32768 sockets are open: connections by state are too few"
            }
            Self::PacketDropTableFull => "drops of further containers and reasons are not shown",
            Self::InterferenceTableFull => {
                "more than 1,024 pairs of cgroups share a CPU: who waited for whom is incomplete"
            }
            Self::MemoryTableFull => {
                "more than 8192 threads waited for memory at once, or more than 1024 pairs of containers had kills"
            }
            Self::FaultMissed => {
                "it was counted without its time: it began before the daemon, or two threads shared a place"
            }
            Self::CallMissed => {
                "it was counted without its time: it began before the daemon, or --max-threads is too small"
            }
            Self::StackTruncated => "a frame in the flame graph says why",
            Self::WaitRingFull => "raise --stack-ring-size",
            Self::WaitTableFull => {
                "more than 16384 threads waited: record a container instead of the host"
            }
            Self::WeightRingFull => "raise --stack-ring-size",
            Self::StackNested => "expected for a few when several types are recorded at once",
            Self::WeightTableFull => {
                "more than 16384 threads waited for locks or grew: record a container instead of the host"
            }
            Self::LayerTableFull => "opens of further containers and layers are not shown by layer",
            Self::DeviceTableFull => {
                "more than 128 disks, or 4096 pairs of containers on one: who waited for whom there is incomplete"
            }
            Self::WakingTableFull => {
                "more than 4096 threads were woken at once: record a container instead of the host"
            }
            Self::InterpreterUnreadable => {
                "expected for a few samples: memory that was not resident, or a frame that was being made"
            }
            Self::OutlierLimit => {
                "more than 256 operations in a second, each among the slowest when it ended: some of the slowest are not told"
            }
            Self::OutlierRingFull => {
                "the daemon did not run for seconds: some of the slowest operations are not told"
            }
        }
    }
}

/// The counters of one CPU, indexed by [`DropReason`]; padded to a cache line so that CPUs do not share one.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct DropCounters {
    /// Losses by reason.
    pub by_reason: [u64; DropReason::COUNT],
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 4],
}

const _: () = assert!(size_of::<DropCounters>() == 256);
