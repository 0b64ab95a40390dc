//! Three functions that wait some 60, 30 and 10 % of the time, each in a state of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{
    Container, ContainerOptions, Folded, Stack, run_captured, scratch_dir, workspace_root,
};
use serde_json::Value;

use crate::daemon;
use crate::recording::{Recorded, assert_total, by_state, record, state_of, waited_ns};

const SECONDS: u32 = 8;
/// Each function, and the state it waits in.
const WAITS: [(&str, &str); 3] =
    [("wait_sixty", "sleeping"), ("wait_thirty", "blocked.lock"), ("wait_ten", "blocked.pipe")];

/// Shares, states, callers and the total of the thread `waits`. `truth` is its own account, over little more than the recording.
fn assert_right(recorded: &Recorded, truth: &Value) -> Result<()> {
    let of_thread = |stack: &&Stack| stack.frames[0] == "waits";
    let stacks = Folded(recorded.folded.0.iter().filter(of_thread).cloned().collect());
    assert_total(stacks.kept(), recorded, 0.01);
    let all = stacks.kept() as f64;
    let mut in_all_ns = 0.0;
    for (function, _) in WAITS {
        in_all_ns += waited_ns(truth, function)?;
    }
    for (function, state) in WAITS {
        let of = stacks.count(|stack| stack.has(function)) as f64;
        let (seen, share) = (100.0 * of / all, 100.0 * waited_ns(truth, function)? / in_all_ns);
        assert!((seen - share).abs() <= 2.0, "{function}: {seen:.2} % of the time, not {share:.2}");
        let in_state = stacks.count(|s| s.has(function) && state_of(s) == Some(state)) as f64;
        assert!(in_state >= 0.999 * of, "{function} is {state} for {in_state} of {of} ns");
        let called = stacks.count(|stack| {
            let at = stack.frames.iter().position(|frame| frame == function);
            at.is_some_and(|at| stack.frames[at - 1].starts_with("wait_by_shares"))
                && stack.has("main")
        });
        assert!(called as f64 >= 0.99 * of, "{function} under main for {called} of {of} ns");
        let in_kernel = stacks.count(|stack| stack.has(function) && stack.leaf().ends_with("_[k]"));
        assert!(in_kernel as f64 >= 0.99 * of, "{function} in the kernel for {in_kernel} of {of}");
    }
    assert_eq!(recorded.folded.lost(), 0, "lost");
    Ok(())
}

#[test]
fn a_container_with_frame_pointers() -> Result<()> {
    let daemon = daemon()?;
    let _bystander =
        Container::run("states", &["states", "--states", "futex,nanosleep", "--seconds", "60"])?;
    let container = Container::run("waits", &["waits", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let target = format!("container={}", container.id());
    let recorded = record(&daemon, &target, SECONDS, &[(pid, pid)])?;
    assert_right(&recorded, &container.stop()?)?;
    let is_stranger = |s: &Stack| !["waits", "helper"].contains(&&*s.frames[0]);
    let strangers: Vec<_> = recorded.folded.0.iter().filter(|stack| is_stranger(stack)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}

#[test]
fn a_container_without_frame_pointers() -> Result<()> {
    let daemon = daemon()?;
    let directory = tempfile::tempdir_in(scratch_dir())?;
    compile(directory.path(), &["-static"])?;
    let container = ContainerOptions::new()
        .bind(directory.path(), "/bare")
        .run("bare", &["/bare/waits", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let target = format!("container={}", container.id());
    let recorded = record(&daemon, &target, SECONDS, &[(pid, pid)])?;
    assert_right(&recorded, &container.stop()?)
}

/// On the host, with the C library as a library: its functions have no frame pointers either.
#[test]
fn a_process_without_frame_pointers() -> Result<()> {
    let daemon = daemon()?;
    let directory = tempfile::tempdir()?;
    let path = compile(directory.path(), &["-pie"])?;
    let mut child = Command::new(path)
        .args(["--seconds", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .context("waits")?;
    sleep(Duration::from_millis(200));
    let pid = child.id();
    let recorded = record(&daemon, &format!("pid={pid}"), SECONDS, &[(pid, pid)]);
    // SAFETY: plain integers; the child is ours and not yet reaped.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
    let mut lines = String::new();
    child.stdout.take().context("its output")?.read_to_string(&mut lines)?;
    child.wait()?;
    let truth = lines.lines().last().context("no truth")?;
    assert_right(&recorded?, &serde_json::from_str(truth)?)
}

/// What the recording says of each state is what the counters of states say of the same container.
#[test]
fn states_weigh_what_their_counters_count() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--seconds", "60"])?;
    let target = format!("container={}", container.id());
    let (before, before_at) = daemon.next_tick()?;
    let folded = record(&daemon, &target, SECONDS, &[])?.folded;
    let (after, after_at) = daemon.next_tick()?;
    let wall_s = (after_at - before_at).as_secs_f64();
    let states = by_state(&folded);
    for state in ["sleeping", "blocked.lock", "blocked.pipe"] {
        let rise =
            after.of(container.id()).state_ns(state) - before.of(container.id()).state_ns(state);
        let expected = rise / wall_s * f64::from(SECONDS);
        let seen = states.get(state).copied().unwrap_or(0) as f64;
        assert!(
            (seen - expected).abs() <= 0.01 * f64::from(SECONDS) * 1e9,
            "{state}: {seen} ns in stacks, {expected:.0} by its counter: {states:?}"
        );
    }
    Ok(())
}

/// The fixture as distributions build programs.
fn compile(directory: &Path, flags: &[&str]) -> Result<PathBuf> {
    let path = directory.join("waits");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu17", "-O2", "-g1", "-pthread", "-fomit-frame-pointer"]).args(flags);
    gcc.arg("-o").arg(&path).arg(workspace_root().join("tests/fixtures/waits.c"));
    let compiled = run_captured(&mut gcc)?;
    ensure!(compiled.success(), "gcc: {}", compiled.stderr);
    Ok(path)
}
