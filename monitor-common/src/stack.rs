//! What the stack ring carries: one sample, its head followed by the kernel frames and then the user frames, innermost
//! first, 8 bytes each. Between head and frames of a waker's sample stands whom it woke.

use crate::unwind::MAX_USER_FRAMES;

/// Most frames kept of what the kernel walks itself (the kernel's own limit, `kernel.perf_event_max_stack`).
pub const MAX_FRAMES: usize = 127;

/// The head of a sample.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackHeader {
    /// `CLOCK_MONOTONIC` ns; of a wait its end, or when it was looked at.
    pub at_ns: u64,
    /// The cgroup of the thread.
    pub cgroup_id: u64,
    /// What this sample stands for, ns, or the unit of its kind: of the CPU clock its period, which also tells sessions of different
    /// frequency apart.
    pub period_ns: u64,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The CPU.
    pub cpu: u32,
    /// Bytes of kernel frames.
    pub kernel_bytes: u32,
    /// Bytes of user frames.
    pub user_bytes: u32,
    /// 1 if the thread is a kernel thread.
    pub is_kernel_thread: u32,
    /// How the walk of the user frames ended: a [`crate::unwind::WalkEnd`].
    pub walk_end: u32,
    /// 0 for a sample of the CPU clock; for a wait see [`crate::offcpu::wait_word`], for a waker [`crate::wakeup::wake_word`], for others
    /// [`crate::weight::weight_word`].
    pub wait: u32,
    /// `mm->start_stack`: it is random at each exec, and tells the programs apart that one process runs; 0 where not known.
    pub start_stack: u64,
    /// The thread's name.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<StackHeader>() == 80);

/// A sample with room for the longest stacks, as the kernel half builds it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StackSample {
    /// Head.
    pub header: StackHeader,
    /// Frames: the kernel's, then at once the user's. Of a waker a [`crate::wakeup::Woken`] comes before them.
    pub frames: [u64; MAX_FRAMES + MAX_USER_FRAMES + 1],
}
