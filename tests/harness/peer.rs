//! The peers' tools (Debian's libbpf-tools) run as they are, and their histograms read.
//!
//! Mind when comparing: `runqlat -c CGROUP` keeps the wakeups whose *waker* is in the cgroup, so it is no truth for a
//! container that others wake. By process (`-p`) it is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::bpf::owned_program_ids;
use crate::command::{run_checked, wait_until};
use crate::paths::scratch_dir;

/// A histogram as libbpf-tools print it: powers of two, both bounds included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHistogram {
    /// Nanoseconds in one unit of the bounds.
    pub unit_ns: u64,
    /// `(lowest, highest, count)` in rising order.
    pub buckets: Vec<(u64, u64, u64)>,
}

impl PeerHistogram {
    /// How many values it counted.
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|&(_, _, count)| count).sum()
    }

    /// The bounds, in nanoseconds, of the bucket that holds quantile `q` (0 to 1); `None` when it is empty. The upper
    /// bound is exclusive.
    pub fn quantile_bounds_ns(&self, q: f64) -> Option<(u64, u64)> {
        let rank = ((self.total() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|&(low, high, count)| {
            seen += count;
            (seen >= rank).then(|| (low * self.unit_ns, (high + 1) * self.unit_ns))
        })
    }
}

/// Reads every histogram in a tool's output.
///
/// # Errors
/// When a bucket's line is not `low -> high : count`.
pub fn parse_histograms(output: &str) -> Result<Vec<PeerHistogram>> {
    let mut histograms = Vec::new();
    for line in output.lines().map(str::trim) {
        let Some((left, right)) = line.split_once(':') else { continue };
        if let Some(unit_ns) = unit_ns(left.trim()) {
            histograms.push(PeerHistogram { unit_ns, buckets: Vec::new() });
        } else if let Some((low, high)) = left.split_once("->") {
            let bucket = || {
                let count = right.split_whitespace().next()?;
                Some((low.trim().parse().ok()?, high.trim().parse().ok()?, count.parse().ok()?))
            };
            let histogram = histograms.last_mut().context("a bucket before any head line")?;
            histogram.buckets.push(bucket().with_context(|| format!("not a bucket: {line}"))?);
        }
    }
    Ok(histograms)
}

fn unit_ns(head: &str) -> Option<u64> {
    match head {
        "nsecs" => Some(1),
        "usecs" => Some(1_000),
        "msecs" => Some(1_000_000),
        _ => None,
    }
}

/// Runs `runqlat` for `seconds` on one process, in microseconds, and returns what it counted.
///
/// # Errors
/// When runqlat is missing or its output is not a histogram.
pub fn runqlat_of_process(pid: u32, seconds: u32) -> Result<PeerHistogram> {
    let output = run_checked(Command::new(tool_path("runqlat")?).args([
        "-p",
        &pid.to_string(),
        &seconds.to_string(),
        "1",
    ]))?;
    let mut histograms = parse_histograms(&output)?;
    ensure!(histograms.len() == 1, "runqlat printed {} histograms", histograms.len());
    Ok(histograms.remove(0))
}

/// Where a peer's tool is installed.
///
/// # Errors
/// When it is not, with the package that has it.
pub fn tool_path(name: &str) -> Result<PathBuf> {
    let directories = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = directories.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is in none of {directories:?}: apt install libbpf-tools linux-perf bpftool")
    })
}

/// A peer's tool, attached. Dropping it stops it.
pub struct AttachedPeer {
    child: Child,
}

impl AttachedPeer {
    /// Starts the tool and waits until its programs are loaded.
    ///
    /// # Errors
    /// When it is missing, ends at once, or has loaded nothing after 10 s.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let output = std::fs::File::create(scratch_dir().join(format!("{name}.out")))?;
        let child = Command::new(tool_path(name)?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut peer = Self { child };
        let mut loaded = 0;
        wait_until(&format!("the programs of {name}"), Duration::from_secs(10), || {
            if let Some(status) = peer.child.try_wait()? {
                bail!("{name} ended with {status}: see target/tests/{name}.out");
            }
            // Loaded one after another: wait until the number stays.
            let now = owned_program_ids(peer.pid())?.len();
            let settled = now > 0 && now == loaded;
            loaded = now;
            if !settled {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(settled.then_some(()))
        })?;
        Ok(peer)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for AttachedPeer {
    fn drop(&mut self) {
        // Killed, not asked: what it would print is not wanted, and the kernel detaches its programs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
