//! A recording, and the kernel's account of threads in the window that it says it had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use cgscope_tests::{Daemon, Folded, Stack, truth, wait_until};
use serde_json::Value;

/// What was recorded, and what the kernel says of the same time.
pub struct Recorded {
    /// Weights are ns.
    pub folded: Folded,
    /// When it began, ns since the epoch.
    pub start_ns: u64,
    /// How long it was.
    pub length_ns: u64,
    /// How long the threads that were named waited in it, together, by what the kernel does not say that they worked.
    pub waited_ns: f64,
    /// What the hypervisor took from all CPUs meanwhile: the kernel says that they neither worked nor were to, and they did not wait.
    pub stolen_ns: f64,
}

/// Records waits of `target`, `container=ID` or `pid=PID`, and reads the account of `threads`, a process and a thread each.
pub fn record(
    daemon: &Daemon,
    target: &str,
    seconds: u32,
    threads: &[(u32, u32)],
) -> Result<Recorded> {
    record_type(daemon, "offcpu", target, seconds, threads)
}

/// The same of another type whose weights are ns of waiting.
pub fn record_type(
    daemon: &Daemon,
    kind: &str,
    target: &str,
    seconds: u32,
    threads: &[(u32, u32)],
) -> Result<Recorded> {
    let path = format!("/api/v1/flamegraph?type={kind}&{target}&duration={seconds}s&format=json");
    if let Some(id) = target.strip_prefix("container=") {
        // Started a moment ago, it may not have been told yet.
        wait_until("the container to be known", Duration::from_secs(10), || {
            let answer = daemon.answer(&format!("/api/v1/containers/{id}"))?;
            Ok((answer.status == 200).then_some(()))
        })?;
    }
    let is_done = AtomicBool::new(false);
    let stolen_before = truth::cpu_times(None)?.steal;
    let (readings, profile) = thread::scope(|scope| {
        let watcher = scope.spawn(|| work_over_time(threads, &is_done));
        let profile = daemon.get(&path);
        is_done.store(true, Ordering::Relaxed);
        let readings = watcher.join().map_err(|_| anyhow!("reading schedstat panicked"))?;
        Ok::<_, anyhow::Error>((readings?, profile?))
    })?;
    // Ticks of 1/100 s.
    let stolen_ns = (truth::cpu_times(None)?.steal - stolen_before) as f64 * 1e7;
    let number = |name: &str| profile[name].as_u64().with_context(|| name.to_owned());
    let (start_ns, length_ns) = (number("started_at_ns")?, number("duration_ns")?);
    let worked_ns = worked_at(&readings, start_ns + length_ns)? - worked_at(&readings, start_ns)?;
    let waited_ns = threads.len() as f64 * length_ns as f64 - worked_ns;
    let folded = Folded::of_json(&profile)?;
    let ours: Vec<_> = folded.0.iter().filter(|stack| stack.has_program()).collect();
    assert!(ours.is_empty(), "{kind} has frames of what records it: {ours:?}");
    Ok(Recorded { folded, start_ns, length_ns, waited_ns, stolen_ns })
}

/// Wall time, ns since the epoch, and the time that threads ran or were to run, ns.
type Reading = (u64, u64);

fn work_over_time(threads: &[(u32, u32)], is_done: &AtomicBool) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    while !is_done.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut worked_ns = 0;
        for &(pid, tid) in threads {
            let stat = truth::sched_stat(pid, tid)?;
            worked_ns += stat.run_ns + stat.run_delay_ns;
        }
        readings.push((now.as_nanos() as u64, worked_ns));
        thread::sleep(Duration::from_millis(10));
    }
    Ok(readings)
}

/// What they had worked at an instant, on the line between the readings around it.
fn worked_at(readings: &[Reading], at_ns: u64) -> Result<f64> {
    let around = readings.windows(2).find(|pair| (pair[0].0..=pair[1].0).contains(&at_ns));
    let &[(from, worked), (to, worked_then)] = around.context("outside of all readings")? else {
        anyhow::bail!("a window of two is two");
    };
    let share = (at_ns - from) as f64 / (to - from) as f64;
    Ok(worked as f64 + share * (worked_then - worked) as f64)
}

/// Nanoseconds of waiting by state: of the frame next to the thread's name.
pub fn by_state(folded: &Folded) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for stack in folded.0.iter().filter(|stack| !stack.is_lost()) {
        let state = state_of(stack).unwrap_or("none").to_owned();
        *states.entry(state).or_default() += stack.count;
    }
    states
}

/// The state of a stack.
pub fn state_of(stack: &Stack) -> Option<&str> {
    stack.frames.get(1)?.strip_prefix('[')?.strip_suffix(']')
}

/// What the functions waited in a fixture's truth, ns.
pub fn waited_ns(truth: &Value, function: &str) -> Result<f64> {
    let name = format!("{function}_ns");
    truth[&name].as_f64().with_context(|| format!("{name} in {truth}"))
}

/// Panics unless the weight of all is the time that the kernel says was waited, but for what was stolen.
#[track_caller]
pub fn assert_total(all_ns: u64, recorded: &Recorded, share: f64) {
    let (most, stolen) = (recorded.waited_ns, recorded.stolen_ns);
    let expected = (1.0 - share) * (most - stolen)..=(1.0 + share) * most;
    assert!(
        expected.contains(&(all_ns as f64)),
        "{all_ns} ns of waiting, by the kernel's account {most:.0} ({:+.2} %), of which {stolen:.0} may be stolen",
        100.0 * (all_ns as f64 / most - 1.0)
    );
}
