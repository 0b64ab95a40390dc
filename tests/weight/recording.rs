//! A workload at a gate, and a recording around what it does.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use cgscope_tests::bpf::owned_link_ids;
use cgscope_tests::{Container, ContainerOptions, Daemon, Folded, Stack, scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;

/// Most programs are attached within milliseconds of the first; what began before is refused by its own clock.
const BEFORE: Duration = Duration::from_millis(1200);

/// A container with `weights` at a gate.
pub struct Worker {
    pub container: Container,
    gate: TempDir,
}

/// What was recorded, and what the workload says of itself.
pub struct Recorded {
    pub folded: Folded,
    pub profile: Value,
    pub truth: Value,
}

impl Worker {
    /// Starts it; it waits until the gate opens.
    pub fn start(options: ContainerOptions, name: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_of("weights", options, name, arguments)
    }

    /// The same of another fixture with a gate.
    pub fn start_of(
        fixture: &str,
        options: ContainerOptions,
        name: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let gate = TempDir::with_prefix_in("gate-", scratch_dir())?;
        let fixed = [fixture, "--seconds", "300", "--gate", "/gate/open"];
        let container =
            options.bind(gate.path(), "/gate").run(name, &[&fixed, arguments].concat())?;
        Ok(Self { container, gate })
    }

    /// Lets it begin.
    pub fn begin(&self) -> Result<()> {
        Ok(fs::write(self.gate.path().join("open"), "")?)
    }

    /// As a parameter of a recording.
    pub fn target(&self) -> String {
        format!("container={}", self.container.id())
    }
}

/// Records `kind` of `target` while `workers` do their work; the truth is that of the first.
pub fn record(
    daemon: &Daemon,
    kind: &str,
    target: &str,
    seconds: u32,
    workers: &[&Worker],
) -> Result<Recorded> {
    let path = format!("/api/v1/flamegraph?type={kind}&{target}&duration={seconds}s&format=json");
    for worker in workers {
        // Started a moment ago, it may not have been told yet.
        let known = format!("/api/v1/containers/{}", worker.container.id());
        wait_until("the container to be known", Duration::from_secs(10), || {
            Ok((daemon.answer(&known)?.status == 200).then_some(()))
        })?;
    }
    let (profile, truths) = thread::scope(|scope| {
        let before = owned_link_ids(daemon.pid())?;
        let recorder = scope.spawn(|| daemon.get(&path));
        // On a busy machine, a second or more after it was asked for.
        wait_until("the first program to be attached", PATIENCE, || {
            Ok((!owned_link_ids(daemon.pid())?.is_subset(&before)).then_some(()))
        })?;
        thread::sleep(BEFORE);
        workers.iter().try_for_each(|worker| worker.begin())?;
        let truths: Result<Vec<_>> =
            workers.iter().map(|worker| worker.container.wait_truth(PATIENCE)).collect();
        let profile = recorder.join().map_err(|_| anyhow!("the recording panicked"))??;
        Ok::<_, anyhow::Error>((profile, truths?))
    })?;
    let (start_ns, length_ns) =
        (number(&profile, "started_at_ns")?, number(&profile, "duration_ns")?);
    for truth in &truths {
        let (began_ns, ended_ns) = (number(truth, "began_ns")?, number(truth, "ended_ns")?);
        assert!(
            start_ns < began_ns && ended_ns < start_ns + length_ns,
            "the work of {} ms is not within the recording: it began {} ms after it",
            (ended_ns - began_ns) / 1_000_000,
            (began_ns as i64 - start_ns as i64) / 1_000_000
        );
    }
    let truth = truths.into_iter().next().context("a worker")?;
    let folded = Folded::of_json(&profile)?;
    let ours: Vec<_> = folded.0.iter().filter(|stack| stack.begins_in_program()).collect();
    assert!(ours.is_empty(), "{kind} begins with what records it: {ours:?}");
    Ok(Recorded { folded, profile, truth })
}

/// A number of a truth or a profile.
pub fn number(value: &Value, name: &str) -> Result<u64> {
    value[name].as_u64().with_context(|| format!("{name} in {value}"))
}

/// What the frame next to the thread's name says.
pub fn detail_of(stack: &Stack) -> Option<&str> {
    stack.frames.get(1)?.strip_prefix('[')?.strip_suffix(']')
}

/// Panics unless each stack that `is_of_event` chooses, and there is one, has a function as its innermost that begins with one of these.
#[track_caller]
pub fn assert_innermost(folded: &Folded, begins: &[&str], is_of_event: impl Fn(&Stack) -> bool) {
    let mut chosen =
        folded.0.iter().filter(|stack| !stack.is_lost() && is_of_event(stack)).peekable();
    assert!(chosen.peek().is_some(), "none of these: {folded:?}");
    for stack in chosen {
        let leaf = stack.leaf();
        let is_it = leaf.ends_with("_[k]") && begins.iter().any(|begin| leaf.starts_with(begin));
        assert!(is_it && !stack.has_program(), "not in {begins:?}: {stack:?}");
    }
}

/// The weight of a function that does its work under main.
pub fn of(folded: &Folded, function: &str) -> u64 {
    folded.count(|stack| {
        let at = stack.frames.iter().position(|frame| frame == function);
        at.is_some_and(|at| stack.frames[..at].iter().any(|frame| frame == "main"))
    })
}

/// Panics unless a number is another one, but for a share of it.
#[track_caller]
pub fn assert_close(what: &str, seen: u64, truth: u64, share: f64) {
    assert!(
        (seen as f64 - truth as f64).abs() <= share * truth as f64,
        "{what}: {seen}, in truth {truth} ({:+.2} %)",
        100.0 * (seen as f64 / truth as f64 - 1.0)
    );
}
