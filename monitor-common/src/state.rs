//! The states a thread's time is divided into, and the class of wait each system call stands for.

/// What a thread is doing: every nanosecond of every thread is in exactly one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// On a CPU; user space divides it in user and kernel mode by `task->stime`.
    Running,
    /// Waiting for a CPU.
    Runnable,
    /// Kept from a CPU by the quota of its cgroup.
    Throttled,
    /// Blocked in I/O (`in_iowait`) or in a call that waits for a file to be durable.
    Disk,
    /// Blocked while not in a system call: a page fault.
    Fault,
    /// Blocked in a futex call.
    Lock,
    /// Blocked in a socket's read, write, accept or connect.
    Network,
    /// Blocked in a pipe's read or write.
    Pipe,
    /// Waiting on purpose: poll, epoll, select, nanosleep, wait, pause.
    Sleeping,
    /// Blocked in another system call, stopped or traced.
    Other,
    /// Not told: the thread was first seen in the middle of a wait.
    Unknown,
}

impl ThreadState {
    /// How many states there are.
    pub const COUNT: usize = 11;

    /// All states, in the order of their accumulators.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Running,
        Self::Runnable,
        Self::Throttled,
        Self::Disk,
        Self::Fault,
        Self::Lock,
        Self::Network,
        Self::Pipe,
        Self::Sleeping,
        Self::Other,
        Self::Unknown,
    ];

    /// The value of the label `state`; `running` is further divided by user space.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Runnable => "runnable",
            Self::Throttled => "throttled",
            Self::Disk => "blocked.disk",
            Self::Fault => "blocked.fault",
            Self::Lock => "blocked.lock",
            Self::Network => "blocked.network",
            Self::Pipe => "blocked.pipe",
            Self::Sleeping => "sleeping",
            Self::Other => "blocked.other",
            Self::Unknown => "unknown",
        }
    }
}

/// What a wait inside a system call means.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyscallClass {
    /// None of the below.
    #[default]
    Other,
    /// futex and its kin.
    Lock,
    /// Calls that only sockets have.
    Network,
    /// Waiting on purpose.
    Sleep,
    /// Waiting for a file to be durable.
    Disk,
    /// Depends on what the first argument's descriptor is: read, write and their kin.
    Descriptor,
}

/// System call numbers below this have a class; the rest are [`SyscallClass::Other`].
pub const SYSCALL_LIMIT: usize = 512;
