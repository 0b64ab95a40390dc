//! What was measured is there after a restart and after SIGKILL, under the name of a container that is gone.

use std::time::Instant;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, scratch_dir, truth, wait_until};
use tempfile::TempDir;

use crate::common::{PATIENCE, daemon, doctor, own, total, wait_written};

const CPU: &str = "cgscope_sched_cpu_seconds_total";

/// CPU time of a container's cgroup, s.
fn usage_s(container: &Container) -> Result<f64> {
    let stat = truth::cpu_stat(&container.cgroup_v2()?)?;
    Ok(*stat.get("usage_usec").context("cpu.stat has no usage_usec")? as f64 * 1e-6)
}

#[test]
fn a_dead_container_is_askable_by_name_after_kill_and_restart() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let mut first = daemon(directory.path())?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    wait_until("three seconds of load", PATIENCE, || {
        Ok((usage_s(&container)? > 3.0).then_some(()))
    })?;
    // Its time to the end lies between what its cgroup says now and that with the time until it is gone.
    let begun = Instant::now();
    let least_s = usage_s(&container)?;
    container.kill()?;
    let most_s = least_s + begun.elapsed().as_secs_f64();
    // Two ticks more, so that the last of it is on disk.
    let samples = own(&first, "cgscope_own_history_series", &[])?;
    wait_written(&first, samples * 2.0)?;
    let before = total(&first, CPU, container.name(), "increase")?.context("no history")?;
    // 1 % is what the accuracy of CPU time is held to elsewhere.
    assert!(
        before > least_s * 0.99 && before < most_s * 1.01 + 0.05,
        "history has {before} s, the cgroup between {least_s} and {most_s}"
    );
    let samples_before = first.get("/api/v1/series?limit=1")?["total"].clone();
    first.kill9()?;

    let mut second = daemon(directory.path())?;
    let after = total(&second, CPU, container.name(), "increase")?.context("it is forgotten")?;
    assert!((after - before).abs() < 1e-9, "{before} s before the kill, {after} s after it");
    assert!(second.get("/api/v1/series?limit=1")?["total"].as_u64() >= samples_before.as_u64());
    let names = second.get(&format!("/api/v1/labels/container?metric={CPU}"))?;
    let names = names["values"].as_array().context("values")?;
    assert!(names.iter().any(|name| name == container.name()), "{names:?}");
    assert_eq!(doctor(&second)?["status"], "ok");
    second.terminate()?;

    let third = daemon(directory.path())?;
    let again = total(&third, CPU, container.name(), "increase")?.context("it is forgotten")?;
    assert!((again - before).abs() < 1e-9, "{before} s before the restart, {again} s after it");
    Ok(())
}

/// The time between two daemons is a gap, not a line.
#[test]
fn a_gap_is_a_gap() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let mut first = daemon(directory.path())?;
    wait_written(&first, 100.0)?;
    first.terminate()?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    let second = daemon(directory.path())?;
    wait_written(&second, 100.0)?;
    let path = "/api/v1/query?metric=cgscope_host_memory_bytes&start=-2m&step=1s&by=";
    let answer = second.get(path)?;
    let values = answer["series"][0]["values"].as_array().context("values")?;
    let there: Vec<bool> = values.iter().map(|value| !value.is_null()).collect();
    let first = there.iter().position(|there| *there).context("nothing")?;
    let last = there.iter().rposition(|there| *there).context("nothing")?;
    let longest = there[first..last].split(|there| *there).map(<[bool]>::len).max();
    assert!(longest >= Some(3), "no gap in {values:?}");
    Ok(())
}

#[test]
fn without_history_the_past_is_refused_and_nothing_is_written() -> Result<()> {
    let daemon = Daemon::start(&["--no-history"])?;
    let answer = daemon.answer("/api/v1/query?metric=cgscope_host_load")?;
    assert_eq!(answer.status, 501, "{}", answer.body);
    assert!(answer.body.contains("--no-history"), "{}", answer.body);
    assert!(!daemon.directory().join("history").exists());
    Ok(())
}
