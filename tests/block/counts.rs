//! Operations and bytes, to the last one.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::disk::{Disk, Statistics};
use cgscope_tests::{Container, ContainerOptions, Daemon, expect_off};
use serde_json::Value;

use crate::locked_file::LockedFile;
use crate::series::{Series, read_until};
use crate::watch::{Doubt, Watch};
use crate::{ALONE, PATIENCE};

const BLOCK_BYTES: u64 = 4096;
const TWO_TICKS: Duration = Duration::from_millis(2_500);
const FILE_BYTES: usize = 16 << 20;

/// What the fixture says it did.
fn statistics(truth: &Value) -> Result<Statistics> {
    let field = |name: &str| truth[name].as_u64().with_context(|| format!("{name} in {truth}"));
    Ok(Statistics {
        reads: field("reads")?,
        read_bytes: field("read_bytes")?,
        writes: field("writes")?,
        written_bytes: field("written_bytes")?,
    })
}

/// A container with `direct_io` on a file of the disk, waiting for the gate.
fn waiting(disk: &Disk, name: &str, arguments: &[&str]) -> Result<Container> {
    let file = format!("/disk/{name}");
    let gate = format!("/gate/{name}");
    let gates = disk.mount().with_file_name("gate");
    fs::create_dir_all(&gates)?;
    let fixed = ["direct_io", "--seconds", "60", "--file", &file, "--gate", &gate];
    ContainerOptions::new()
        .bind(&disk.mount(), "/disk")
        .bind(&gates, "/gate")
        .run(name, &[&fixed, arguments].concat())
}

/// What is counted of containers that wait at their gates, once what they did before has been read.
fn counted(daemon: &Daemon, disk: &Disk, containers: &[&Container]) -> Result<Vec<Statistics>> {
    std::thread::sleep(TWO_TICKS);
    let series = Series::read(daemon)?;
    containers.iter().map(|c| series.of_container(c.id(), disk.name())).collect()
}

fn open_gate(disk: &Disk, name: &str) -> Result<()> {
    Ok(fs::write(disk.mount().with_file_name("gate").join(name), "")?)
}

/// Equal, but for what is in doubt.
fn assert_within(seen: Statistics, truth: Statistics, doubt: Doubt) {
    for (what, seen, truth, missed, reread) in [
        ("reads", seen.reads, truth.reads, doubt.missed, doubt.reread),
        ("writes", seen.writes, truth.writes, doubt.missed, 0),
        (
            "bytes read",
            seen.read_bytes,
            truth.read_bytes,
            doubt.missed * BLOCK_BYTES,
            doubt.reread * BLOCK_BYTES,
        ),
        ("bytes written", seen.written_bytes, truth.written_bytes, doubt.missed * BLOCK_BYTES, 0),
    ] {
        assert!(
            (truth.saturating_sub(missed)..=truth + reread).contains(&seen),
            "cgscope says {seen} {what}, the truth is {truth}, {doubt:?}"
        );
    }
}

fn direct_io_is_counted(flags: &[&str]) -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("first", FILE_BYTES)?;
    disk.fill("second", FILE_BYTES)?;
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let first = waiting(&disk, "first", &["--writes", "3000", "--reads", "2000"])?;
    let second = waiting(&disk, "second", &["--writes", "100", "--reads", "4000"])?;
    let counted_before = counted(&daemon, &disk, &[&first, &second])?;
    let watch = Watch::begin(&daemon, &disk)?;
    let all_before = Series::read(&daemon)?.of_disk(disk.name())?;
    open_gate(&disk, "first")?;
    open_gate(&disk, "second")?;
    let truths =
        [statistics(&first.wait_truth(PATIENCE)?)?, statistics(&second.wait_truth(PATIENCE)?)?];
    assert_eq!(truths[0].writes, 3000);
    assert_eq!(truths[0].read_bytes, 2000 * BLOCK_BYTES);

    let seen = |series: &Series| -> Result<[Statistics; 2]> {
        let of = |container: &Container, before: Statistics| -> Result<Statistics> {
            Ok(series.of_container(container.id(), disk.name())?.since(before))
        };
        Ok([of(&first, counted_before[0])?, of(&second, counted_before[1])?])
    };
    let series = read_until(&daemon, |series| Ok(seen(series)? == truths))?;
    let doubt = watch.doubt(truths[0].reads + truths[1].reads)?;
    for (seen, truth) in seen(&series)?.into_iter().zip(truths) {
        assert_within(seen, truth, doubt);
    }
    // The whole disk against the kernel's own account of it.
    let kernel = watch.statistics()?;
    let disk_seen = series.of_disk(disk.name())?.since(all_before);
    assert_within(disk_seen, kernel, Doubt { reread: 0, ..doubt });
    assert!(kernel.writes >= truths[0].writes + truths[1].writes, "{kernel:?}");
    assert_eq!(series.of_disk(disk.name())?, series.of_all_containers(disk.name())?);
    for reason in ["issue_missed", "clock_skew", "no_slot"] {
        let labels = [crate::series::label("reason", reason)];
        assert_eq!(series.sum("cgscope_own_dropped_total", &labels)?, 0.0, "{reason}");
    }
    Ok(())
}

#[test]
fn direct_io_is_counted_exactly_by_tp_btf() -> Result<()> {
    direct_io_is_counted(&["--hook", "tp_btf"])
}

#[test]
fn direct_io_is_counted_exactly_by_raw_tp() -> Result<()> {
    direct_io_is_counted(&["--hook", "raw_tp"])
}

#[test]
fn a_bystander_that_reads_from_the_cache_did_nothing() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("busy", FILE_BYTES)?;
    let cached = disk.fill("cached", FILE_BYTES)?;
    let _locked = LockedFile::open(&cached)?;
    let daemon = Daemon::start(&ALONE)?;
    let busy = waiting(&disk, "busy", &["--writes", "4000"])?;
    let bystander = waiting(&disk, "cached", &["--cached", "1", "--reads", "200000"])?;
    let before = counted(&daemon, &disk, &[&busy, &bystander])?;
    let watch = Watch::begin(&daemon, &disk)?;
    open_gate(&disk, "cached")?;
    open_gate(&disk, "busy")?;
    let read = statistics(&bystander.wait_truth(PATIENCE)?)?;
    let written = statistics(&busy.wait_truth(PATIENCE)?)?;
    assert_eq!((read.reads, written.writes), (200_000, 4_000));
    let seen = |series: &Series, container: &Container, before| -> Result<Statistics> {
        Ok(series.of_container(container.id(), disk.name())?.since(before))
    };
    let series = read_until(&daemon, |series| Ok(seen(series, &busy, before[0])? == written))?;
    assert_within(seen(&series, &busy, before[0])?, written, watch.doubt(0)?);
    let nothing = Statistics { reads: 0, read_bytes: 0, writes: 0, written_bytes: 0 };
    assert_eq!(seen(&series, &bystander, before[1])?, nothing);
    Ok(())
}

#[test]
fn a_container_that_ended_keeps_its_operations() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("short", FILE_BYTES)?;
    let daemon = Daemon::start(&ALONE)?;
    let (id, watch);
    {
        let container = waiting(&disk, "short", &["--writes", "500"])?;
        id = container.id().to_owned();
        watch = Watch::begin(&daemon, &disk)?;
        open_gate(&disk, "short")?;
        container.wait_truth(PATIENCE)?;
    }
    // Longer than the grace after which its pair is given back.
    std::thread::sleep(Duration::from_secs(7));
    let seen = Series::read(&daemon)?.of_container(&id, disk.name())?;
    let truth = Statistics { writes: 500, written_bytes: 500 * BLOCK_BYTES, ..seen };
    assert_within(seen, truth, watch.doubt(0)?);
    Ok(())
}

#[test]
fn a_family_that_is_off_counts_nothing_and_takes_no_room() -> Result<()> {
    let daemon = Daemon::start(&[&ALONE[..], &["--disable", "block"]].concat())?;
    let maps = ["BLOCK_PAIRS", "PAIR_COUNTERS", "PAIR_LATENCIES", "REQUESTS", "DISPLACED"];
    expect_off(&daemon, "block", &["cgscope_block_"], &maps)
}
