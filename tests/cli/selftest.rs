//! The selftest on this machine, and that it fails where nothing can be recorded.

use anyhow::{Context, Result};
use cgscope_tests::{cli, cli_json};

#[test]
fn recordings_are_right_here() -> Result<()> {
    let report = cli_json(&["selftest", "--standalone"])?;
    let checks = report["checks"].as_array().context("checks")?;
    let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report["score"], 1.0);
    for recording in ["cpu", "offcpu", "lock", "block", "fault", "memory", "network"] {
        let passed =
            checks.iter().filter(|c| c["recording"] == recording && c["verdict"] == "passed");
        assert!(passed.count() >= 2, "{recording}: {checks:#?}");
    }
    // This machine has perf.
    let by_perf = checks.iter().filter(|check| check["truth"] == "perf record");
    assert_eq!(by_perf.filter(|check| check["verdict"] == "passed").count(), 3, "{checks:#?}");
    let is_told = |check: &serde_json::Value| {
        check["verdict"] != "unchecked" || check["why"].as_str().is_some_and(|why| !why.is_empty())
    };
    assert!(checks.iter().all(is_told), "{checks:#?}");
    Ok(())
}

#[test]
fn where_nothing_can_be_recorded_it_fails() -> Result<()> {
    let output = cli(&["selftest", "--standalone", "--disable", "profile"])?;
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("nothing could be checked"), "{output:?}");
    assert!(output.stdout.contains("was not checked: "), "{output:?}");
    Ok(())
}
