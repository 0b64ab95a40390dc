//! Processes, programs and libraries that come and go while the host is profiled, and what a process holds meanwhile: does it grow?
//!
//! Contract: what is remembered of the dead for a while grows at first; a slope is taken from [`SETTLING`] on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::bpf::maps_of;
use crate::paths::workspace_root;
use crate::{Daemon, run_captured};

/// What is known of a process that has ended is kept for 60 s, and what is measured each second for two minutes.
pub const SETTLING: Duration = Duration::from_secs(135);
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Heap and stacks, KiB.
    pub anonymous_kib: u64,
    /// Pages of files and of eBPF maps, KiB.
    pub file_kib: u64,
    /// eBPF maps in the kernel, KiB.
    pub maps_kib: u64,
    /// Lines of `/proc/PID/maps`.
    pub mappings: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Holding {
    /// What `pid` holds now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
                .with_context(|| format!("no {key} of {pid}"))
        };
        let mappings = fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().count() as u64;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        let maps_kib = maps_of(pid)?.iter().map(|map| map.bytes_memlock).sum::<u64>() / 1024;
        Ok(Self {
            anonymous_kib: kib("RssAnon:")?,
            file_kib: kib("RssFile:")? + kib("RssShmem:")?,
            maps_kib,
            mappings,
            descriptors,
        })
    }

    /// Each quantity with its name.
    pub fn quantities(&self) -> [(&'static str, u64); 5] {
        [
            ("anonymous KiB", self.anonymous_kib),
            ("file-backed KiB", self.file_kib),
            ("eBPF maps KiB", self.maps_kib),
            ("mappings", self.mappings),
            ("descriptors", self.descriptors),
        ]
    }
}

/// Programs that begin, execute, load, unload and end all the time. Dropping it ends them.
pub struct Churn {
    children: Vec<Child>,
    is_ending: Arc<AtomicBool>,
    copier: Option<JoinHandle<Result<()>>>,
    _directory: TempDir,
}

impl Churn {
    /// Starts it.
    ///
    /// # Errors
    /// When the programs cannot be compiled or started.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        let forks = compile(at, "forks", &[])?;
        let turns = compile(at, "turns", &[])?;
        let loader = compile(at, "loader", &["-ldl"])?;
        let plugin = compile(at, "plugin", &["-fPIC", "-shared"])?;
        let commands: [(&Path, Vec<&Path>); 5] = [
            // Some hundreds a second that live for a moment.
            (Path::new("sh"), vec![Path::new("-c"), Path::new("while :; do /bin/true; done")]),
            (&forks, vec![&forks]),
            (&turns, vec![Path::new("exec"), &turns]),
            (&turns, vec![Path::new("reuse"), &turns]),
            (&loader, vec![&plugin]),
        ];
        let children = commands.iter().map(|(program, arguments)| {
            let mut command = Command::new("nice");
            command.args(["-n", "5"]).arg(program).args(arguments);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().with_context(|| format!("cannot start {}", program.display()))
        });
        let mut churn = Self {
            children: children.collect::<Result<_>>()?,
            is_ending: Arc::default(),
            copier: None,
            _directory: directory,
        };
        let is_ending = Arc::clone(&churn.is_ending);
        churn.copier = Some(spawn(move || {
            while !is_ending.load(Ordering::Relaxed) {
                run_a_new_file(&forks)?;
            }
            Ok(())
        }));
        Ok(churn)
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        for child in &mut self.children {
            // Ended already is as good; what they started ends by itself within 50 ms.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(copier) = self.copier.take() {
            let _ = copier.join();
        }
    }
}

/// Another file each time, with another content, that is deleted while it runs.
fn run_a_new_file(program: &Path) -> Result<()> {
    let copy = program.with_extension("copy");
    fs::copy(program, &copy)?;
    let mut running = Command::new(&copy).arg("work").stdin(Stdio::null()).spawn()?;
    fs::remove_file(&copy)?;
    running.wait()?;
    Ok(())
}

fn compile(directory: &Path, name: &str, flags: &[&str]) -> Result<PathBuf> {
    let path = directory.join(name);
    let source = workspace_root().join("tests/unwind/programs").join(format!("{name}.c"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu17", "-O2", "-fomit-frame-pointer", "-o"]).arg(&path).arg(source);
    let done = run_captured(gcc.args(flags))?;
    ensure!(done.success(), "gcc: {}", done.stderr);
    Ok(path)
}

/// What the daemon held, second by second, while the whole host was profiled for `duration`.
///
/// # Errors
/// When it ends, or does not answer.
pub fn watch(
    daemon: &Daemon,
    duration: Duration,
    mut look: impl FnMut(Duration, Holding),
) -> Result<Vec<Holding>> {
    let begin = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let recording = {
        let (url, is_over) = (daemon.url(), Arc::clone(&is_over));
        spawn(move || -> Result<u64> {
            let mut recordings = 0;
            while !is_over.load(Ordering::Relaxed) {
                let path = "/api/v1/flamegraph?duration=5s&frequency=99&format=folded";
                ureq::get(format!("{url}{path}")).call()?.body_mut().read_to_string()?;
                recordings += 1;
            }
            Ok(recordings)
        })
    };
    let mut holdings = Vec::new();
    while begin.elapsed() < duration {
        let holding = Holding::of(daemon.pid())?;
        look(begin.elapsed(), holding);
        if begin.elapsed() >= SETTLING {
            holdings.push(holding);
        }
        sleep(INTERVAL);
    }
    is_over.store(true, Ordering::Relaxed);
    let recordings = recording.join().ok().context("the recording thread")??;
    ensure!(recordings > 0, "nothing was recorded");
    Ok(holdings)
}

/// The median of each quantity over the first and over the last quarter of the looks.
pub fn ends(holdings: &[Holding]) -> Vec<(&'static str, u64, u64)> {
    let quarter = (holdings.len() / 4).max(1);
    let median = |part: &[Holding], of: usize| {
        let mut values: Vec<u64> = part.iter().map(|look| look.quantities()[of].1).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let names = holdings.first().map(Holding::quantities).into_iter().flatten();
    let named = names.enumerate().map(|(of, (name, _))| {
        let last = &holdings[holdings.len() - quarter..];
        (name, median(&holdings[..quarter], of), median(last, of))
    });
    named.collect()
}
