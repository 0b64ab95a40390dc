//! What the kernel half does, task by task, and the programs that can do each.
//!
//! Contract: candidates are tried in their order, the best first; tasks are attached in theirs.

use super::Family;

/// How a program is hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// A tracepoint with typed arguments.
    TpBtf(&'static str),
    /// A tracepoint with untyped arguments.
    RawTp(&'static str),
    /// Runs when its file is read.
    Iter(&'static str),
    /// Attached by each recording to its own clock.
    PerfEvent,
    /// A tracepoint with typed arguments, attached while waits are recorded.
    Waits(&'static str),
    /// Run as a recording of waits begins or ends.
    WaitStock(&'static str),
    /// A tracepoint with typed arguments, attached while its kind of event is recorded.
    Weight(&'static str),
    /// Each page fault that ends, on every CPU, while faults are recorded.
    WeightFault(FaultKind),
    /// A classic tracepoint, attached while its kind of event is recorded.
    WeightEvent(&'static str),
    /// Each page fault that ends, on every CPU.
    Fault(FaultKind),
    /// Run by the daemon before it reads.
    OnDemand,
}

/// How a page fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Settled from memory.
    Minor,
    /// It waited for a disk.
    Major,
}

impl Hook {
    /// The kind.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf(_) | Self::Waits(_) | Self::Weight(_) => "tp_btf",
            Self::WeightEvent(_) => "tracepoint",
            Self::RawTp(_) => "raw_tp",
            Self::Iter(_) => "iter",
            Self::PerfEvent | Self::Fault(_) | Self::WeightFault(_) => "perf_event",
            Self::OnDemand | Self::WaitStock(_) => "on demand",
        }
    }

    /// What it is hooked to.
    pub const fn target(self) -> &'static str {
        match self {
            Self::TpBtf(target) | Self::RawTp(target) | Self::Iter(target) => target,
            Self::Waits(target) | Self::Weight(target) | Self::WeightEvent(target) => target,
            Self::WaitStock(_) => "each recording of waits",
            Self::PerfEvent => "cpu-clock",
            Self::Fault(FaultKind::Minor) | Self::WeightFault(FaultKind::Minor) => "minor-faults",
            Self::Fault(FaultKind::Major) | Self::WeightFault(FaultKind::Major) => "major-faults",
            Self::OnDemand => "each tick",
        }
    }
}

/// One task of the kernel half and the programs that can do it, best first.
pub(super) struct Task {
    /// Which family it is of.
    pub family: Family,
    /// Its name to users: that of the first program.
    pub name: &'static str,
    /// Programs and hooks.
    pub candidates: &'static [(&'static str, Hook)],
}

impl Task {
    /// Whether it is for where requests come to the scheduler: what disks without statistics need, and who made each request where we
    /// stamp issues ourselves.
    pub fn is_of_insert(&self) -> bool {
        matches!(self.name, "block_insert" | "block_merge")
    }

    /// Whether its maps grow inside of the scheduler, or of locks: of recordings of waits and of weights.
    pub fn is_of_growing_maps(&self) -> bool {
        let is_it = |hook: &Hook| match hook {
            Hook::Waits(_) | Hook::WaitStock(_) => true,
            Hook::Weight(_) | Hook::WeightFault(_) | Hook::WeightEvent(_) => true,
            Hook::TpBtf(_) | Hook::RawTp(_) | Hook::Iter(_) => false,
            Hook::PerfEvent | Hook::Fault(_) | Hook::OnDemand => false,
        };
        self.candidates.iter().any(|(_, hook)| is_it(hook))
    }

    /// Whether it is where system calls begin or return: more than one family needs it.
    pub fn is_of_calls(&self) -> bool {
        matches!(self.name, "syscall_enter" | "syscall_exit")
    }
}

/// The order of attachment: who takes stock first, then who counts.
pub(super) const TASKS: &[Task] = &[
    Task {
        family: Family::Cgroup,
        name: "cgroup_mkdir",
        candidates: &[("cgroup_mkdir", Hook::TpBtf("cgroup_mkdir"))],
    },
    Task {
        family: Family::Cgroup,
        name: "cgroup_rmdir",
        candidates: &[("cgroup_rmdir", Hook::TpBtf("cgroup_rmdir"))],
    },
    Task {
        family: Family::Cgroup,
        name: "cgroup_attach_task",
        candidates: &[("cgroup_attach_task", Hook::TpBtf("cgroup_attach_task"))],
    },
    Task {
        family: Family::Sched,
        name: "sched_threads",
        candidates: &[("sched_threads", Hook::Iter("task"))],
    },
    Task {
        family: Family::Sched,
        name: "sched_switch",
        candidates: &[
            ("sched_switch", Hook::TpBtf("sched_switch")),
            ("sched_switch_raw", Hook::RawTp("sched_switch")),
        ],
    },
    Task {
        family: Family::Sched,
        name: "sched_wakeup",
        candidates: &[
            ("sched_wakeup", Hook::TpBtf("sched_wakeup")),
            ("sched_wakeup_raw", Hook::RawTp("sched_wakeup")),
        ],
    },
    Task {
        family: Family::Sched,
        name: "sched_wakeup_new",
        candidates: &[
            ("sched_wakeup_new", Hook::TpBtf("sched_wakeup_new")),
            ("sched_wakeup_new_raw", Hook::RawTp("sched_wakeup_new")),
        ],
    },
    Task {
        family: Family::Sched,
        name: "sched_settle",
        candidates: &[("sched_settle", Hook::OnDemand)],
    },
    Task {
        family: Family::Process,
        name: "process_fork",
        candidates: &[("process_fork", Hook::TpBtf("sched_process_fork"))],
    },
    Task {
        family: Family::Process,
        name: "process_exec",
        candidates: &[("process_exec", Hook::TpBtf("sched_process_exec"))],
    },
    Task {
        family: Family::Process,
        name: "process_exit",
        candidates: &[("process_exit", Hook::TpBtf("sched_process_exit"))],
    },
    Task {
        family: Family::Block,
        name: "block_complete",
        candidates: &[
            ("block_complete", Hook::TpBtf("block_rq_complete")),
            ("block_complete_raw", Hook::RawTp("block_rq_complete")),
        ],
    },
    Task {
        family: Family::Block,
        name: "block_issue",
        candidates: &[
            ("block_issue", Hook::TpBtf("block_rq_issue")),
            ("block_issue_raw", Hook::RawTp("block_rq_issue")),
        ],
    },
    Task {
        family: Family::Block,
        name: "block_insert",
        candidates: &[
            ("block_insert", Hook::TpBtf("block_rq_insert")),
            ("block_insert_raw", Hook::RawTp("block_rq_insert")),
        ],
    },
    Task {
        family: Family::Block,
        name: "block_merge",
        candidates: &[
            ("block_merge", Hook::TpBtf("block_rq_merge")),
            ("block_merge_raw", Hook::RawTp("block_rq_merge")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_send",
        candidates: &[
            ("tcp_send", Hook::TpBtf("sock_send_length")),
            ("tcp_send_raw", Hook::RawTp("sock_send_length")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_receive",
        candidates: &[
            ("tcp_receive", Hook::TpBtf("sock_recv_length")),
            ("tcp_receive_raw", Hook::RawTp("sock_recv_length")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_state",
        candidates: &[
            ("tcp_state", Hook::TpBtf("inet_sock_set_state")),
            ("tcp_state_raw", Hook::RawTp("inet_sock_set_state")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_retransmit",
        candidates: &[
            ("tcp_retransmit", Hook::TpBtf("tcp_retransmit_skb")),
            ("tcp_retransmit_raw", Hook::RawTp("tcp_retransmit_skb")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_retransmit_synack",
        candidates: &[
            ("tcp_retransmit_synack", Hook::TpBtf("tcp_retransmit_synack")),
            ("tcp_retransmit_synack_raw", Hook::RawTp("tcp_retransmit_synack")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_send_reset",
        candidates: &[
            ("tcp_send_reset", Hook::TpBtf("tcp_send_reset")),
            ("tcp_send_reset_raw", Hook::RawTp("tcp_send_reset")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_receive_reset",
        candidates: &[
            ("tcp_receive_reset", Hook::TpBtf("tcp_receive_reset")),
            ("tcp_receive_reset_raw", Hook::RawTp("tcp_receive_reset")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_packet_drop",
        candidates: &[
            ("tcp_packet_drop", Hook::TpBtf("kfree_skb")),
            ("tcp_packet_drop_raw", Hook::RawTp("kfree_skb")),
        ],
    },
    Task {
        family: Family::Tcp,
        name: "tcp_sockets",
        candidates: &[("tcp_sockets", Hook::Iter("task_file"))],
    },
    Task {
        family: Family::Memory,
        name: "memory_fault_user",
        candidates: &[
            ("memory_fault_user", Hook::TpBtf("page_fault_user")),
            ("memory_fault_user_raw", Hook::RawTp("page_fault_user")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_fault_kernel",
        candidates: &[
            ("memory_fault_kernel", Hook::TpBtf("page_fault_kernel")),
            ("memory_fault_kernel_raw", Hook::RawTp("page_fault_kernel")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_fault_minor",
        candidates: &[("memory_fault_minor", Hook::Fault(FaultKind::Minor))],
    },
    Task {
        family: Family::Memory,
        name: "memory_fault_major",
        candidates: &[("memory_fault_major", Hook::Fault(FaultKind::Major))],
    },
    Task {
        family: Family::Memory,
        name: "memory_cache_read",
        candidates: &[
            ("memory_cache_read", Hook::TpBtf("mm_filemap_get_pages")),
            ("memory_cache_read_raw", Hook::RawTp("mm_filemap_get_pages")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_cache_add",
        candidates: &[
            ("memory_cache_add", Hook::TpBtf("mm_filemap_add_to_page_cache")),
            ("memory_cache_add_raw", Hook::RawTp("mm_filemap_add_to_page_cache")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_reclaim_begin",
        candidates: &[
            ("memory_reclaim_begin", Hook::TpBtf("mm_vmscan_direct_reclaim_begin")),
            ("memory_reclaim_begin_raw", Hook::RawTp("mm_vmscan_direct_reclaim_begin")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_reclaim_end",
        candidates: &[
            ("memory_reclaim_end", Hook::TpBtf("mm_vmscan_direct_reclaim_end")),
            ("memory_reclaim_end_raw", Hook::RawTp("mm_vmscan_direct_reclaim_end")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_limit_begin",
        candidates: &[
            ("memory_limit_begin", Hook::TpBtf("mm_vmscan_memcg_reclaim_begin")),
            ("memory_limit_begin_raw", Hook::RawTp("mm_vmscan_memcg_reclaim_begin")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_limit_end",
        candidates: &[
            ("memory_limit_end", Hook::TpBtf("mm_vmscan_memcg_reclaim_end")),
            ("memory_limit_end_raw", Hook::RawTp("mm_vmscan_memcg_reclaim_end")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_compact_begin",
        candidates: &[
            ("memory_compact_begin", Hook::TpBtf("mm_compaction_begin")),
            ("memory_compact_begin_raw", Hook::RawTp("mm_compaction_begin")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_compact_end",
        candidates: &[
            ("memory_compact_end", Hook::TpBtf("mm_compaction_end")),
            ("memory_compact_end_raw", Hook::RawTp("mm_compaction_end")),
        ],
    },
    Task {
        family: Family::Memory,
        name: "memory_oom",
        candidates: &[
            ("memory_oom", Hook::TpBtf("mark_victim")),
            ("memory_oom_raw", Hook::RawTp("mark_victim")),
        ],
    },
    Task {
        family: Family::Syscall,
        name: "syscall_enter",
        candidates: &[
            ("syscall_enter", Hook::TpBtf("sys_enter")),
            ("syscall_enter_raw", Hook::RawTp("sys_enter")),
        ],
    },
    Task {
        family: Family::Syscall,
        name: "syscall_exit",
        candidates: &[
            ("syscall_exit", Hook::TpBtf("sys_exit")),
            ("syscall_exit_raw", Hook::RawTp("sys_exit")),
        ],
    },
    Task {
        family: Family::Irq,
        name: "irq_hard_begin",
        candidates: &[
            ("irq_hard_begin", Hook::TpBtf("irq_handler_entry")),
            ("irq_hard_begin_raw", Hook::RawTp("irq_handler_entry")),
        ],
    },
    Task {
        family: Family::Irq,
        name: "irq_hard_end",
        candidates: &[
            ("irq_hard_end", Hook::TpBtf("irq_handler_exit")),
            ("irq_hard_end_raw", Hook::RawTp("irq_handler_exit")),
        ],
    },
    Task {
        family: Family::Irq,
        name: "irq_soft_begin",
        candidates: &[
            ("irq_soft_begin", Hook::TpBtf("softirq_entry")),
            ("irq_soft_begin_raw", Hook::RawTp("softirq_entry")),
        ],
    },
    Task {
        family: Family::Irq,
        name: "irq_soft_end",
        candidates: &[
            ("irq_soft_end", Hook::TpBtf("softirq_exit")),
            ("irq_soft_end_raw", Hook::RawTp("softirq_exit")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "profile_sample",
        // The second for kernels without bpf_loop (before 5.17), and for machines whose tables are not made.
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("profile_sample", Hook::PerfEvent),
            ("profile_sample_plain", Hook::PerfEvent),
        ],
    },
    Task {
        family: Family::Profile,
        name: "offcpu_switch",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("offcpu_switch", Hook::Waits("sched_switch")),
            ("offcpu_switch_plain", Hook::Waits("sched_switch")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "offcpu_begin",
        candidates: &[("offcpu_begin", Hook::WaitStock("task"))],
    },
    Task {
        family: Family::Profile,
        name: "offcpu_end",
        candidates: &[("offcpu_end", Hook::WaitStock("task"))],
    },
    Task {
        family: Family::Profile,
        name: "weight_block",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_block", Hook::Weight("block_bio_queue")),
            ("weight_block_plain", Hook::Weight("block_bio_queue")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "weight_fault_minor",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_fault_minor", Hook::WeightFault(FaultKind::Minor)),
            ("weight_fault_minor_plain", Hook::WeightFault(FaultKind::Minor)),
        ],
    },
    Task {
        family: Family::Profile,
        name: "weight_fault_major",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_fault_major", Hook::WeightFault(FaultKind::Major)),
            ("weight_fault_major_plain", Hook::WeightFault(FaultKind::Major)),
        ],
    },
    Task {
        family: Family::Profile,
        name: "weight_resident",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_resident", Hook::WeightEvent("kmem:rss_stat")),
            ("weight_resident_plain", Hook::WeightEvent("kmem:rss_stat")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "weight_lock_begin",
        candidates: &[("weight_lock_begin", Hook::Weight("contention_begin"))],
    },
    Task {
        family: Family::Profile,
        name: "weight_lock_end",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_lock_end", Hook::Weight("contention_end")),
            ("weight_lock_end_plain", Hook::Weight("contention_end")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "weight_send",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("weight_send", Hook::Weight("sock_send_length")),
            ("weight_send_plain", Hook::Weight("sock_send_length")),
        ],
    },
    Task {
        family: Family::Profile,
        name: "wakeup_woken",
        candidates: &[("wakeup_woken", Hook::Weight("sched_wakeup"))],
    },
    Task {
        family: Family::Profile,
        name: "wakeup_waking",
        candidates: &[
            #[cfg(target_arch = "x86_64")]
            ("wakeup_waking", Hook::Weight("sched_waking")),
            ("wakeup_waking_plain", Hook::Weight("sched_waking")),
        ],
    },
];
