//! A user without any rights and without a daemon is told what is needed, by every command and with exit code 3.

use anyhow::Result;
use cgscope_tests::as_nobody;
use serde_json::Value;

use crate::assert_refused;

#[test]
fn every_command_that_measures_says_what_it_needs() -> Result<()> {
    for line in [
        "top --once",
        "top --json",
        "latency --duration 1s",
        "states --duration 1s",
        "flamegraph --duration 1s -o -",
        "containers",
        "containers --json",
        "run --listen 127.0.0.1:0 --state-dir .",
    ] {
        let output = as_nobody(&line.split(' ').collect::<Vec<_>>())?;
        assert_refused(&output, 3, &["sudo"]);
        assert!(output.stdout.is_empty(), "{output:?}");
        // The daemon falls over its directory first, which is root's here.
        if !line.starts_with("run") {
            assert_refused(&output, 3, &["CAP_BPF", "CAP_PERFMON"]);
        }
    }
    Ok(())
}

#[test]
fn the_daemon_with_a_directory_of_its_own_names_the_capabilities() -> Result<()> {
    let output = as_nobody(&[
        "run",
        "--listen",
        "127.0.0.1:0",
        "--state-dir",
        &format!("/tmp/cgscope-nobody-{}", std::process::id()),
    ])?;
    std::fs::remove_dir_all(format!("/tmp/cgscope-nobody-{}", std::process::id()))?;
    assert_refused(&output, 3, &["CAP_BPF", "CAP_PERFMON", "sudo"]);
    Ok(())
}

#[test]
fn doctor_tells_what_it_can_and_that_the_rest_needs_privileges() -> Result<()> {
    let output = as_nobody(&["doctor"])?;
    assert_refused(&output, 3, &["CAP_BPF"]);
    assert!(output.stdout.contains("missing   CAP_BPF"), "{}", output.stdout);
    let output = as_nobody(&["doctor", "--json"])?;
    assert_refused(&output, 3, &["CAP_BPF"]);
    let told: Value = serde_json::from_str(&output.stdout)?;
    assert!(told.get("probes").is_none(), "what did not load has no figures: {told}");
    let checks = told["doctor"]["checks"].as_array().expect("checks");
    let status = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.map(|check| check["status"].as_str().unwrap_or_default().to_owned())
    };
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYSLOG"] {
        assert_eq!(status(capability).as_deref(), Some("missing"), "{capability}");
    }
    assert_eq!(status("BTF").as_deref(), Some("ok"), "anyone may read it");
    Ok(())
}

#[test]
fn the_help_needs_nothing() -> Result<()> {
    for flag in ["--help", "--version"] {
        assert_eq!(as_nobody(&[flag])?.status, Some(0));
    }
    Ok(())
}
