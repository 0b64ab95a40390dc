//! The slowest requests, held against the clock of who made them.
//!
//! The disk is a loop device over a file of another one. While that is frozen, a write to the disk waits in its driver: so long as we
//! say, and no other is as slow.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::clock::wall_distance_ns;
use cgscope_tests::disk::Disk;
use cgscope_tests::{Container, ContainerOptions, Daemon, wait_until};
use serde_json::Value;

use crate::locked_file::LockedFile;
use crate::watch::Watch;
use crate::{ALONE, PATIENCE};

/// The scheduler's family besides: it sees who waits.
const WITH_WAITS: [&str; 4] = ["--disable", "process", "--disable", "profile"];

const FILE_BYTES: usize = 16 << 20;
const BLOCK_BYTES: u64 = 4096;
/// How long each write is held up.
const HOLDS: [u64; 5] = [150, 200, 250, 300, 350];
/// As slow as nothing is that was not held up.
const SLOW_NS: u64 = 100_000_000;
/// How many of each second are told.
const PER_SECOND: usize = 16;
/// What has not come by then was not seen to complete.
const SETTLED: Duration = Duration::from_secs(3);
/// Between the end of a request and the wake-up of who waits for it; and between two readings of two clocks.
const SLACK_NS: u64 = 2_000_000;

/// What a writer knows of a write that was slow.
struct Slow {
    sector: u64,
    began_ns: u64,
    ended_ns: u64,
    /// It waited at least so long for the disk.
    blocked_ns: u64,
}

fn slow(truth: &Value, first_sector: u64) -> Result<Vec<Slow>> {
    let all = truth["slow"].as_array().context("slow")?;
    let number = |of: &Value, name: &str| of[name].as_u64().with_context(|| format!("{of}"));
    let one = |of: &Value| {
        Ok(Slow {
            sector: first_sector + number(of, "offset")? / 512,
            began_ns: number(of, "began_ns")?,
            ended_ns: number(of, "ended_ns")?,
            blocked_ns: number(of, "blocked_ns")?,
        })
    };
    all.iter().map(one).collect()
}

/// All that is told of disks, the slowest first, each with the functions of its stack.
fn outliers(daemon: &Daemon, of: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/outliers?kind=block&duration=10m&limit=20000{of}");
    let mut list = daemon.get(&path)?;
    let stacks = list["stacks"].take();
    let rows = list["outliers"].as_array_mut().context("outliers")?;
    for row in &mut *rows {
        if let Some(at) = row["stack"].as_u64() {
            row["stack"] = stacks[at as usize].clone();
        }
    }
    Ok(std::mem::take(rows))
}

fn ns(row: &Value, name: &str) -> Result<u64> {
    row[name].as_u64().with_context(|| format!("{name} of {row}"))
}

/// Each write that was held up is told once, with its container, its place, and how long it took; and nobody else's is.
fn what_was_held_up_is_told(scheduler: &str, flags: &[&str]) -> Result<()> {
    let below = Disk::make()?;
    let disk = Disk::make_in(&below.mount(), 48 << 20)?;
    let queue = format!("/sys/block/{}/queue/scheduler", disk.name());
    fs::write(&queue, scheduler).with_context(|| queue.clone())?;
    let file = disk.fill("held", FILE_BYTES)?;
    let cached = disk.fill("cached", FILE_BYTES)?;
    let first_sector = disk.first_sector(&file)?;
    let daemon = Daemon::start(flags)?;
    let watch = Watch::begin(&daemon, &disk)?;
    let on_disk = ContainerOptions::new().bind(&disk.mount(), "/disk");
    let fixed = ["slow_io", "--seconds", "120", "--file"];
    let writer =
        on_disk.clone().run("writer", &[&fixed[..], &["/disk/held", "--direct", "1"]].concat())?;
    let locked = LockedFile::open(&cached)?;
    let bystander =
        on_disk.run("bystander", &[&fixed[..], &["/disk/cached", "--read", "1"]].concat())?;
    for held_ms in HOLDS {
        let frozen = below.freeze()?;
        sleep(Duration::from_millis(held_ms));
        drop(frozen);
        sleep(Duration::from_millis(400));
    }
    let (truth, beside) = (writer.stop()?, bystander.stop()?);
    drop(locked);
    let held = slow(&truth, first_sector)?;
    ensure!(held.len() >= HOLDS.len(), "{} of {} were held up", held.len(), HOLDS.len());
    ensure!(beside["operations"].as_u64() > Some(100), "the bystander read: {beside}");
    let missed = watch.doubt(0)?.missed as usize;
    let distance_ns = wall_distance_ns()?;

    let is_it = |row: &Value, held: &Slow| {
        let ended_ns = row["at"].as_u64().unwrap_or_default().saturating_sub(distance_ns);
        row["sector"] == held.sector
            && row["device"] == disk.name()
            && (held.began_ns..held.ended_ns + SLACK_NS).contains(&ended_ns)
    };
    // So many were slower in its second that it is none of the slowest: on a machine whose other disks are slower than ours.
    let is_crowded_out = |rows: &[Value], held: &Slow| {
        let end_ns = held.ended_ns + distance_ns;
        let slower = rows.iter().filter(|row| {
            row["latency_ns"].as_u64() > Some(held.blocked_ns)
                && row["at"].as_u64().is_some_and(|at| at.abs_diff(end_ns) < 1_000_000_000)
        });
        slower.count() >= PER_SECOND
    };
    let told = |rows: &[Value]| held.iter().filter(|h| rows.iter().any(|r| is_it(r, h))).count();
    let waiting_since = Instant::now();
    let rows = wait_until("what was held up", PATIENCE, || {
        let rows = outliers(&daemon, "")?;
        let crowded = held.iter().filter(|held| is_crowded_out(&rows, held)).count();
        let missed = if waiting_since.elapsed() > SETTLED { missed } else { 0 };
        Ok((told(&rows) + crowded + missed >= held.len()).then_some(rows))
    })?;
    assert!(told(&rows) > held.len() / 2, "{} of {} are told", told(&rows), held.len());
    let host_pid = writer.host_pid()?;
    for held in &held {
        let of_it: Vec<_> = rows.iter().filter(|row| is_it(row, held)).collect();
        assert!(of_it.len() <= 1, "told twice: {of_it:?}");
        let Some(row) = of_it.first() else { continue };
        let (took_ns, least_ns) =
            (ns(row, "latency_ns")?, held.blocked_ns.saturating_sub(SLACK_NS));
        let wait_ns = held.ended_ns - held.began_ns;
        eprintln!("{took_ns} ns told, {} ns blocked of {wait_ns} ns waited", held.blocked_ns);
        assert!((least_ns..=wait_ns).contains(&took_ns), "{took_ns}, {least_ns} to {wait_ns}");
        assert_eq!(ns(row, "queue_ns")? + ns(row, "service_ns")?, took_ns, "{row}");
        assert!(ns(row, "service_ns")? > took_ns / 2, "the driver held it: {row}");
        assert_eq!(row["container"], writer.id());
        assert_eq!((&row["operation"], &row["bytes"]), (&"write".into(), &BLOCK_BYTES.into()));
        // Where the kernel stamps issues, requests are not followed, and who made them is not told.
        if !row["tid"].is_null() {
            assert_eq!((&row["tid"], &row["pid"]), (&host_pid.into(), &host_pid.into()), "{row}");
            assert_eq!(row["thread"], "slow_io");
        }
        // What it waits in is the call that was told to write past the cache.
        let functions = row["stack"].as_array().cloned().unwrap_or_default();
        let has = |part: &str| {
            functions.iter().any(|name| name.as_str().is_some_and(|name| name.contains(part)))
        };
        let is_stack_expected = flags == WITH_WAITS && !row["tid"].is_null();
        assert_eq!(has("pwrite64"), is_stack_expected, "{row}");
        // The scheduler's own functions, which end it, the kernel leaves out.
        assert_eq!(has("vfs_write"), is_stack_expected, "{row}");
    }
    // Nothing on this disk is told to be slow that was not.
    for row in rows.iter().filter(|row| row["device"] == disk.name()) {
        assert_ne!(row["container"], bystander.id(), "who read from memory: {row}");
        let is_slow = ns(row, "latency_ns")? >= SLOW_NS;
        assert!(!is_slow || held.iter().any(|held| is_it(row, held)), "{row}");
    }
    only_what_was_asked_for(&daemon, &writer)
}

fn only_what_was_asked_for(daemon: &Daemon, writer: &Container) -> Result<()> {
    let its = || -> Result<Vec<Value>> {
        let all = outliers(daemon, "")?;
        Ok(all.into_iter().filter(|row| row["container"] == writer.id()).collect())
    };
    // Which are the slowest of a second is open until it is over: what another disk does may come between two questions.
    let (of_writer, all) = wait_until("seconds that are over", PATIENCE, || {
        let before = its()?;
        let of_writer = outliers(daemon, &format!("&container={}", writer.id()))?;
        let after = its()?;
        Ok((before == after).then_some((of_writer, after)))
    })?;
    assert_eq!(of_writer, all);
    let times: Vec<_> = of_writer.iter().map(|row| row["latency_ns"].as_u64()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let shown = daemon.cli(&["outliers", "--container", writer.id(), "--duration", "10m"])?;
    ensure!(shown.success(), "{}", shown.stderr);
    assert!(shown.stdout.contains("block write") && shown.stdout.contains(writer.name()));
    let json = daemon.cli_json(&["outliers", "--container", writer.id(), "--limit", "3"])?;
    assert!(json["outliers"].as_array().context("outliers")?.len() <= 3);
    Ok(())
}

#[test]
fn what_was_held_up_is_told_without_a_scheduler() -> Result<()> {
    what_was_held_up_is_told("none", &ALONE)
}

/// A scheduler hands requests to the driver in the context of whoever comes next.
#[test]
fn what_was_held_up_is_told_behind_a_scheduler() -> Result<()> {
    what_was_held_up_is_told("mq-deadline", &ALONE)
}

/// It sleeps in the call that made the request.
#[test]
fn what_was_held_up_is_told_with_the_stack_of_who_waits() -> Result<()> {
    what_was_held_up_is_told("none", &WITH_WAITS)
}
