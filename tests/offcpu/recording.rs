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
    /// How long the threads that were named waited in it, together.
    pub waited_ns: f64,
}

/// Records waits of `target`, `container=ID` or `pid=PID`, and reads the account of `threads`, a process and a thread each.
pub fn record(
    daemon: &Daemon,
    target: &str,
    seconds: u32,
    threads: &[(u32, u32)],
) -> Result<Recorded> {
    let path = format!("/api/v1/flamegraph?type=offcpu&{target}&duration={seconds}s&format=json");
    if let Some(id) = target.strip_prefix("container=") {
        // Started a moment ago, it may not have been told yet.
        wait_until("the container to be known", Duration::from_secs(10), || {
            let answer = daemon.answer(&format!("/api/v1/containers/{id}"))?;
            Ok((answer.status == 200).then_some(()))
        })?;
    }
    let is_done = AtomicBool::new(false);
    let (readings, profile) = thread::scope(|scope| {
        let watcher = scope.spawn(|| work_over_time(threads, &is_done));
        let profile = daemon.get(&path);
        is_done.store(true, Ordering::Relaxed);
        let readings = watcher.join().map_err(|_| anyhow!("reading schedstat panicked"))?;
        Ok::<_, anyhow::Error>((readings?, profile?))
    })?;
    let number = |name: &str| profile[name].as_u64().with_context(|| name.to_owned());
    let (start_ns, length_ns) = (number("started_at_ns")?, number("duration_ns")?);
    let worked_ns = worked_at(&readings, start_ns + length_ns)? - worked_at(&readings, start_ns)?;
    let waited_ns = threads.len() as f64 * length_ns as f64 - worked_ns;
    Ok(Recorded { folded: folded(&profile)?, start_ns, length_ns, waited_ns })
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

/// The call tree of the JSON, as stacks.
fn folded(profile: &Value) -> Result<Folded> {
    let list = |name: &str| profile[name].as_array().with_context(|| name.to_owned());
    let (frames, nodes) = (list("frames")?, list("nodes")?);
    let mut paths: Vec<Vec<String>> = Vec::new();
    let mut stacks = Vec::new();
    for node in nodes {
        let frame = &frames[node["frame"].as_u64().context("frame")? as usize];
        let mut name = frame["name"].as_str().context("name")?.to_owned();
        if frame["kind"] == "kernel" {
            name += "_[k]";
        }
        let mut path = match node["parent"].as_u64() {
            Some(parent) => paths[parent as usize].clone(),
            None => Vec::new(),
        };
        path.push(name);
        paths.push(path.clone());
        let count = node["self"].as_u64().context("self")?;
        if count > 0 {
            stacks.push(Stack { frames: path, count });
        }
    }
    Ok(Folded(stacks))
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

/// Panics unless the weight of all is the time that the kernel says was waited.
#[track_caller]
pub fn assert_total(all_ns: u64, recorded: &Recorded, share: f64) {
    let expected = recorded.waited_ns;
    assert!(
        (all_ns as f64 - expected).abs() <= share * expected,
        "{all_ns} ns of waiting, by the kernel's account {expected:.0} ({:+.2} %)",
        100.0 * (all_ns as f64 / expected - 1.0)
    );
}
