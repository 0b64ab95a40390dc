//! The kernel's own account, read from files: what the daemon's figures are held against.

mod bracket;
mod cgroup;
mod system;
mod task;

pub use bracket::{Bracket, bracket};
pub use cgroup::{cpu_stat, cpuacct_usage_ns};
pub use system::{CpuTimes, cpu_times, machine_cpu_ns, system_context_switches};
pub use task::{
    ContextSwitches, SchedStat, context_switches, process_context_switches, process_cpu_ns,
    process_sched_stat, process_start_ticks, resident_bytes, sched_stat, task_ids,
};
