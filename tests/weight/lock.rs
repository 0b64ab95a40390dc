//! Time at locks: of the kernel's, against its own event trace; of processes, against the workload's account.

use std::collections::HashMap;

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, FixtureProcess, Folded, Stack, Trace};

use crate::daemon;
use crate::recording::{Worker, assert_close, assert_innermost, detail_of, number, of, record};

/// From beginnings to ends of waits for a lock, ns. A mutex says twice that it begins.
fn contended_ns(trace: &Trace) -> Result<f64> {
    let mut began = HashMap::new();
    let mut waited_s = 0.0;
    for event in trace.events()? {
        let lock = event.fields.split_whitespace().next().context("a lock")?.to_owned();
        let key = (event.tid, lock);
        if event.name == "contention_begin" {
            began.entry(key).or_insert(event.at_s);
        } else if let Some(began_s) = began.remove(&key) {
            waited_s += event.at_s - began_s;
        }
    }
    Ok(waited_s * 1e9)
}

#[test]
fn the_lock_of_an_address_space() -> Result<()> {
    let daemon = daemon()?;
    let load = ["--what", "lock", "--turns", "300", "--threads", "3"];
    let worker = Worker::start(ContainerOptions::new(), "fights", &load)?;
    let bystander = Worker::start(ContainerOptions::new(), "bystander", &load)?;
    let pid = worker.container.host_pid()?;
    // With the threads that it makes.
    let trace =
        Trace::start_with_children(&[pid], &["lock/contention_begin", "lock/contention_end"])?;
    let recorded = record(&daemon, "lock", &worker.target(), 10, &[&worker, &bystander])?;
    let contended_ns = contended_ns(&trace)?;
    let folded = &recorded.folded;
    let in_kernel =
        folded.count(|stack| detail_of(stack).is_some_and(|detail| detail.starts_with("lock.")));
    eprintln!("{in_kernel} ns at locks of the kernel, by its trace {contended_ns:.0}");
    assert!(contended_ns > 20e6, "there was little to wait for: {contended_ns} ns");
    assert_close("the kernel's trace", in_kernel, contended_ns as u64, 0.02);
    let is_address_space = |stack: &Stack| {
        detail_of(stack) == Some("lock.read_write")
            && (stack.has("do_three") || stack.has("do_one"))
    };
    let sleeping = folded.count(is_address_space);
    assert!(sleeping as f64 > 0.5 * in_kernel as f64, "{sleeping} of {in_kernel}: {folded:?}");
    // The trace is at the same tracepoint, which makes the way to our program another one.
    assert_innermost(folded, &["rwsem_down_"], is_address_space);
    let (three, one) = (of_thread(folded, "do_three"), of_thread(folded, "do_one"));
    assert!(three > one, "three times as often in do_three: {three} and {one}");
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

/// The threads of the fixture begin in `fight`.
fn of_thread(folded: &Folded, function: &str) -> u64 {
    folded.count(|stack| stack.has(function) && stack.has("fight"))
}

/// A thread that waits in a futex, and sleeps in between: only the futex is there.
#[test]
fn a_lock_of_a_process() -> Result<()> {
    let daemon = daemon()?;
    let load = ["--what", "futex", "--turns", "200", "--pause-us", "1000"];
    let worker = Worker::start(ContainerOptions::new(), "waits", &load)?;
    let recorded = record(&daemon, "lock", &worker.target(), 8, &[&worker])?;
    let folded = &recorded.folded;
    for (function, name) in [("do_three", "three"), ("do_one", "one")] {
        let seen = of(folded, function);
        let truth = number(&recorded.truth, name)?;
        eprintln!("{function}: {seen} ns, in truth {truth}");
        // Each of the 200 waits is half a percent, and none is missing.
        assert_close(function, seen, truth, 0.004);
        let futex = folded.count(|s| s.has(function) && detail_of(s) == Some("blocked.lock"));
        assert_close("blocked.lock", futex, seen, 0.01);
    }
    let both = of(folded, "do_three") + of(folded, "do_one");
    assert_close("and nothing else", folded.kept(), both, 0.01);
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

/// The same by states of a recording of waits.
#[test]
fn waits_of_some_states() -> Result<()> {
    let daemon = daemon()?;
    let waits = FixtureProcess::start(&["waits", "--seconds", "60"])?;
    let path = format!(
        "/api/v1/flamegraph?type=offcpu&state=lock,pipe&pid={}&duration=3s&format=json",
        waits.pid()
    );
    let folded = Folded::of_json(&daemon.get(&path)?)?;
    let is_asked = |detail: Option<&str>| matches!(detail, Some("blocked.lock" | "blocked.pipe"));
    assert_eq!(folded.count(|stack| is_asked(detail_of(stack))), folded.kept(), "{folded:?}");
    assert!(folded.count(|stack| stack.has("wait_thirty")) > 0);
    assert!(folded.count(|stack| stack.has("wait_ten")) > 0);
    Ok(())
}
