//! Two windows side by side: each line is what each window says by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{PATIENCE, daemon};

const METRIC: &str = "cgscope_host_cpu_seconds_total";

/// The first instant of an answer in seconds, and its values by mode.
fn lines(answer: &Value, side: &str) -> Result<Vec<(String, Vec<Option<f64>>)>> {
    let series = answer["series"].as_array().context("series")?;
    let line = |line: &Value| {
        let values = line[side].as_array().context("values")?;
        let mode = line["labels"]["mode"].as_str().context("a mode")?.to_owned();
        Ok((mode, values.iter().map(Value::as_f64).collect()))
    };
    series.iter().map(line).collect()
}

#[test]
fn a_window_against_an_earlier_one() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let ask = |question: &str| {
        daemon.get(&format!("/api/v1/query?metric={METRIC}&fn=increase&step=2s&{question}"))
    };
    // Ten measured seconds at least, and then no more changes to what is asked.
    let end_ns = wait_until("ten seconds of history", PATIENCE, || {
        // Before its first tick there is no such metric.
        let Ok(answer) = ask("by=mode&start=-12s") else { return Ok(None) };
        let all_there = |(_, values): &(_, Vec<Option<f64>>)| {
            values.len() > 5 && values[..6].iter().all(Option::is_some)
        };
        let lines = lines(&answer, "values")?;
        let is_there = !lines.is_empty() && lines.iter().all(all_there);
        Ok(is_there.then(|| answer["start_ns"].as_u64()).flatten())
    })? + 12_000_000_000;
    std::thread::sleep(Duration::from_secs(1));
    let end = end_ns / 1_000_000_000;
    let now = format!("start={}&end={end}", end - 6);
    let then = format!("start={}&end={}", end - 12, end - 6);
    let both = ask(&format!("by=mode&{now}&against={}", end - 12))?;
    assert_eq!(both["against"]["start_ns"], Value::from((end - 12) * 1_000_000_000));
    assert_eq!(lines(&both, "values")?, lines(&ask(&format!("by=mode&{now}"))?, "values")?);
    assert_eq!(lines(&both, "against")?, lines(&ask(&format!("by=mode&{then}"))?, "values")?);
    assert!(
        lines(&both, "against")?.iter().any(|(_, values)| values.iter().any(|v| *v > Some(0.0)))
    );

    // Other series in the same window: user mode against itself under another condition.
    let modes = ask(&format!("{now}&by=&match=mode=user&against_match=mode=system"))?;
    let alone = |mode: &str| ask(&format!("{now}&by=&match=mode={mode}"));
    let values = |answer: &Value, side: &str| answer["series"][0][side].clone();
    assert_eq!(values(&modes, "values"), values(&alone("user")?, "values"));
    assert_eq!(values(&modes, "against"), values(&alone("system")?, "values"));
    assert_ne!(values(&modes, "values"), values(&modes, "against"));
    Ok(())
}
