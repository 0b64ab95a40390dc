//! The whole machine's counters, from `/proc/stat`.

use anyhow::{Context, Result};

/// The time of one CPU or of all, in clock ticks (1/100 s), by mode. `guest` is counted in `user` already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    /// In user space.
    pub user: u64,
    /// In user space at low priority.
    pub nice: u64,
    /// In the kernel, without interrupts.
    pub system: u64,
    /// Idle without pending I/O.
    pub idle: u64,
    /// Idle with pending I/O.
    pub iowait: u64,
    /// In hard interrupts.
    pub irq: u64,
    /// In soft interrupts.
    pub softirq: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

/// The times of all CPUs together (`cpu: None`) or of one.
///
/// # Errors
/// When there is no such CPU.
pub fn cpu_times(cpu: Option<u32>) -> Result<CpuTimes> {
    let label = cpu.map_or_else(|| "cpu".to_owned(), |number| format!("cpu{number}"));
    let values: Vec<u64> = line_of_stat(&label)?;
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = values.as_slice() else {
        anyhow::bail!("/proc/stat: {label} has too few fields");
    };
    Ok(CpuTimes { user, nice, system, idle, iowait, irq, softirq, steal })
}

/// CPU time of every thread there is or was since boot, idle ones aside, in nanoseconds: the scheduler's own account of the root
/// cgroup (`cpuacct.usage`). Without that controller what `/proc/stat` says of all that is not idle, which the kernel samples by
/// its tick: work that begins with a tick and ends before the next is not in it.
///
/// # Errors
/// When neither can be read.
pub fn machine_cpu_ns() -> Result<u64> {
    const TICK_NS: u64 = 10_000_000;
    if let Ok(usage_ns) = super::cpuacct_usage_ns("/sys/fs/cgroup/cpuacct".as_ref()) {
        return Ok(usage_ns);
    }
    let t = cpu_times(None)?;
    Ok((t.user + t.nice + t.system + t.irq + t.softirq + t.steal) * TICK_NS)
}

/// Context switches of all CPUs since boot.
///
/// # Errors
/// When `/proc/stat` cannot be read.
pub fn system_context_switches() -> Result<u64> {
    line_of_stat("ctxt")?.first().copied().context("/proc/stat: ctxt is empty")
}

fn line_of_stat(label: &str) -> Result<Vec<u64>> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(' '))
        .with_context(|| format!("/proc/stat has no line {label}"))?;
    line.split_whitespace().map(|field| field.parse().context("a number in /proc/stat")).collect()
}
