//! What would have to be measured anew is refused, and says what to do instead.

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, cli, scratch_dir};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::record;

#[test]
fn nothing_is_measured_anew() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    record(&Daemon::start(&["--no-history"])?, &file, "2s")?;
    let replay = Daemon::replay(&file)?;
    for path in [
        "/api/v1/flamegraph?duration=1s",
        "/api/v1/processes/1/latency?duration=1s",
        "/api/v1/record?duration=1s",
    ] {
        let answer = replay.answer(path)?;
        ensure!(answer.status == 400, "{path}: {} {}", answer.status, answer.body);
        let body: Value = serde_json::from_str(&answer.body)?;
        ensure!(body["error"].as_str().context("an error")?.contains("recording"), "{body}");
        ensure!(body["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{body}");
    }
    let output = replay.cli(&["flamegraph", "--duration", "1s", "-o", "-"])?;
    ensure!(output.status == Some(2), "{output:?}");
    ensure!(output.stderr.contains("start=-1m"), "{output:?}");
    Ok(())
}

#[test]
fn a_file_that_was_there_survives_a_refusal() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    std::fs::write(&file, "before")?;
    let name = file.to_str().context("a path in UTF-8")?;
    // Nobody listens there.
    let line = ["record", "-o", name, "--duration", "1s", "--address", "127.0.0.1:1"];
    let output = cli(&line)?;
    ensure!(output.status == Some(1), "{output:?}");
    ensure!(std::fs::read_to_string(&file)? == "before");
    let daemon = Daemon::start(&["--no-history"])?;
    let missing = directory.path().join("missing/a.cgscope");
    let missing = missing.to_str().context("a path in UTF-8")?;
    let output = daemon.cli(&["record", "-o", missing, "--duration", "1s"])?;
    ensure!(output.status == Some(1), "{output:?}");
    ensure!(output.stderr.contains("make its directory"), "{output:?}");
    Ok(())
}
