//! What one run of the kernel half is sized and chosen by.

use std::{fmt, path::PathBuf};

use monitor_common::{
    block::PAIR_FIRST,
    sched::{SLOT_FIRST, Thread},
    tunable::{IDENTITY_V2, Tunables},
};

use super::{ProbeError, block, memory, offcpu, syscall_class, tcp};
use crate::kernel::{btf, calls::SingleCalls, cpus};

/// What is switched on and off as one: a group of programs, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Scheduler: time by state, latencies, switches.
    Sched,
    /// Births and deaths of cgroups.
    Cgroup,
    /// Births, execs and deaths of processes.
    Process,
    /// Requests of block devices: operations, bytes, latencies.
    Block,
    /// Sockets: bytes, connections, retransmissions, resets, dropped packets.
    Tcp,
    /// Faults, use of the page cache, waits for memory, out-of-memory kills.
    Memory,
    /// System calls. Off unless asked for: every call of the host pays for it.
    Syscall,
    /// Opens, reads and writes of files, and layers of overlays. Off unless asked for, and for the same reason.
    Files,
    /// Interrupts: hard ones and softirqs.
    Irq,
    /// Limits on CPU and processes, and how they were met. Files of cgroups only: it has no programs.
    Limits,
    /// Stack samples of the CPU clock.
    Profile,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 11] = [
        Self::Sched,
        Self::Cgroup,
        Self::Process,
        Self::Block,
        Self::Tcp,
        Self::Memory,
        Self::Syscall,
        Self::Files,
        Self::Irq,
        Self::Limits,
        Self::Profile,
    ];

    /// Its name on the command line and in `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sched => "sched",
            Self::Cgroup => "cgroup",
            Self::Process => "process",
            Self::Block => "block",
            Self::Tcp => "tcp",
            Self::Memory => "memory",
            Self::Syscall => "syscall",
            Self::Files => "files",
            Self::Irq => "irq",
            Self::Limits => "limits",
            Self::Profile => "profile",
        }
    }

    /// Whether it is on unless it is switched off.
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::Syscall | Self::Files | Self::Irq)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which kind of hook is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// The best that this kernel takes.
    #[default]
    Auto,
    /// Only BTF-typed tracepoints.
    TpBtf,
    /// Only raw tracepoints, with helper calls for each load.
    RawTp,
}

/// Where the identity of a task comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Its cgroup v2.
    #[default]
    V2,
    /// Its cgroup in the hierarchy of a v1 controller.
    V1 {
        /// The controller, as the kernel's `cgroup_subsys_id` names it: `cpu`, `memory`, ...
        controller: String,
        /// The id of its hierarchy, first column of `/proc/cgroups` or `/proc/self/cgroup`.
        hierarchy_id: u32,
    },
}

/// Sizes and choices of one run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Families that are on.
    pub families: Vec<Family>,
    /// Cgroups that can be active at once; further ones are counted as `unattributed`.
    pub max_cgroups: u32,
    /// Live threads that can be followed; 0 for as many as `kernel.pid_max`, at most 2^18 (16 MB).
    pub max_threads: u32,
    /// Bytes of the ring of cgroup and process events.
    pub event_ring_bytes: u32,
    /// Bytes of the ring of stack samples; 0 for as many as suit the number of CPUs.
    pub stack_ring_bytes: u32,
    /// Bytes of the rows of unwind tables.
    pub unwind_table_bytes: u32,
    /// System calls that are counted one by one.
    pub single_calls: SingleCalls,
    /// Which hooks to try.
    pub hook: HookChoice,
    /// Where the identity comes from.
    pub identity: Identity,
    /// The kernel's types.
    pub btf: PathBuf,
    /// The most detailed messages of the kernel half that are let through: 1 errors, 2 warnings, 3 information, 4 details; 0
    /// for none.
    pub kernel_log_level: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            families: Family::ALL.into_iter().filter(|family| family.is_default()).collect(),
            max_cgroups: 1_024,
            max_threads: 0,
            event_ring_bytes: 256 << 10,
            stack_ring_bytes: 0,
            unwind_table_bytes: 16 << 20,
            single_calls: SingleCalls::default(),
            hook: HookChoice::Auto,
            identity: Identity::V2,
            btf: PathBuf::from(btf::VMLINUX),
            kernel_log_level: 0,
        }
    }
}

/// More CPUs than this share distributions: 16 copies of 2.4 KB a cgroup are enough to keep them from contending.
const MAX_LANES: u32 = 16;
/// The same for block latencies, of 7 KB a copy, and those of connections: a CPU completes some 10^5 requests a second where it
/// switches 10^6 times.
const MAX_BLOCK_LANES: u32 = 4;
/// 2^18 entries of 64 bytes are 16 MB. More live threads than that need `--max-threads`.
const DEFAULT_THREAD_LIMIT: u32 = 1 << 18;
/// Samples of 64 deep stacks, of 2 KB: what a CPU writes in 600 ms at 99 Hz.
const STACK_RING_BYTES_PER_CPU: u32 = 128 << 10;
/// A ring is memory twice, in the kernel and mapped.
const MIN_STACK_RING_BYTES: u32 = 1 << 20;
const MAX_STACK_RING_BYTES: u32 = 64 << 20;

impl Config {
    /// Size of the ring of stack samples.
    pub(super) fn stack_ring_bytes(&self, cpus: u32) -> u32 {
        if self.stack_ring_bytes != 0 {
            return self.stack_ring_bytes;
        }
        let bytes = STACK_RING_BYTES_PER_CPU.saturating_mul(cpus);
        bytes.clamp(MIN_STACK_RING_BYTES, MAX_STACK_RING_BYTES).next_power_of_two()
    }

    /// Slots, with those that are no cgroup's.
    pub fn slots(&self) -> u32 {
        self.max_cgroups + SLOT_FIRST
    }

    /// Whether a family is on.
    pub fn has(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// Pairs of a cgroup and a device, with the one of what found none. Of the cgroups that are active, fewer do I/O.
    pub fn block_pairs(&self) -> u32 {
        PAIR_FIRST + (self.max_cgroups / 2).max(1)
    }

    /// What the kernel half is loaded with.
    pub(super) fn tunables(&self, btf: &btf::Btf) -> Result<Tunables, ProbeError> {
        let cpus =
            cpus::possible().map_err(|source| ProbeError::Machine { what: "CPUs", source })?;
        let lanes = if cpus <= MAX_LANES { cpus } else { MAX_LANES };
        let (identity_subsys, hierarchy_id) = match &self.identity {
            Identity::V2 => (IDENTITY_V2, 0),
            Identity::V1 { controller, hierarchy_id } => {
                let name = format!("{controller}_cgrp_id");
                let index = btf
                    .enumerator("cgroup_subsys_id", &name)
                    .ok_or_else(|| ProbeError::NoController { controller: controller.clone() })?;
                (index, *hierarchy_id)
            }
        };
        let block_lanes = cpus.min(MAX_BLOCK_LANES);
        Ok(Tunables {
            block_lanes,
            block_shared_lanes: u32::from(block_lanes < cpus),
            block_hierarchy_id: match self.has(Family::Block) {
                true => block::hierarchy_id().0,
                false => hierarchy_id,
            },
            block_queue_argument: block::queue_argument(btf),
            block_stats_bit: block::stats_bit(btf),
            socket_cgroup_tag: tcp::cgroup_tag(btf),
            retransmit_has_error: tcp::retransmit_has_error(btf),
            packet_drop_arguments: tcp::packet_drop_arguments(btf),
            victim_is_task: memory::victim_is_task(btf),
            fault_has_start: memory::fault_has_start(btf),
            files: u32::from(self.has(Family::Files)),
            outlier_stacks: u32::from(
                self.has(Family::Block) && self.has(Family::Sched) && offcpu::is_safe(btf),
            ),
            read_calls: syscall_class::read_calls(),
            write_calls: syscall_class::write_calls(),
            cpus,
            lanes,
            thread_mask: self.thread_entries()? - 1,
            identity_subsys,
            hierarchy_id,
            shared_lanes: u32::from(lanes < cpus),
        })
    }

    /// Entries of the thread table: a power of two.
    pub(super) fn thread_entries(&self) -> Result<u32, ProbeError> {
        let wanted = match self.max_threads {
            0 => pid_max()?.min(DEFAULT_THREAD_LIMIT),
            some => some,
        };
        Ok(wanted.clamp(64, 1 << 22).next_power_of_two())
    }

    /// Bytes of one entry of the thread table, for those who show what it costs.
    pub const THREAD_BYTES: usize = size_of::<Thread>();
}

fn pid_max() -> Result<u32, ProbeError> {
    let path = "/proc/sys/kernel/pid_max";
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProbeError::Machine { what: "kernel.pid_max", source })?;
    Ok(text.trim().parse().unwrap_or(DEFAULT_THREAD_LIMIT))
}
