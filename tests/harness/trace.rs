//! The kernel's own event trace of some threads: what eBPF programs say of the same tracepoints has to agree with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::run_checked;
use crate::paths::scratch_dir;

/// Enough for some hundred thousand events of each CPU.
const BUFFER_KIB: &str = "16384";

/// A trace of our own, with its own mount: other users of the trace are not disturbed.
pub struct Trace {
    mount: TempDir,
    instance: PathBuf,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEvent {
    /// When, s of `CLOCK_MONOTONIC`, to the microsecond.
    pub at_s: f64,
    /// Its name without its group.
    pub name: String,
    /// `name=value` by blanks, as the kernel prints it.
    pub fields: String,
    /// The thread.
    pub tid: u32,
}

impl TraceEvent {
    /// A number among its fields.
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut fields = self.fields.split_whitespace();
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
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
    /// Begins to trace `events` (`group/name`) of threads.
    ///
    /// # Errors
    /// When tracefs cannot be mounted or lacks such an event.
    pub fn start(tids: &[u32], events: &[&str]) -> Result<Self> {
        Self::begin(tids, events, false)
    }

    /// The same, with the threads and processes that they make from now on.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_children(tids: &[u32], events: &[&str]) -> Result<Self> {
        Self::begin(tids, events, true)
    }

    fn begin(tids: &[u32], events: &[&str], is_with_children: bool) -> Result<Self> {
        let mount = TempDir::with_prefix_in("tracefs-", scratch_dir())?;
        run_checked(Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(mount.path()))?;
        let instance = mount.path().join(format!("instances/cgscope-test-{}", std::process::id()));
        let trace = Self { mount, instance };
        fs::create_dir(&trace.instance).context("a trace instance")?;
        trace.set("buffer_size_kb", BUFFER_KIB)?;
        trace.set("trace_clock", "mono")?;
        let tids: Vec<String> = tids.iter().map(u32::to_string).collect();
        trace.set("options/event-fork", if is_with_children { "1" } else { "0" })?;
        trace.set("set_event_pid", &tids.join(" "))?;
        for event in events {
            trace.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.instance.join(name);
        fs::write(&path, value).with_context(|| path.display().to_string())
    }

    /// What there was so far. Those of one thread are in their order.
    ///
    /// # Errors
    /// When events were lost.
    pub fn events(&self) -> Result<Vec<TraceEvent>> {
        let text = fs::read_to_string(self.instance.join("trace"))?;
        let head = text.lines().find(|line| line.contains("entries-in-buffer/entries-written"));
        let counts = head.and_then(|line| line.split_whitespace().nth(2)).context("a head")?;
        let (kept, written) = counts.split_once('/').context("two numbers")?;
        ensure!(kept == written, "the trace lost events: {counts}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| event(line).with_context(|| line.to_owned())).collect()
    }

    /// What there was so far of a pair of events, `NAME_begin` and `NAME_end`.
    ///
    /// # Errors
    /// When events were lost, or an end has no beginning.
    pub fn pairs(&self, name: &str) -> Result<Pairs> {
        let (begin, end) = (format!("{name}_begin"), format!("{name}_end"));
        let mut pairs = Pairs::default();
        let mut began_s = None;
        for event in self.events()? {
            if event.name == begin {
                began_s = Some(event.at_s);
            } else if event.name == end {
                let began_s = began_s.take().with_context(|| format!("an end alone: {event:?}"))?;
                pairs.count += 1;
                pairs.seconds += event.at_s - began_s;
                pairs.reclaimed += event.number("nr_reclaimed").unwrap_or(0);
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

/// `   memory_user-123     [000] ..... 12345.678901: name: field=value ...`.
fn event(line: &str) -> Option<TraceEvent> {
    let is_instant = |word: &&str| {
        word.ends_with(':') && word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit())
    };
    let instant = line.split_whitespace().find(is_instant)?;
    let (head, rest) = line.split_once(instant)?;
    let (thread, _) = head.split_once('[')?;
    let (_, tid) = thread.trim_end().rsplit_once('-')?;
    let (name, fields) = rest.trim_start().split_once(':')?;
    Some(TraceEvent {
        at_s: instant.trim_end_matches(':').parse().ok()?,
        name: name.to_owned(),
        fields: fields.trim().to_owned(),
        tid: tid.parse().ok()?,
    })
}
