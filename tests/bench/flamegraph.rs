//! How long a flame graph takes: the last ten seconds as they were kept, a recording beyond its own length, an hour of the past.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope::metric::WallTimeNs;
use cgscope::profile::{Kept, ProfileKind};
use cgscope::store::profiles::{Archive, ArchiveOptions};
use cgscope_tests::{Daemon, scratch_dir, wait_until};
use tempfile::TempDir;

use crate::crowd::Crowd;

const CONTAINERS: usize = 40;
/// Windows of ten seconds that are kept before the first question.
const WINDOWS: u64 = 3;
const WINDOW_MS: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;
/// A question is asked so often; the first time is cold.
const TIMES: usize = 9;
/// Programs that have names to be found, each busy with something else.
const BUSY: [(&str, &[&str]); 3] = [
    ("perl", &["-e", "$h{$_ % 999} .= sprintf '%d', $_ and %h = () for 0 .. 1e15"]),
    ("openssl", &["speed", "-seconds", "3600", "sha256"]),
    ("sh", &["-c", "while :; do xz -9 < /usr/bin/perl > /dev/null; done"]),
];

/// Measures and prints.
pub fn bench() -> Result<()> {
    let directory = TempDir::with_prefix_in("bench-", scratch_dir())?;
    let (lived, past) = (directory.path().join("lived"), directory.path().join("past"));
    let crowd = Crowd::start(CONTAINERS)?;
    println!("{CONTAINERS} containers, {} CPUs busy", available_parallelism()?);
    {
        let _busy = Busy::start()?;
        let daemon = Daemon::start(&["--history-dir", text(&lived)?, "--keep-profiles=19"])?;
        sleep(Duration::from_millis((WINDOWS + 1) * WINDOW_MS));
        let recent = "/api/v1/flamegraph?start=-10s&duration=10s&format=svg";
        print("the last 10 s, as they were kept", &ask(&daemon, recent, 0)?, 300);
        let recorded = "/api/v1/flamegraph?duration=10s&format=svg";
        print("a recording of 10 s, beyond its length", &ask(&daemon, recorded, WINDOW_MS)?, 300);
    }
    let windows = an_hour_of(&lived, &past)?;
    let daemon = Daemon::start(&["--history-dir", text(&past)?, "--keep-profiles=19"])?;
    let path =
        format!("/api/v1/flamegraph?container={}&start=-55m&duration=55m&format=svg", crowd.one());
    wait_until("the container", Duration::from_secs(10), || {
        Ok((daemon.answer(&path)?.status == 200).then_some(()))
    })?;
    drop(daemon);
    let daemon = Daemon::start(&["--history-dir", text(&past)?, "--keep-profiles=19"])?;
    println!("an hour of {windows} windows");
    let whole = "/api/v1/flamegraph?start=-1h&duration=1h&format=svg";
    print("an hour of one container", &ask(&daemon, &path, 0)?, 300);
    print("an hour of the host", &ask(&daemon, whole, 0)?, 300);
    Ok(())
}

/// How long each asking took beyond `length_ms`, ms.
fn ask(daemon: &Daemon, path: &str, length_ms: u64) -> Result<Vec<f64>> {
    (0..if length_ms == 0 { TIMES } else { 3 })
        .map(|_| {
            let begun = Instant::now();
            let answer = daemon.answer(path)?;
            let took_ms = begun.elapsed().as_secs_f64() * 1e3;
            ensure!(
                answer.status == 200 && answer.body.contains("<svg"),
                "{path}: {}",
                answer.body
            );
            Ok(took_ms - length_ms as f64)
        })
        .collect()
}

fn print(what: &str, took_ms: &[f64], goal_ms: u64) {
    let mut warm = took_ms[1..].to_vec();
    warm.sort_by(f64::total_cmp);
    println!(
        "{what:<42} cold {:>7.1} ms, then {:>7.1} ms (goal {goal_ms})",
        took_ms[0],
        warm[warm.len() / 2]
    );
}

/// Fills an archive with an hour of what was kept, over and over. How many windows that is.
fn an_hour_of(lived: &Path, past: &Path) -> Result<u64> {
    let open = |history: &Path| {
        Archive::new(ArchiveOptions {
            directory: history.join("profiles"),
            max_bytes: ArchiveOptions::DEFAULT_MAX_BYTES,
            keep: ArchiveOptions::DEFAULT_KEEP,
        })
    };
    let kept = open(lived).kept_windows(ProfileKind::OnCpu, &(0..u64::MAX))?;
    let whole =
        |kept: &&Kept| kept.windows.iter().any(|w| u64::from(w.duration_ms) >= WINDOW_MS / 2);
    let kept: Vec<&Kept> = kept.iter().filter(whole).collect();
    ensure!(!kept.is_empty(), "no window was kept");
    let archive = open(past);
    let now_ms = WallTimeNs::now().0 / 1_000_000;
    let count = HOUR_MS / WINDOW_MS;
    for number in 0..count {
        let mut window = kept[number as usize % kept.len()].clone();
        for of_it in &mut window.windows {
            of_it.started_ms = now_ms - HOUR_MS + number * WINDOW_MS;
        }
        archive.record(ProfileKind::OnCpu, window);
    }
    ensure!(archive.trouble().is_none(), "{:?}", archive.trouble());
    Ok(count)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Programs that run until it is dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Result<Self> {
        let mut busy = Self(vec![]);
        for (program, arguments) in BUSY {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.stderr(Stdio::null()).spawn();
            busy.0.push(child.with_context(|| format!("apt install {program}"))?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // What the shell runs ends by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
