//! A process's and a thread's counters, from `/proc`.

use std::fs;
use std::ops::Add;

use anyhow::{Context, Result};

/// Switches away from a CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContextSwitches {
    /// Because the thread blocked.
    pub voluntary: u64,
    /// Because another was to run.
    pub involuntary: u64,
}

impl Add for ContextSwitches {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
        }
    }
}

/// The scheduler's account of a thread. The time of the slice it is in may be missing, up to one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedStat {
    /// On a CPU.
    pub run_ns: u64,
    /// Runnable, on a run queue, not on a CPU.
    pub run_delay_ns: u64,
    /// How often it was put on a CPU.
    pub slices: u64,
}

impl Add for SchedStat {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            run_ns: self.run_ns + other.run_ns,
            run_delay_ns: self.run_delay_ns + other.run_delay_ns,
            slices: self.slices + other.slices,
        }
    }
}

/// The threads of process `pid`.
///
/// # Errors
/// When the process is gone.
pub fn task_ids(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let mut ids = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| format!("cannot list {path}"))? {
        let name = entry?.file_name();
        ids.push(name.to_string_lossy().parse().with_context(|| format!("{path}/{name:?}"))?);
    }
    Ok(ids)
}

/// Of one thread.
///
/// # Errors
/// When the thread is gone.
pub fn context_switches(pid: u32, tid: u32) -> Result<ContextSwitches> {
    let path = format!("/proc/{pid}/task/{tid}/status");
    let status = read(&path)?;
    let count = |key| number_after(&status, key).with_context(|| format!("{path}: no {key}"));
    Ok(ContextSwitches {
        voluntary: count("voluntary_ctxt_switches:")?,
        involuntary: count("nonvoluntary_ctxt_switches:")?,
    })
}

/// Of all living threads of a process.
///
/// # Errors
/// When the process, or a thread meanwhile, is gone.
pub fn process_context_switches(pid: u32) -> Result<ContextSwitches> {
    let tids = task_ids(pid)?;
    tids.into_iter()
        .try_fold(ContextSwitches::default(), |sum, tid| Ok(sum + context_switches(pid, tid)?))
}

/// Of one thread.
///
/// # Errors
/// When the thread is gone, or the kernel keeps no such account (CONFIG_SCHED_INFO).
pub fn sched_stat(pid: u32, tid: u32) -> Result<SchedStat> {
    let path = format!("/proc/{pid}/task/{tid}/schedstat");
    let text = read(&path)?;
    let fields: Vec<u64> = text
        .split_whitespace()
        .map(|field| field.parse().with_context(|| format!("{path}: {text}")))
        .collect::<Result<_>>()?;
    let &[run_ns, run_delay_ns, slices] = fields.as_slice() else {
        anyhow::bail!("{path}: three fields expected, found {text}");
    };
    Ok(SchedStat { run_ns, run_delay_ns, slices })
}

/// Of all living threads of a process.
///
/// # Errors
/// As [`sched_stat`].
pub fn process_sched_stat(pid: u32) -> Result<SchedStat> {
    let tids = task_ids(pid)?;
    tids.into_iter().try_fold(SchedStat::default(), |sum, tid| Ok(sum + sched_stat(pid, tid)?))
}

/// CPU time of a process with its ended threads, in nanoseconds, exact to a clock tick (10 ms).
///
/// # Errors
/// When the process is gone.
pub fn process_cpu_ns(pid: u32) -> Result<u64> {
    const TICK_NS: u64 = 10_000_000;
    Ok((stat_field(pid, 14)? + stat_field(pid, 15)?) * TICK_NS)
}

/// When a process started, in clock ticks since boot: with its id it names a process for good.
///
/// # Errors
/// When the process is gone.
pub fn process_start_ticks(pid: u32) -> Result<u64> {
    stat_field(pid, 22)
}

/// Resident memory of a process, page by page, in bytes. The counters behind `VmRSS` lag by up to 32 pages a CPU.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let kibibytes = number_after(&read(&path)?, "Rss:");
    Ok(kibibytes.with_context(|| format!("{path}: no Rss"))? * 1024)
}

/// Field `number` (from 1, as in proc(5)) of `/proc/PID/stat`, from the fourth on.
fn stat_field(pid: u32, number: usize) -> Result<u64> {
    const FIRST_AFTER_NAME: usize = 3;
    let path = format!("/proc/{pid}/stat");
    let stat = read(&path)?;
    // The name may hold blanks and parentheses: its end is the last one.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path}: no name"))?;
    fields
        .split_whitespace()
        .nth(number - FIRST_AFTER_NAME)
        .and_then(|field| field.parse().ok())
        .with_context(|| format!("{path}: no number in field {number}"))
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
