//! Recording, and questions to both sides.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cgscope_tests::Daemon;
use serde_json::Value;

/// Records what a daemon measures into a file.
pub fn record(daemon: &Daemon, file: &Path, duration: &str) -> Result<()> {
    let file = file.to_str().context("a path in UTF-8")?;
    let output = daemon.cli(&["record", "-o", file, "--duration", duration])?;
    ensure!(output.success(), "{output:?}");
    Ok(())
}

/// What a replay says of its recording.
pub fn told(replay: &Daemon) -> Result<Value> {
    let answer = replay.get("/api/v1/recording")?;
    ensure!(answer["recording"].is_object(), "{answer}");
    Ok(answer["recording"].clone())
}

/// A number in an answer.
pub fn number(of: &Value, name: &str) -> Result<u64> {
    of[name].as_u64().with_context(|| format!("{name} of {of}"))
}
