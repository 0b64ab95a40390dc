//! The daemon's own audit of what a disk did, on a disk that nobody else uses: not a request is missing.

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, Daemon, wait_until};
use serde_json::Value;

use crate::{ALONE, PATIENCE};
use cgscope_tests::disk::Disk;

const FILE_BYTES: usize = 16 << 20;
/// Requests that are enough to say so.
const ENOUGH: f64 = 1_000.0;

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
        let row = wait_until(name, PATIENCE, || {
            let report = daemon.get("/api/v1/audit")?;
            let check = report["checks"].as_array().into_iter().flatten();
            let check = check.into_iter().find(|check| check["name"] == name);
            let rows = check.and_then(|check| check["subjects"].as_array()).into_iter().flatten();
            let row = rows.into_iter().find(|row| row["subject"] == disk.name());
            Ok(row.filter(|row| row["expected"].as_f64() >= Some(ENOUGH)).cloned())
        })?;
        eprintln!("{name}: {row}");
        let number = |member: &str| -> Result<f64> {
            let value: &Value = &row[member];
            value.as_f64().with_context(|| format!("{member} in {row}"))
        };
        // A request is told to us and counted by the kernel one after the other: the one that is between is not missing. And where a
        // platform hides threads of its own, so are the completions that interrupt them.
        let (error, expected) = (number("error")?, number("expected")?);
        assert!(error.abs() <= 0.001 * expected, "{name}: {row}");
    }
    Ok(())
}
