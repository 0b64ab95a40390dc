//! The slowest calls on files, held against the clock of who made them.
//!
//! The disk is a loop device over a file of another one. While that is frozen, an fsync on the disk waits: so long as we say.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::clock::wall_distance_ns;
use cgscope_tests::disk::Disk;
use cgscope_tests::{ContainerOptions, Daemon, scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, Waiting, daemon};

const FILE_BYTES: usize = 16 << 20;
/// How long each fsync is held up.
const HOLDS: [u64; 4] = [150, 200, 250, 300];
/// As slow as nothing is that was not held up; the fixture notes what is.
const SLOW_NS: u64 = 100_000_000;
/// Between the end of a request and the wake-up of who waits for it; and between two readings of two clocks.
const SLACK_NS: u64 = 2_000_000;

/// All that is told of files, the slowest first.
fn outliers(daemon: &Daemon) -> Result<Vec<Value>> {
    let list = daemon.get("/api/v1/outliers?kind=file&duration=10m&limit=20000")?;
    ensure!(list["missing"].as_array().is_some_and(Vec::is_empty), "{}", list["missing"]);
    Ok(list["outliers"].as_array().context("outliers")?.clone())
}

fn number(of: &Value, name: &str) -> Result<u64> {
    of[name].as_u64().with_context(|| format!("{name} of {of}"))
}

/// Each fsync that was held up is told once, with its container, thread, file and how long it took; and nobody else's call is.
fn what_was_held_up_is_told(hook: &str) -> Result<()> {
    let below = Disk::make()?;
    let disk = Disk::make_in(&below.mount(), 48 << 20)?;
    let file = disk.fill("held", FILE_BYTES)?;
    disk.fill("beside", FILE_BYTES)?;
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file)?);
    let daemon = daemon(hook)?;
    let on_disk = ContainerOptions::new().bind(&disk.mount(), "/disk");
    let fixed = ["slow_io", "--seconds", "120", "--file"];
    let writer =
        on_disk.clone().run("writer", &[&fixed[..], &["/disk/held", "--sync", "1"]].concat())?;
    let bystander =
        on_disk.run("bystander", &[&fixed[..], &["/disk/beside", "--read", "1"]].concat())?;
    for held_ms in HOLDS {
        let frozen = below.freeze()?;
        sleep(Duration::from_millis(held_ms));
        drop(frozen);
        sleep(Duration::from_millis(400));
    }
    let (host_pid, truth, beside) = (writer.host_pid()?, writer.stop()?, bystander.stop()?);
    let held = truth["slow"].as_array().context("slow")?;
    ensure!(held.len() >= HOLDS.len(), "{} of {} were held up", held.len(), HOLDS.len());
    ensure!(held.iter().any(|held| held["operation"] == "sync"), "an fsync was: {truth}");
    ensure!(beside["operations"].as_u64() > Some(100), "the bystander read: {beside}");
    let distance_ns = wall_distance_ns()?;
    let is_it = |row: &Value, held: &Value| {
        let ended_ns = row["at"].as_u64().unwrap_or_default().saturating_sub(distance_ns);
        row["container"] == writer.id()
            && row["operation"] == held["operation"]
            && held["began_ns"].as_u64() < Some(ended_ns)
            && held["ended_ns"].as_u64() > Some(ended_ns.saturating_sub(SLACK_NS))
    };
    let rows = wait_until("what was held up", PATIENCE, || {
        let rows = outliers(&daemon)?;
        Ok(held.iter().all(|held| rows.iter().any(|row| is_it(row, held))).then_some(rows))
    })?;
    for held in held {
        let of_it: Vec<_> = rows.iter().filter(|row| is_it(row, held)).collect();
        let [row] = of_it[..] else { anyhow::bail!("told more than once: {of_it:?}") };
        let took_ns = number(row, "latency_ns")?;
        let least_ns = number(held, "blocked_ns")?.saturating_sub(SLACK_NS);
        let most_ns = number(held, "ended_ns")? - number(held, "began_ns")?;
        eprintln!("{took_ns} ns told of {most_ns} ns waited: {}", row["file"]);
        assert!((least_ns..=most_ns).contains(&took_ns), "{took_ns}, {least_ns} to {most_ns}");
        assert_eq!((&row["file"], &row["inode"]), (&"/disk/held".into(), &inode.into()), "{row}");
        assert_eq!((&row["pid"], &row["tid"]), (&host_pid.into(), &host_pid.into()), "{row}");
        assert_eq!((&row["thread"], &row["device"]), (&"slow_io".into(), &disk.name().into()));
        let bytes = if held["operation"] == "write" { 4096 } else { 0 };
        assert_eq!(number(row, "bytes")?, bytes, "{row}");
        assert!(row["sector"].is_null() && row["queue_ns"].is_null(), "{row}");
    }
    for row in &rows {
        let is_slow = number(row, "latency_ns")? >= SLOW_NS;
        let is_of_bystander = row["container"] == bystander.id();
        assert!(!(is_slow && is_of_bystander), "who was not held up: {row}");
        assert!(!is_of_bystander || row["file"] != "/disk/held", "{row}");
        let is_of_writer = row["container"] == writer.id();
        let is_held = held.iter().any(|held| is_it(row, held));
        assert!(!(is_slow && is_of_writer) || is_held, "{row}");
    }
    let shown = daemon.cli(&[
        "outliers",
        "--kind",
        "file",
        "--container",
        writer.id(),
        "--duration",
        "5m",
    ])?;
    ensure!(shown.success(), "{}", shown.stderr);
    assert!(shown.stdout.contains("file sync") && shown.stdout.contains("/disk/held"));
    Ok(())
}

#[test]
fn what_was_held_up_is_told_by_tp_btf() -> Result<()> {
    what_was_held_up_is_told("tp_btf")
}

#[test]
fn what_was_held_up_is_told_by_raw_tp() -> Result<()> {
    what_was_held_up_is_told("raw_tp")
}

/// Of a file that has no name any more the last; of one that lies deep the end. And who opens a FIFO waits for its other end, which is
/// nothing slow of files.
#[test]
fn a_path_is_told_as_far_as_it_is_known() -> Result<()> {
    let directory = TempDir::with_prefix_in("paths-", scratch_dir())?;
    let at = |name: &str| directory.path().join(name).display().to_string();
    let deep = format!("{}deep", "d/".repeat(40));
    fs::create_dir_all(directory.path().join(&deep).parent().context("a parent")?)?;
    let daemon = daemon("auto")?;
    let write = "dd if=/dev/zero bs=1M count=8 conv=fsync status=none";
    let (whole, gone, fifo) = (at("whole"), at("gone"), at("fifo"));
    let command = format!(
        "{write} of={whole}; {write} of={}; \
         exec 3>{gone}; rm {gone}; {write} of=/dev/fd/3; \
         mkfifo {fifo}; (sleep 0.3; exec 4>{fifo}) & exec 5<{fifo}",
        at(&deep)
    );
    let mut writer = Waiting::new("paths", &command)?;
    writer.run()?;
    let own = |rows: Vec<Value>| -> Vec<Value> {
        rows.into_iter().filter(|row| row["container"] == writer.cgroup.id()).collect()
    };
    // 32 names are followed, and that of the file is one of them.
    let cut = format!("…/{}deep", "d/".repeat(31));
    let expected = [whole, cut, format!("{gone} (deleted)")];
    let rows = wait_until("the three files", PATIENCE, || {
        let rows = own(outliers(&daemon)?);
        let is_told = |path: &String| rows.iter().any(|row| row["file"] == **path);
        Ok(expected.iter().all(is_told).then_some(rows))
    })?;
    let of_fifo: Vec<_> = rows.iter().filter(|row| row["file"] == *fifo).collect();
    assert!(of_fifo.is_empty(), "{of_fifo:?}");
    Ok(())
}
