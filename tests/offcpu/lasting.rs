//! Waits that are longer than the recording: nothing happens, and all of the time is in the picture.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use cgscope_tests::{Container, Stack};

use crate::daemon;
use crate::recording::{by_state, record, state_of};

const SECONDS: u32 = 3;

#[test]
fn who_waits_all_the_time_is_there_with_all_of_it() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run(
        "states",
        &["states", "--states", "futex,pipe,unix,nanosleep,epoll,flock", "--seconds", "60"],
    )?;
    let target = format!("container={}", container.id());
    let folded = record(&daemon, &target, SECONDS, &[])?.folded;
    let states = by_state(&folded);
    // nanosleep, epoll, and the main thread; futex and flock.
    for (state, threads) in
        [("sleeping", 3.0), ("blocked.lock", 2.0), ("blocked.pipe", 1.0), ("blocked.network", 1.0)]
    {
        let expected = threads * f64::from(SECONDS) * 1e9;
        let seen = states.get(state).copied().unwrap_or(0) as f64;
        assert!(
            (seen - expected).abs() <= 0.01 * expected,
            "{state}: {seen} ns, not {expected}: {states:?}"
        );
    }
    // Nobody saw those stacks: the graph says so, beside what the kernel tells.
    let is_told = |stack: &Stack| {
        stack.has("[truncated: waits since before]")
            && stack.frames.iter().any(|frame| frame.ends_with("_[k]"))
    };
    let untold = folded.count(|stack| stack.frames[0] != "states" && !is_told(stack));
    assert_eq!(untold, 0, "{folded:?}");
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

/// A wait that began in the recording and lasts beyond it has its stack.
#[test]
fn who_begins_to_wait_is_there_with_the_stack() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--seconds", "60"])?;
    let target = format!("container={}", container.id());
    let (recorded, stopped_at) = std::thread::scope(|scope| {
        let recorder = scope.spawn(|| record(&daemon, &target, 4, &[]));
        std::thread::sleep(std::time::Duration::from_millis(2500));
        // Stopped, it waits until the end: in no system call of its own, for a signal.
        let pid = container.host_pid()? as i32;
        // SAFETY: plain integers; the container lives.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
        let stopped_at = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let outcome = recorder.join().map_err(|_| anyhow::anyhow!("the recording panicked"))?;
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGCONT) };
        Ok::<_, anyhow::Error>((outcome?, stopped_at))
    })?;
    let folded = &recorded.folded;
    let left_ns = (recorded.start_ns + recorded.length_ns) as f64 - stopped_at.as_nanos() as f64;
    // Two threads, stopped to the end.
    let stopped = folded.count(|stack| state_of(stack) == Some("blocked.other")) as f64;
    assert!(
        left_ns > 0.0 && (stopped - 2.0 * left_ns).abs() <= 0.05 * 2.0 * left_ns,
        "{stopped} ns stopped, not two threads for {left_ns}: {folded:?}"
    );
    let with_stack = folded.count(|stack| {
        state_of(stack) == Some("blocked.other") && (stack.has("main") || stack.has("helper"))
    });
    assert!(with_stack as f64 >= 0.99 * stopped, "{with_stack} of {stopped} ns with a stack");
    Ok(())
}
