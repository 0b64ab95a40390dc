//! Processes that come and go while a recording runs: their first samples count as well.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use cgscope_tests::{Daemon, Folded, Stack, wait_until};

use crate::daemon;
use crate::program::Program;
use crate::stacks::{doubts, is_doubt};

/// Programs that take turns of 50 ms: a stack is right, or says what it lacks.
fn expect_turns(mode: &str) -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("turns", &[])?;
    let path = program.path.to_str().expect("a path of ours");
    let _running = program.run(&[mode, path])?;
    let folded = record_host(&daemon, "turns")?;
    let is_right = |stack: &Stack, of: &str| {
        let chain = ["main".to_owned(), format!("{of}_work"), format!("{of}_leaf")];
        stack.frames.windows(3).any(|frames| frames == chain)
    };
    let of = |function| folded.count(|stack| is_right(stack, function));
    let (odd, even) = (of("odd"), of("even"));
    let is_at_work = |stack: &Stack| stack.has("odd_leaf") || stack.has("even_leaf");
    let is_unknown = |stack: &Stack| stack.frames.iter().any(|f| f.starts_with("[unknown"));
    let all = folded.count(|stack| is_at_work(stack) || is_unknown(stack));
    eprintln!("{mode}: {odd} odd, {even} even of {all}, {:?}", doubts(&folded));
    ensure!(all > 200, "{all} samples of a program that never sleeps");
    // How many are known in time depends on how busy the machine is; which of them are wrong does not.
    ensure!(odd * 4 >= all && even * 4 >= all, "{odd} and {even} of {all}: {folded:?}");
    let is_wrong = |stack: &Stack| {
        let is_doubtful = stack.frames.iter().any(|frame| is_doubt(frame));
        is_at_work(stack) && !is_doubtful && !is_right(stack, "odd") && !is_right(stack, "even")
    };
    let wrong: Vec<_> = folded.0.iter().filter(|stack| is_wrong(stack)).collect();
    ensure!(wrong.is_empty(), "impossible callers: {wrong:?}");
    let mixed = folded.count(|stack| {
        let has = |of: &str| stack.frames.iter().any(|frame| frame.starts_with(of));
        has("odd_") && has("even_")
    });
    ensure!(mixed == 0, "{mixed} stacks of two programs at once");
    Ok(())
}

/// The tables and names of the program before do not serve the one after it.
#[test]
fn a_program_that_is_replaced_is_known_anew() -> Result<()> {
    expect_turns("exec")
}

/// Neither do those of a process that had the same number.
#[test]
fn a_number_that_is_used_again_is_another_process() -> Result<()> {
    expect_turns("reuse")
}

/// The whole host, since children have ids of their own; only threads of that name.
fn record_host(daemon: &Daemon, comm: &str) -> Result<Folded> {
    let path = "/api/v1/flamegraph?duration=5s&frequency=499&format=folded";
    let mut folded = Folded::parse(&daemon.text(path)?)?;
    folded.0.retain(|stack| stack.frames.first().is_some_and(|frame| frame == comm));
    Ok(folded)
}

fn expect_named(name: &str, folded: &Folded, per_cent: u64) -> Result<()> {
    let all = folded.count(|stack| stack.has("child_leaf") || stack.leaf().starts_with("[unknown"));
    let whole = folded.count(|stack| {
        let at = stack.frames.iter().position(|frame| frame == "child_work");
        at.is_some_and(|at| {
            stack.frames[at - 1] == "main"
                && stack.frames.get(at + 1).is_some_and(|f| f == "child_leaf")
        })
    });
    eprintln!("{name}: {whole} of {all} named and whole, {:?}", doubts(folded));
    ensure!(all > 100, "{all} samples of children");
    ensure!(whole * 100 >= all * per_cent, "{name}: {whole} of {all}: {folded:?}");
    Ok(())
}

/// A child has the mappings of its parent from its first moment on.
#[test]
fn forks_are_known_at_once() -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("forks", &[])?;
    let _running = program.run(&[])?;
    expect_named("fork", &record_host(&daemon, "forks")?, 95)
}

/// A program of 50 ms is known before most of its samples.
#[test]
fn short_programs_are_named() -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("forks", &[])?;
    let path = program.path.to_str().expect("a path of ours");
    let _running = program.run(&[path])?;
    expect_named("exec", &record_host(&daemon, "forks")?, 90)
}

/// Removes a file when it goes.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a program has mapped since an earlier recording is named although it ends within this one, also code that it names as it ends.
#[test]
fn code_that_came_late_is_named_beyond_its_program() -> Result<()> {
    let daemon = daemon()?;
    let (program, library) =
        (Program::compile("late", &[])?, Program::compile("late_library", &["-shared", "-fPIC"])?);
    let directory = tempfile::tempdir()?;
    let gate = directory.path().join("gate");
    let texts = [&gate, &library.path].map(|path| path.to_str().expect("a path of ours"));
    let running = program.run(&texts)?;
    let pid = running.pid();
    let _perf_map = Removed(format!("/tmp/perf-{pid}.map"));
    let record = |seconds: u32| -> Result<Folded> {
        let path =
            format!("/api/v1/flamegraph?pid={pid}&duration={seconds}s&frequency=499&format=folded");
        Folded::parse(&daemon.text(&path)?)
    };
    let first = record(1)?;
    ensure!(first.count(|stack| stack.has("early")) > 100, "{first:?}");
    fs::write(&gate, "")?;
    wait_until("the library to be mapped", Duration::from_secs(10), || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(maps.contains("late_library").then_some(()))
    })?;
    let second = record(12)?;
    let is_gone =
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z "));
    ensure!(is_gone, "it ends within the recording");
    let of_library = second.count(|stack| stack.has("late_leaf") && stack.has("late_work"));
    let made = second.count(|stack| stack.leaf() == "made_late_[j]");
    let unknown: Vec<_> = second
        .0
        .iter()
        .filter(|stack| stack.frames.iter().any(|frame| frame.starts_with("[unknown")))
        .collect();
    eprintln!("{of_library} samples in the library, {made} in its own code, of {}", second.kept());
    ensure!(of_library > 300 && made > 200, "{second:?}");
    let nameless: u64 = unknown.iter().map(|stack| stack.count).sum();
    ensure!(nameless * 50 <= second.kept(), "{nameless} nameless: {unknown:?}");
    Ok(())
}
