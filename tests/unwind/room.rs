//! The room for tables: how much is used is shown, what finds none is marked and counted.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cgscope_tests::Daemon;
use serde_json::Value;

use crate::program::Running;
use crate::stacks::{doubts, record};

/// The tables of libcrypto alone take more than twice that.
const LITTLE: &str = "256K";

fn number(of: &Value, key: &str) -> Result<u64> {
    of[key].as_u64().with_context(|| format!("{key} in {of}"))
}

fn check(daemon: &Daemon) -> Result<Value> {
    let examination = daemon.cli_json(&["doctor"])?;
    let checks = examination["doctor"]["checks"].as_array().context("checks")?;
    checks.iter().find(|check| check["name"] == "unwind tables").cloned().context("unwind tables")
}

#[test]
fn what_finds_no_room_is_marked_and_counted() -> Result<()> {
    let running =
        Running::start(Command::new("openssl").args(["speed", "-seconds", "60", "rsa2048"]))?;
    let daemon = Daemon::start(&["--unwind-table-size", LITTLE])?;
    let before = daemon.get("/api/v1/probes")?["unwind"].clone();
    ensure!(
        number(&before, "tables")? == 0,
        "nothing is held before the first recording: {before}"
    );
    ensure!(check(&daemon)?["status"] == "ok");

    let folded = record(&daemon, running.pid(), 3)?;
    // For want of a table, or of a place among the processes that have any.
    let missing: u64 = doubts(&folded).values().sum();
    ensure!(missing * 2 > folded.kept(), "of {}: {:?}", folded.kept(), doubts(&folded));
    let after = daemon.get("/api/v1/probes")?["unwind"].clone();
    let (used, limit) = (number(&after, "used_bytes")?, number(&after, "limit_bytes")?);
    ensure!(used <= limit && limit <= 300 << 10, "{after}");
    ensure!(number(&after, "refused")? > 0, "{after}");
    let check = check(&daemon)?;
    ensure!(check["status"] == "degraded", "{check}");
    ensure!(check["remedy"] == "raise --unwind-table-size", "{check}");
    // The next tick has what the kernel half counted; others were sampled as well.
    let (scrape, _) = daemon.next_tick()?;
    let counted = scrape.dropped("stack_truncated");
    ensure!(counted >= missing, "{counted} counted of {missing}");
    Ok(())
}

#[test]
fn with_room_nothing_is_missing() -> Result<()> {
    let running =
        Running::start(Command::new("openssl").args(["speed", "-seconds", "60", "rsa2048"]))?;
    let daemon = crate::daemon()?;
    let folded = record(&daemon, running.pid(), 3)?;
    crate::stacks::expect_complete("openssl", &folded, 995)?;
    let unwind = daemon.get("/api/v1/probes")?["unwind"].clone();
    ensure!(number(&unwind, "tables")? >= 3 && number(&unwind, "used_bytes")? > 0, "{unwind}");
    ensure!(number(&unwind, "refused")? == 0, "{unwind}");
    let check = check(&daemon)?;
    ensure!(check["status"] == "ok", "{check}");
    eprintln!("{unwind}");
    Ok(())
}
