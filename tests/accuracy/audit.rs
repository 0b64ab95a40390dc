//! The daemon's own audit: silent where it counts right, loud where something is attributed wrongly.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, PlainCgroup, wait_until};
use serde_json::Value;

/// A check says something ten seconds after it was first made, and a container's files are read by turns.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows about less than this say little.
const LEAST_CPU_SECONDS: f64 = 1.0;

fn checks(daemon: &Daemon) -> Result<Vec<Value>> {
    let report = daemon.get("/api/v1/audit")?;
    report["checks"].as_array().cloned().context("checks")
}

fn check(daemon: &Daemon, name: &str) -> Result<Option<Value>> {
    Ok(checks(daemon)?.into_iter().find(|check| check["name"] == name))
}

/// The row of one subject, once the kernel's account of it has risen by so much.
fn row(daemon: &Daemon, check_name: &str, subject: &str, least: f64) -> Result<Value> {
    wait_until(&format!("{check_name} of {subject}"), PATIENCE, || {
        let check = check(daemon, check_name)?;
        let rows = check.iter().flat_map(|check| check["subjects"].as_array()).flatten();
        let row = rows.into_iter().find(|row| row["subject"] == subject);
        Ok(row.filter(|row| row["expected"].as_f64() >= Some(least)).cloned())
    })
}

fn number(value: &Value, member: &str) -> Result<f64> {
    value[member].as_f64().with_context(|| format!("{member} in {value}"))
}

#[test]
fn a_daemon_that_counts_right_is_not_off() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let burner = Container::run("burner", &["burn", "--seconds", "300"])?;
    let quota = ContainerOptions::new().cpu_quota(0.3);
    let limited = quota.run("limited", &["burn", "--seconds", "300"])?;
    let command = ["forker", "--rate", "50", "--exec", "--seconds", "300"];
    let forker = Container::run("forker", &command)?;
    for container in [&burner, &limited, &forker] {
        let row = row(&daemon, "cpu_of_containers", container.id(), LEAST_CPU_SECONDS)?;
        let (error, expected) = (number(&row, "error")?, number(&row, "expected")?);
        assert!(error.abs() <= 0.01 * expected, "{}: {row}", container.name());
        // Both sides are there, and not one shown twice.
        assert_ne!(row["counted"], row["expected"], "{row}");
    }
    row(&daemon, "cpu_of_host", "host", LEAST_CPU_SECONDS)
        .or_else(|_| row(&daemon, "cpu_by_tick", "host", LEAST_CPU_SECONDS))?;
    let all = checks(&daemon)?;
    // What the API shows is in the metrics of the next tick.
    let scrape = wait_until("every check in /metrics", PATIENCE, || {
        let scrape = daemon.scrape()?;
        let has = |check: &Value| {
            let mut of = scrape.iter().filter(|s| s.name == "cgscope_own_audit_error_ratio");
            of.any(|s| s.labels.get("check").map(String::as_str) == check["name"].as_str())
        };
        Ok(all.iter().all(has).then_some(scrape))
    })?;
    for check in all {
        let (name, ratio) =
            (check["name"].as_str().context("name")?, number(&check, "error_ratio")?);
        eprintln!("{name}: {ratio:.5}, {} against {}", check["counted"], check["expected"]);
        // What the kernel samples by its tick is only roughly so; what disks do for others is not this test's.
        let allowed = if check["is_sampled"] == true { 0.1 } else { 0.01 };
        assert!(!name.starts_with("cpu_") || ratio <= allowed, "{check}");
        let has = |metric: &str| {
            scrape
                .iter()
                .any(|s| s.name == metric && s.labels.get("check").is_some_and(|c| c == name))
        };
        assert!(has("cgscope_own_audit_error_ratio"), "{name} is not in /metrics");
    }
    let doctor = daemon.get("/api/v1/doctor")?;
    let audits = doctor["checks"].as_array().into_iter().flatten();
    let audits =
        audits.filter(|check| check["name"].as_str().is_some_and(|n| n.starts_with("audit ")));
    let cpu = audits.filter(|a| a["name"].as_str().is_some_and(|name| name.contains("cpu_")));
    let states: Vec<&Value> = cpu.map(|audit| &audit["status"]).collect();
    assert!(states.len() >= 2 && states.iter().all(|state| **state == "ok"), "{doctor}");
    let report = daemon.get("/api/v1/audit")?;
    let per_tick_ns = number(&report, "spent_ns")? / number(&report, "rounds")?;
    eprintln!("a tick's audit takes {per_tick_ns:.0} ns");
    assert!(per_tick_ns < 10e6, "{per_tick_ns:.0} ns of a tick of 1 s is more than 1 %");
    Ok(())
}

/// What has no slot is nobody's: what the container used is missing, though in sum nothing is.
#[test]
fn time_that_is_attributed_to_nobody_shows() -> Result<()> {
    // The fewest slots there can be, and more cgroups than that, each with a living process.
    let mut squatters = Vec::new();
    for i in 0..20 {
        let cgroup = PlainCgroup::new(&format!("audited-{i}"))?;
        let child = Command::new("sleep").arg("300").spawn()?;
        cgroup.add(child.id())?;
        // The handle of the cgroup kills the process.
        squatters.push((cgroup, child));
    }
    let daemon = Daemon::start(&["--max-cgroups", "16"])?;
    let hidden = Container::run("hidden", &["burn", "--seconds", "300"])?;
    let row = row(&daemon, "cpu_of_containers", hidden.id(), LEAST_CPU_SECONDS)?;
    assert_eq!(row["counted"], 0.0, "{row}");
    let (error, expected) = (number(&row, "error")?, number(&row, "expected")?);
    assert!(error < -0.9 * expected, "{row}");
    let found = check(&daemon, "cpu_of_containers")?.context("the check")?;
    assert!(number(&found, "error_ratio")? > 0.5, "{found}");
    let sum = wait_until("the sum of all", PATIENCE, || {
        let sampled = check(&daemon, "cpu_by_tick")?;
        Ok(check(&daemon, "cpu_of_host")?.or(sampled))
    })?;
    assert!(number(&sum, "error_ratio")? <= 0.1, "all together nothing is missing: {sum}");
    let doctor = daemon.get("/api/v1/doctor")?;
    let told = doctor["checks"].as_array().into_iter().flatten();
    let told = told.into_iter().find(|check| check["name"] == "audit cpu_of_containers");
    let told = told.context("the check in doctor")?;
    assert_eq!(told["status"], "degraded", "{told}");
    assert!(told["detail"].as_str().is_some_and(|text| text.contains("furthest off")), "{told}");
    for (cgroup, mut child) in squatters {
        drop(cgroup);
        child.wait()?;
    }
    Ok(())
}
