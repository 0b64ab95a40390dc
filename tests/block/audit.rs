//! The daemon's own audit of what a disk did, on a disk that nobody else uses: not a request is missing.

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, Daemon, wait_until};
use serde_json::Value;

use crate::{ALONE, PATIENCE};
use cgscope_tests::disk::Disk;

const FILE_BYTES: usize = 16 << 20;
/// Requests that are enough to say so.
const ENOUGH: f64 = 1_000.0;

/// The row of a subject in a check, once the kernel's own account has enough there.
fn audited(daemon: &Daemon, check: &str, subject: &str, enough: f64) -> Result<Value> {
    wait_until(&format!("{check} of {subject}"), PATIENCE, || {
        let report = daemon.get("/api/v1/audit")?;
        let mut checks = report["checks"].as_array().into_iter().flatten();
        let check = checks.find(|found| found["name"] == check);
        let mut rows = check.and_then(|c| c["subjects"].as_array()).into_iter().flatten();
        let row = rows.find(|row| row["subject"] == subject);
        Ok(row.filter(|row| row["expected"].as_f64() >= Some(enough)).cloned())
    })
}

fn number(row: &Value, member: &str) -> Result<f64> {
    row[member].as_f64().with_context(|| format!("{member} in {row}"))
}

#[test]
fn every_request_of_a_disk_is_found_in_the_kernels_account() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("file", FILE_BYTES)?;
    let daemon = Daemon::start(&ALONE)?;
    let run = |what: &str| {
        let fixed = ["direct_io", "--seconds", "120", "--file", "/disk/file", what, "100000000"];
        ContainerOptions::new().bind(&disk.mount(), "/disk").run("audited", &fixed)
    };
    let _users = [run("--reads")?, run("--writes")?];
    for name in ["disk_reads", "disk_writes", "disk_bytes_read", "disk_bytes_written"] {
        let row = audited(&daemon, name, disk.name(), ENOUGH)?;
        eprintln!("{name}: {row}");
        // A request is told to us and counted by the kernel one after the other: the one that is between is not missing. And where a
        // platform hides threads of its own, so are the completions that interrupt them.
        let (error, expected) = (number(&row, "error")?, number(&row, "expected")?);
        assert!(error.abs() <= 0.001 * expected, "{name}: {row}");
    }
    Ok(())
}

/// Bytes that say enough.
const ENOUGH_BYTES: f64 = (4 << 20) as f64;

#[test]
fn what_containers_did_is_found_in_the_account_of_their_cgroups() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("file", FILE_BYTES)?;
    let device = std::fs::read_to_string(format!("/sys/block/{}/dev", disk.name()))?;
    let daemon = Daemon::start(&ALONE)?;
    let run = |name: &str, what: &str| {
        let fixed = ["direct_io", "--seconds", "120", "--file", "/disk/file", what, "100000000"];
        ContainerOptions::new().bind(&disk.mount(), "/disk").run(name, &fixed)
    };
    let users = [run("reader", "--reads")?, run("writer", "--writes")?];
    for user in &users {
        // On v1 the kernel counts where there is a limit: one that nothing reaches.
        if let Ok(cgroup) = user.cgroup_v1("blkio") {
            let limit = format!("{} {}", device.trim(), u64::MAX >> 1);
            std::fs::write(cgroup.join("blkio.throttle.write_bps_device"), limit)?;
        }
    }
    for user in &users {
        let name = "disk_bytes_of_containers";
        let row = audited(&daemon, name, user.id(), ENOUGH_BYTES)?;
        eprintln!("{}: {row}", user.name());
        let (counted, error, expected) =
            (number(&row, "counted")?, number(&row, "error")?, number(&row, "expected")?);
        assert!(error.abs() <= 0.001 * expected, "{row}");
        // The bounds are not so wide that anything fits.
        assert!((counted - expected).abs() <= 0.2 * expected, "{row}");
    }
    Ok(())
}
