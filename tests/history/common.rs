//! Daemons over one directory, and questions to them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, wait_until};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that keeps its history in `directory`.
pub fn daemon(directory: &Path) -> Result<Daemon> {
    Daemon::start(&["--history-dir", directory.to_str().context("a path in UTF-8")?])
}

/// The one value of a question about the last ten minutes; `None` when nothing was measured.
pub fn total(
    daemon: &Daemon,
    metric: &str,
    container: &str,
    function: &str,
) -> Result<Option<f64>> {
    let path = format!(
        "/api/v1/query?metric={metric}&match=container={container}&fn={function}&start=-10m&step=all&by="
    );
    let answer = daemon.answer(&path)?;
    if answer.status == 404 {
        return Ok(None);
    }
    ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.body);
    let answer: Value = serde_json::from_str(&answer.body)?;
    Ok(answer["series"][0]["values"][0].as_f64())
}

/// A gauge of cgscope itself, as it is now.
pub fn own(daemon: &Daemon, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    Ok(daemon.scrape()?.sum(name, labels))
}

/// Waits until history is written, or is not.
pub fn wait_writing(daemon: &Daemon, is_writing: bool) -> Result<()> {
    let what = if is_writing { "history to be written" } else { "history to be kept in memory" };
    wait_until(what, PATIENCE, || {
        let now = own(daemon, "cgscope_own_history_writing", &[])? > 0.5;
        Ok((now == is_writing).then_some(()))
    })
}

/// Waits until so many more samples are on disk than now.
pub fn wait_written(daemon: &Daemon, samples: f64) -> Result<()> {
    let written = || own(daemon, "cgscope_own_history_samples_total", &[]);
    let before = written()?;
    wait_until("samples to be written", PATIENCE, || {
        Ok((written()? >= before + samples).then_some(()))
    })
}

/// What `doctor` says of history.
pub fn doctor(daemon: &Daemon) -> Result<Value> {
    let report = daemon.get("/api/v1/doctor")?;
    let checks = report["checks"].as_array().context("checks")?;
    checks.iter().find(|check| check["name"] == "history").cloned().context("a check of history")
}
