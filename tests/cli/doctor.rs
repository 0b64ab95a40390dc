//! `doctor` against the kernel's own account: every hook in use, what is missing, with and without tracefs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, bpf, cgscope_binary, cli, cli_json, run_captured};
use serde_json::Value;

fn checks(examination: &Value) -> Result<BTreeMap<String, Value>> {
    let checks = examination["doctor"]["checks"].as_array().context("checks")?;
    let named =
        checks.iter().map(|check| Some((check["name"].as_str()?.to_owned(), check.clone())));
    named.collect::<Option<_>>().context("a check without a name")
}

#[test]
fn every_hook_in_use_is_named() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let examination = daemon.cli_json(&["doctor"])?;
    let checks = checks(&examination)?;
    let loaded = bpf::programs_of(daemon.pid())?;
    let reported = examination["probes"]["programs"].as_array().context("programs")?;
    for program in &loaded {
        let of_report = reported
            .iter()
            .find(|row| row["name"].as_str().is_some_and(|name| program.is_named(name)));
        let name = of_report
            .with_context(|| format!("the kernel has {} and doctor does not tell", program.name))?
            ["name"]
            .as_str()
            .context("a name")?;
        let check = checks.get(&format!("program {name}")).with_context(|| name.to_owned())?;
        assert_eq!(check["status"], "ok", "{check}");
        let detail = check["detail"].as_str().context("a detail")?;
        let is_hook = ["tp_btf ", "raw_tp ", "tracepoint ", "iter ", "perf_event ", "on demand "]
            .iter()
            .any(|kind| detail.starts_with(kind) && detail.len() > kind.len());
        assert!(is_hook, "{name}: {detail}");
    }
    assert_eq!(loaded.len(), reported.len(), "what is not loaded is not counted as loaded");
    assert_eq!(checks["container identity"]["status"], "ok");
    Ok(())
}

#[test]
fn what_is_missing_is_told_with_a_remedy() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for examination in [daemon.cli_json(&["doctor"])?, cli_json(&["doctor"])?] {
        let checks = checks(&examination)?;
        let devices = Path::new("/sys/bus/event_source/devices");
        for (name, is_there) in [
            ("kprobes", devices.join("kprobe").exists()),
            ("uprobes", devices.join("uprobe").exists()),
            (
                "hardware counters",
                ["cpu", "cpu_core", "armv8_pmuv3_0"].iter().any(|pmu| devices.join(pmu).exists()),
            ),
            ("BTF", Path::new("/sys/kernel/btf/vmlinux").exists()),
        ] {
            let check = &checks[name];
            assert_eq!(check["status"] == "ok", is_there, "{check}");
            assert_eq!(check["remedy"] == "", is_there, "{check}");
        }
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        assert_eq!(examination["doctor"]["kernel"], release.trim());
    }
    Ok(())
}

#[test]
fn a_family_that_is_off_is_told_with_its_metrics() -> Result<()> {
    let examination = cli_json(&["doctor", "--disable", "process,profile"])?;
    let checks = checks(&examination)?;
    let process = &checks["family process"];
    assert_eq!(process["status"], "missing");
    let affected = process["metrics_affected"].as_array().context("metrics")?;
    assert!(affected.iter().any(|name| name == "cgscope_process_forks_total"), "{process}");
    assert!(!checks.contains_key("program process_fork"), "it is not loaded");
    assert!(checks.contains_key("program sched_switch"));
    Ok(())
}

#[test]
fn people_read_the_same_as_programs() -> Result<()> {
    let text = cli(&["doctor"])?;
    assert_eq!(text.status, Some(0), "{text:?}");
    for name in checks(&cli_json(&["doctor"])?)?.keys().filter(|name| !name.starts_with("loss ")) {
        assert!(text.stdout.contains(&format!("  {name}: ")), "{name} in {}", text.stdout);
    }
    for part in ["PROGRAM", "NS/CALL", "sched_switch", "memory ", "kernel maps "] {
        assert!(text.stdout.contains(part), "{part} in {}", text.stdout);
    }
    Ok(())
}

#[test]
fn without_tracefs_it_works_and_says_how_to_mount_it() -> Result<()> {
    let script = format!(
        "! mountpoint -q /sys/kernel/tracing || umount /sys/kernel/tracing; \
         ! mountpoint -q /sys/kernel/debug || umount -l /sys/kernel/debug; exec {} doctor --json --standalone",
        cgscope_binary().display()
    );
    // Mounts of its own: the machine's stay as they are.
    let output = run_captured(Command::new("unshare").args(["--mount", "sh", "-c", &script]))?;
    let examination = output.json()?;
    let checks = checks(&examination)?;
    let tracefs = &checks["tracefs"];
    if tracefs["status"] == "ok" {
        assert!(output.stderr.is_empty(), "it mounted it by itself: {output:?}");
    } else {
        assert_eq!(tracefs["status"], "missing", "{tracefs}");
        assert_eq!(tracefs["remedy"], "mount -t tracefs tracefs /sys/kernel/tracing");
    }
    // No hook in use needs it.
    assert_eq!(checks["program sched_switch"]["status"], "ok", "{examination}");
    Ok(())
}
