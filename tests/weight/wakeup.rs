//! Who ends the waits of a container: in which function, and how long the waits were that it ended, by the account of who waited.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{
    ContainerOptions, Folded, Pprof, PprofSample, Stack, Trace, scratch_dir, wait_until,
};
use tempfile::TempDir;

use crate::daemon;
use crate::recording::{Worker, assert_close, assert_innermost, detail_of, number, record};

/// A sleeper at its gate, and who wakes it, in a container each.
struct Pair {
    sleeper: Worker,
    waker: Worker,
    /// Held for its drop: where the FIFO is.
    _shared: TempDir,
}

impl Pair {
    fn start(name: &str) -> Result<Self> {
        let shared = TempDir::with_prefix_in("shared-", scratch_dir())?;
        let start = |role: &str, path: &Path| {
            let options = ContainerOptions::new().bind(path, "/shared");
            Worker::start_of("wakers", options, &format!("{name}-{role}"), &["--role", role])
        };
        let waker = start("waker", shared.path())?;
        let sleeper = start("sleeper", shared.path())?;
        Ok(Self { sleeper, waker, _shared: shared })
    }
}

fn is_woken_in(stack: &Stack, container: &str) -> bool {
    stack.frames[0] == format!("[woken: {container}/wakers]")
}

#[test]
fn a_container_wakes_another() -> Result<()> {
    let daemon = daemon()?;
    let pair = Pair::start("wake")?;
    let bystander = Pair::start("bystander")?;
    let workers = [&pair.sleeper, &bystander.sleeper];
    let recorded = record(&daemon, "wakeup", &pair.sleeper.target(), 12, &workers)?;
    let (folded, truth) = (&recorded.folded, &recorded.truth);
    let sleeper = pair.sleeper.container.name();
    let strangers: Vec<_> = folded.0.iter().filter(|stack| !is_woken_in(stack, sleeper)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let by = format!("[waker: {}/wakers]", pair.waker.container.name());
    for (function, name) in [("wake_three", "three"), ("wake_one", "one")] {
        let is_it = |stack: &Stack| {
            let at = stack.frames.iter().position(|frame| frame == function);
            at.is_some_and(|at| stack.frames[3..at].iter().any(|frame| frame == "main"))
                && detail_of(stack) == Some("blocked.pipe")
                && stack.frames[2] == by
        };
        let seen = folded.count(is_it);
        assert_close(function, seen, number(truth, name)?, 0.02);
        let is_other = |stack: &&Stack| stack.has(function) && !is_it(stack);
        let others: Vec<_> = folded.0.iter().filter(is_other).collect();
        let in_others: u64 = others.iter().map(|stack| stack.count).sum();
        assert!(in_others * 100 <= seen, "{function}: {in_others} of {seen}: {others:?}");
    }
    // A timer ends the others. Whom it interrupts has nothing to do with it.
    let timer =
        folded.count(|s| detail_of(s) == Some("blocked.lock") && s.frames[2] == "[interrupt]");
    assert_close("timer", timer, number(truth, "timer")?, 0.02);
    for stack in folded.0.iter().filter(|stack| stack.frames[2] == "[interrupt]") {
        let is_of_kernel = stack.frames[3..].iter().all(|frame| frame.ends_with("_[k]"));
        assert!(is_of_kernel && stack.frames.len() > 4, "{stack:?}");
    }
    assert_innermost(folded, &["try_to_wake_up"], |_| true);
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

/// Another tool at the same tracepoint makes the way from there to our program another one.
#[test]
fn a_stack_begins_in_the_same_function_beside_other_tools() -> Result<()> {
    let daemon = daemon()?;
    let pair = Pair::start("beside")?;
    let path =
        format!("/api/v1/flamegraph?type=wakeup&{}&duration=2s&format=json", pair.sleeper.target());
    let id = pair.sleeper.container.id();
    wait_until("the container to be known", Duration::from_secs(10), || {
        Ok((daemon.answer(&format!("/api/v1/containers/{id}"))?.status == 200).then_some(()))
    })?;
    pair.sleeper.begin()?;
    let record = || Folded::of_json(&daemon.get(&path)?);
    let alone = record()?;
    let trace = Trace::start(&[pair.sleeper.container.host_pid()?], &["sched/sched_waking"])?;
    let beside = record()?;
    drop(trace);
    for folded in [alone, beside] {
        assert_innermost(&folded, &["try_to_wake_up"], |_| true);
    }
    Ok(())
}

/// The same of the process that waits, by its number, of some states only, and in the format that has labels.
#[test]
fn of_a_process_and_of_states() -> Result<()> {
    let daemon = daemon()?;
    let pair = Pair::start("states")?;
    pair.sleeper.begin()?;
    let pid = pair.sleeper.container.host_pid()?;
    let path =
        format!("/api/v1/flamegraph?type=wakeup&state=pipe&pid={pid}&duration=2s&format=folded");
    let folded = Folded::parse(&daemon.text(&path)?)?;
    assert!(folded.count(|stack| stack.has("wake_three")) > 0, "{folded:?}");
    let others = folded.count(|stack| detail_of(stack) != Some("blocked.pipe"));
    assert_eq!(others, 0, "{folded:?}");
    let directory = TempDir::with_prefix_in("woken-", scratch_dir())?;
    let path = directory.path().join("woken.pb.gz");
    let (file, pid) = (path.to_str().context("a path")?, pid.to_string());
    let arguments = ["flamegraph", "--type", "wakeup", "--state", "pipe", "--pid", &pid];
    let output = daemon.cli(&[&arguments[..], &["--duration", "2s", "-o", file]].concat())?;
    assert!(output.success(), "{output:?}");
    let pprof = Pprof::parse(&fs::read(&path)?)?;
    assert_eq!(pprof.types[1], ("wakeup".to_owned(), "nanoseconds".to_owned()));
    let waker = format!("[waker: {}/wakers]", pair.waker.container.name());
    let is_his = |sample: &&PprofSample| sample.labels.get("waker") == Some(&waker);
    let his: u64 = pprof.samples.iter().filter(is_his).map(|sample| sample.values[1]).sum();
    assert_eq!(his, pprof.total(1), "nobody else wakes it");
    Ok(())
}
