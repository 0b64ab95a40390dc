//! Who kept whom waiting in the queue of a disk.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, wait_until};

use crate::series::{Series, label};
use crate::{ALONE, PATIENCE};
use cgscope_tests::disk::Disk;

/// Processes that read, one request each: a loop device takes 128 at a time, the others wait in its scheduler.
const AGGRESSORS: usize = 200;
const FILE_BYTES: usize = 16 << 20;
/// So much of waiting is enough to tell whom for.
const ENOUGH_S: f64 = 0.5;
/// What is nobody's lies between the last completion and the issue: there the kernel's worker, not the disk, is late. It was 6 to
/// 13 % of the reader's wait here, where 201 readers share two CPUs with that worker.
const MOST: f64 = 0.75;

fn waited_s(series: &Series, disk: &Disk, who: &Container, culprit: Option<&str>) -> Result<f64> {
    let own = [label("container_id", who.id()), label("device", disk.name())];
    let culprit = culprit.map(|id| label("culprit_id", id));
    let labels: Vec<String> = own.into_iter().chain(culprit).collect();
    series.sum("cgscope_block_waited_for_seconds_total", &labels)
}

fn queued_s(series: &Series, disk: &Disk, who: &Container) -> Result<f64> {
    let labels =
        [label("container_id", who.id()), label("device", disk.name()), label("phase", "queue")];
    series.sum("cgscope_block_latency_seconds_sum", &labels)
}

/// A disk, one container that fills its queue and one that reads beside it; a third has a disk of its own.
#[test]
fn who_fills_the_queue_is_who_is_waited_for() -> Result<()> {
    let (disk, other) = (Disk::make()?, Disk::make()?);
    let queue = format!("/sys/block/{}/queue", disk.name());
    fs::write(format!("{queue}/scheduler"), "mq-deadline").context("its scheduler")?;
    for name in ["aggressor", "reader"] {
        disk.fill(name, FILE_BYTES)?;
    }
    other.fill("bystander", FILE_BYTES)?;
    let daemon = Daemon::start(&ALONE)?;
    let on = |disk: &Disk| ContainerOptions::new().bind(&disk.mount(), "/disk");
    let one = "direct_io --seconds 120 --file /disk/aggressor --bytes 65536 --reads 100000000";
    let all =
        format!("i=0; while [ $i -lt {AGGRESSORS} ]; do {one} >/dev/null & i=$((i+1)); done; wait");
    let aggressor = on(&disk).run("aggressor", &["sh", "-c", &all])?;
    let read = |disk: &Disk, name: &str| {
        let file = format!("/disk/{name}");
        let fixed = ["direct_io", "--seconds", "120", "--reads", "100000000"];
        on(disk).run(name, &[&fixed[..], &["--file", &file]].concat())
    };
    let (reader, bystander) = (read(&disk, "reader")?, read(&other, "bystander")?);
    wait_until("the reader to wait", PATIENCE, || {
        let waited = waited_s(&Series::read(&daemon)?, &disk, &reader, None)?;
        Ok((waited > ENOUGH_S).then_some(()))
    })?;
    // What is on its way is charged already and not yet counted: it has to stop.
    for container in [&aggressor, &reader, &bystander] {
        container.kill()?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let series = Series::read(&daemon)?;
    for (who, disk) in [(&reader, &disk), (&aggressor, &disk), (&bystander, &other)] {
        let (all, queued) = (waited_s(&series, disk, who, None)?, queued_s(&series, disk, who)?);
        let apart = (all - queued).abs();
        assert!(apart <= 0.01 * queued + 1e-3, "{}: {all} s of {queued} s queued", who.name());
    }
    let for_aggressor = waited_s(&series, &disk, &reader, Some(aggressor.id()))?;
    let all = waited_s(&series, &disk, &reader, None)?;
    let for_nobody = waited_s(&series, &disk, &reader, Some("none"))?;
    eprintln!(
        "the reader waited {all:.3} s: {for_aggressor:.3} for the aggressor, {for_nobody:.3} for nobody"
    );
    assert!(for_aggressor >= MOST * all, "{for_aggressor} s of {all} s");
    // One request at a time never waits for its own, and nobody else is there.
    let apart = all - for_aggressor - for_nobody;
    assert!(apart.abs() <= 0.005 * all, "{apart} s are for somebody else");
    for (waiter, on) in [(&reader, &disk), (&aggressor, &disk)] {
        assert_eq!(waited_s(&series, on, waiter, Some(bystander.id()))?, 0.0, "{}", waiter.name());
    }
    assert_eq!(waited_s(&series, &other, &bystander, Some(aggressor.id()))?, 0.0);
    Ok(())
}
