//! What user space sets before load. The globals are frozen, so the verifier sees constants and prunes what is off.

use crate::{memory::CALL_WORDS, state::SYSCALL_LIMIT};

/// Sizes and choices of one run.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tunables {
    /// CPUs that can ever be online: the stride of per-CPU records.
    pub cpus: u32,
    /// Copies of each distribution; CPUs share a copy when there are more CPUs.
    pub lanes: u32,
    /// Entries of the thread table less one; entries are a power of two.
    pub thread_mask: u32,
    /// Where the identity of a task comes from: [`IDENTITY_V2`], or the index of a v1 controller's css.
    pub identity_subsys: u32,
    /// `hierarchy_id` of the hierarchy that gives the identity; events of others are not sent.
    pub hierarchy_id: u32,
    /// 1 if CPUs share distributions, which then need atomic additions.
    pub shared_lanes: u32,
    /// Copies of each distribution of block latencies.
    pub block_lanes: u32,
    /// 1 if CPUs share those.
    pub block_shared_lanes: u32,
    /// `hierarchy_id` of the hierarchy that block requests are charged to; its events are sent too.
    pub block_hierarchy_id: u32,
    /// 1 if the tracepoints of a block request have its queue as first argument (before 5.11).
    pub block_queue_argument: u32,
    /// The number of `QUEUE_FLAG_STATS`: such a queue stamps the issue of its requests. [`STATS_BIT_NONE`] where that stamp is not
    /// exact.
    pub block_stats_bit: u32,
    /// 1 if the word of a socket that holds its cgroup can hold something else, told by its lowest bit (before 5.15).
    pub socket_cgroup_tag: u32,
    /// 1 if the tracepoint of a retransmission is also called for one that failed, with the error (6.15 on).
    pub retransmit_has_error: u32,
    /// How many arguments the tracepoint of a dropped packet has: the third is the reason (5.17 on), the fourth the socket that
    /// should have got it (6.11 on).
    pub packet_drop_arguments: u32,
    /// 1 if the tracepoint of an out-of-memory kill has the victim's task as first argument, and not its number (6.10 on).
    pub victim_is_task: u32,
    /// 1 if there are tracepoints where a page fault begins.
    pub fault_has_start: u32,
    /// 1 if the family `files` is on.
    pub files: u32,
    /// 1 if who waits for a request that was slow has the stack of its wait told.
    pub outlier_stacks: u32,
    /// System calls that read files, a bit each.
    pub read_calls: [u32; CALL_WORDS],
    /// System calls that write to files, a bit each: what they add to the page cache was not missed.
    pub write_calls: [u32; CALL_WORDS],
}

/// `block_stats_bit` of a kernel that stamps with a clock it read earlier.
pub const STATS_BIT_NONE: u32 = u32::MAX;

/// `identity_subsys` of cgroup v2.
pub const IDENTITY_V2: u32 = u32::MAX;

impl Tunables {
    /// What a kernel half that nobody configured would run with.
    pub const DEFAULT: Self = Self {
        cpus: 1,
        lanes: 1,
        thread_mask: 0,
        identity_subsys: IDENTITY_V2,
        hierarchy_id: 0,
        shared_lanes: 0,
        block_lanes: 1,
        block_shared_lanes: 0,
        block_hierarchy_id: 0,
        block_queue_argument: 0,
        block_stats_bit: STATS_BIT_NONE,
        socket_cgroup_tag: 0,
        retransmit_has_error: 0,
        packet_drop_arguments: 2,
        victim_is_task: 0,
        fault_has_start: 0,
        files: 0,
        outlier_stacks: 0,
        read_calls: [0; CALL_WORDS],
        write_calls: [0; CALL_WORDS],
    };
}

/// The class of each system call of this architecture, a [`crate::state::SyscallClass`] each.
pub type SyscallClasses = [u8; SYSCALL_LIMIT];
