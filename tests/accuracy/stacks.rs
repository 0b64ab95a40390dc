//! Whose stacks they are, with the right names, in the right proportions, and none missing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use cgscope_tests::{Container, Daemon, Folded, truth};
use serde_json::json;

use crate::cpu::usage_ns;
use crate::daemon;

const FREQUENCY_HZ: f64 = 499.0;

fn record(daemon: &Daemon, container: &Container, seconds: u32) -> Result<Folded> {
    let path = format!(
        "/api/v1/flamegraph?container={}&duration={seconds}s&frequency={FREQUENCY_HZ}&format=folded",
        container.id()
    );
    Folded::parse(&daemon.text(&path)?)
}

#[test]
fn shares_names_and_callers_are_right() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("shares", &["shares", "--seconds", "60"])?;
    let folded = record(&daemon, &container, 8)?;
    let all = folded.kept() as f64;
    for (function, share) in [("hot_sixty", 60.0), ("hot_thirty", 30.0), ("hot_ten", 10.0)] {
        let seen = 100.0 * folded.count(|stack| stack.has(function)) as f64 / all;
        assert!(
            (seen - share).abs() <= 2.0,
            "{function}: {seen:.2} % of {all} samples, not {share}"
        );
        let called = folded.count(|stack| {
            stack.frames.windows(2).any(|pair| pair[0] == "main" && pair[1] == function)
        });
        let of = folded.count(|stack| stack.has(function));
        assert!(called as f64 >= 0.99 * of as f64, "{function} under main in {called} of {of}");
    }
    let named = folded.count(|stack| stack.frames.first().is_some_and(|comm| comm == "shares"));
    assert_eq!(named as f64, all, "samples under the thread's name");
    Ok(())
}

/// As many samples as the container had CPU time for, in the window that the recording says it had. While the machine's CPUs are taken
/// away by what it runs on, there are no timers; whether the kernel's account has that time depends on the kernel.
#[test]
fn samples_are_as_many_as_the_time_gives() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    let path = format!(
        "/api/v1/flamegraph?container={}&duration=8s&frequency={FREQUENCY_HZ}&format=json",
        container.id()
    );
    let is_done = AtomicBool::new(false);
    let stolen_before = truth::cpu_times(None)?.steal;
    let (usage, profile) = thread::scope(|scope| {
        let watcher = scope.spawn(|| usage_over_time(&container, &is_done));
        let profile = daemon.get(&path);
        is_done.store(true, Ordering::Relaxed);
        let usage = watcher.join().map_err(|_| anyhow!("reading the usage panicked"))?;
        Ok::<_, anyhow::Error>((usage?, profile?))
    })?;
    // Ticks of 1/100 s.
    let stolen_ns = (truth::cpu_times(None)?.steal - stolen_before) as f64 * 1e7;
    let number = |name: &str| profile[name].as_u64().with_context(|| name.to_owned());
    let (start_ns, length_ns) = (number("started_at_ns")?, number("duration_ns")?);
    let used_ns = usage_at(&usage, start_ns + length_ns)? - usage_at(&usage, start_ns)?;
    let expected = FREQUENCY_HZ * used_ns * 1e-9;
    let seen = number("total")? as f64;
    assert!(
        (seen - expected).abs() <= 0.03 * expected + FREQUENCY_HZ * stolen_ns * 1e-9,
        "{seen} samples for {used_ns:.0} ns of CPU time at {FREQUENCY_HZ} Hz: expected {expected:.0}; {stolen_ns:.0} ns may be stolen"
    );
    assert_eq!(profile["lost"], json!({}), "samples lost with a ring of its usual size");
    Ok(())
}

/// Wall time, ns since the epoch, and CPU time of a container, ns.
type Reading = (u64, u64);

fn usage_over_time(container: &Container, is_done: &AtomicBool) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    while !is_done.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        readings.push((now.as_nanos() as u64, usage_ns(container)?));
        thread::sleep(Duration::from_millis(10));
    }
    Ok(readings)
}

/// What had been used at an instant, on the line between the readings around it.
fn usage_at(readings: &[Reading], at_ns: u64) -> Result<f64> {
    let around = readings.windows(2).find(|pair| (pair[0].0..=pair[1].0).contains(&at_ns));
    let &[(from, used), (to, used_then)] = around.context("outside of all readings")? else {
        anyhow::bail!("a window of two is two");
    };
    let share = (at_ns - from) as f64 / (to - from) as f64;
    Ok(used as f64 + share * (used_then - used) as f64)
}

#[test]
fn kernel_frames_are_above_their_caller_in_the_right_container() -> Result<()> {
    let daemon = daemon()?;
    // Reads alone: what its short calls cost is the way in and out, which differs from one machine to the next.
    let only_reads = ["syscall_heavy", "--getppid", "0", "--failing", "0", "--seconds", "60"];
    let calls = Container::run("calls", &only_reads)?;
    let shares = Container::run("shares", &["shares", "--seconds", "60"])?;
    let (of_calls, of_shares) = thread::scope(|scope| {
        let one = scope.spawn(|| record(&daemon, &calls, 6));
        let other = scope.spawn(|| record(&daemon, &shares, 6));
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Folded>>| {
            thread.join().map_err(|_| anyhow!("a recording panicked"))?
        };
        Ok::<_, anyhow::Error>((join(one)?, join(other)?))
    })?;
    let is_kernel = |frame: &str| frame.ends_with("_[k]");
    let all = of_calls.kept();
    let in_kernel = of_calls.count(|stack| is_kernel(stack.leaf()));
    assert!(all > 100, "{all} samples of a thread that never sleeps");
    assert!(
        2 * in_kernel > all,
        "{in_kernel} of {all} samples in the kernel of one that lives there"
    );
    let reads =
        of_calls.count(|stack| stack.has("__x64_sys_read_[k]") || stack.has("ksys_read_[k]"));
    assert!(2 * reads > in_kernel, "{reads} of {in_kernel} kernel samples are of read(2)");
    // The C library's own system calls have no frame of theirs, which hides their caller; this one has.
    let of_read = of_calls.count(|stack| stack.has("ksys_read_[k]"));
    let with_caller = of_calls.count(|stack| {
        let at = stack.frames.iter().position(|frame| frame == "read_zero");
        at.is_some_and(|at| {
            stack.frames[at - 1] == "main"
                && stack.frames[at..].iter().any(|f| f == "ksys_read_[k]")
        })
    });
    assert!(
        100 * with_caller >= 99 * of_read,
        "main calls read_zero in {with_caller} of {of_read} samples in read(2)"
    );
    // User frames first, then the kernel's, in every stack.
    let mixed = of_calls.count(|stack| {
        let first = stack.frames.iter().position(|frame| is_kernel(frame));
        first.is_some_and(|at| !stack.frames[at..].iter().all(|frame| is_kernel(frame)))
    });
    assert_eq!(mixed, 0, "stacks with a user frame above a kernel frame");

    let stray = of_calls.count(|stack| stack.frames.iter().any(|f| f.starts_with("hot_")));
    assert_eq!(stray, 0, "frames of the other container");
    let comm = of_shares.count(|stack| stack.frames.first().is_none_or(|comm| comm != "shares"));
    assert_eq!(comm, 0, "threads of the other container");
    Ok(())
}

/// A recording of a process holds no other, and together they are the container's.
#[test]
fn a_process_is_recorded_alone() -> Result<()> {
    let daemon = daemon()?;
    let burner = Container::run("burn", &["burn", "--seconds", "60"])?;
    let _shares = Container::run("shares", &["shares", "--seconds", "60"])?;
    let pid = burner.host_pid()?;
    let path = format!("/api/v1/flamegraph?pid={pid}&duration=3s&frequency=499&format=folded");
    let folded = Folded::parse(&daemon.text(&path)?)?;
    let all = folded.kept();
    assert!(all > 100, "{all} samples of a burner");
    let own = folded.count(|stack| stack.frames.first().is_some_and(|comm| comm == "burn"));
    assert_eq!(own, all, "samples of the process asked for");
    let named = folded.count(|stack| stack.has("burn_here"));
    assert!(named as f64 > 0.98 * all as f64, "{named} of {all} samples in burn_here");
    folded.0.first().context("no stack")?;
    Ok(())
}
