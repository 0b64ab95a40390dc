//! The kernel's own event trace of one process: what eBPF programs say of the same tracepoints has to agree with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{run_checked, scratch_dir};
use tempfile::TempDir;

/// Enough for some hundred thousand events of each CPU.
const BUFFER_KIB: &str = "16384";

/// A trace of our own, with its own mount: other users of the trace are not disturbed.
pub struct Trace {
    mount: TempDir,
    instance: PathBuf,
}

/// Pairs of a beginning and an end.
#[derive(Debug, Default, PartialEq)]
pub struct Pairs {
    /// How many.
    pub count: u64,
    /// From beginnings to ends, s.
    pub seconds: f64,
    /// The sum of `nr_reclaimed` of the ends.
    pub reclaimed: u64,
}

impl Trace {
    /// Begins to trace `events` (`group/name`) of a process.
    pub fn start(pid: u32, events: &[&str]) -> Result<Self> {
        let mount = TempDir::with_prefix_in("tracefs-", scratch_dir())?;
        run_checked(Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(mount.path()))?;
        let instance = mount.path().join(format!("instances/cgscope-test-{}", std::process::id()));
        let trace = Self { mount, instance };
        fs::create_dir(&trace.instance).context("a trace instance")?;
        trace.set("buffer_size_kb", BUFFER_KIB)?;
        trace.set("trace_clock", "mono")?;
        trace.set("set_event_pid", &pid.to_string())?;
        for event in events {
            trace.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.instance.join(name);
        fs::write(&path, value).with_context(|| path.display().to_string())
    }

    /// What there was so far of a pair of events, `NAME_begin` and `NAME_end`.
    pub fn pairs(&self, name: &str) -> Result<Pairs> {
        let text = fs::read_to_string(self.instance.join("trace"))?;
        let head = text.lines().find(|line| line.contains("entries-in-buffer/entries-written"));
        let counts = head.and_then(|line| line.split_whitespace().nth(2)).context("a head")?;
        let (kept, written) = counts.split_once('/').context("two numbers")?;
        ensure!(kept == written, "the trace lost events: {counts}");
        let (begin, end) = (format!(" {name}_begin: "), format!(" {name}_end: "));
        let mut pairs = Pairs::default();
        let mut began = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.contains(&begin) {
                began = Some(instant(line)?);
            } else if line.contains(&end) {
                let began = began.take().with_context(|| format!("an end alone: {line}"))?;
                pairs.count += 1;
                pairs.seconds += instant(line)? - began;
                let reclaimed = line.split("nr_reclaimed=").nth(1);
                pairs.reclaimed += reclaimed.map_or(Ok(0), |number| number.trim().parse())?;
            }
        }
        Ok(pairs)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        remove(&self.instance, self.mount.path());
    }
}

fn remove(instance: &Path, mount: &Path) {
    if let Err(error) = fs::remove_dir(instance) {
        eprintln!("{} left behind: {error}", instance.display());
    }
    if let Err(error) = run_checked(Command::new("umount").arg(mount)) {
        eprintln!("{} left mounted: {error:#}", mount.display());
    }
}

/// `   memory_user-123     [000] ..... 12345.678901: name: ...`, s.
fn instant(line: &str) -> Result<f64> {
    let word = line.split_whitespace().find(|word| word.ends_with(':') && word.contains('.'));
    let word = word.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let text = word.with_context(|| line.to_owned())?.trim_end_matches(':');
    Ok(text.parse()?)
}
