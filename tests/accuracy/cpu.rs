//! CPU time and run queue wait of a container against its cgroup and its threads.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, Span, between_stops, truth};

use crate::close::close;
use crate::{WINDOW, daemon};

/// `usage_usec` of the container's cgroup, in ns.
pub fn usage_ns(container: &Container) -> Result<u64> {
    let stat = truth::cpu_stat(&container.cgroup_v2()?)?;
    Ok(stat.get("usage_usec").context("cpu.stat has no usage_usec")? * 1000)
}

/// How long CPU time is compared.
const LONG_WINDOW: Duration = Duration::from_secs(10);

fn observe(daemon: &Daemon, container: &Container) -> Result<Span<u64>> {
    between_stops(daemon, &[container], LONG_WINDOW, || usage_ns(container))
}

/// Within 1 % of the cgroup's own account.
#[track_caller]
pub fn assert_cpu_agrees(span: &Span<u64>, container: &Container) {
    let (seen, truth) = span.rise(|s| s.of(container.id()).cpu_ns(), |&ns| ns);
    assert!(truth > 1e8, "the load did not run: {truth:.0} ns of CPU time by cpu.stat");
    close("CPU time, ns", seen, truth, 0.01, 0.0);
}

#[test]
fn one_burner() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    assert_cpu_agrees(&observe(&daemon, &container)?, &container);
    Ok(())
}

/// Processes that live for milliseconds: their time is not lost with them.
#[test]
fn fifty_short_lived_processes_a_second() -> Result<()> {
    let daemon = daemon()?;
    for flags in [&[][..], &["--exec"][..]] {
        let command = [&["forker", "--rate", "50", "--seconds", "60"], flags].concat();
        let container = Container::run("forker", &command)?;
        let span = observe(&daemon, &container)?;
        assert_cpu_agrees(&span, &container);
        let forks = span.rise(|s| s.of(container.id()).processes("forks") as f64, |_| 0).0;
        let exits = span.rise(|s| s.of(container.id()).processes("exits") as f64, |_| 0).0;
        let execs = span.rise(|s| s.of(container.id()).processes("execs") as f64, |_| 0).0;
        assert!(forks > 50.0, "{forks} forks in {LONG_WINDOW:?} at 50 a second");
        assert!((forks - exits).abs() <= 1.0, "{forks} processes began and {exits} ended");
        let expected = if flags.is_empty() { 0.0 } else { forks };
        assert!((execs - expected).abs() <= 1.0, "{forks} forks and {execs} execs with {flags:?}");
    }
    Ok(())
}

/// Births by the daemon, for a whole life, against what the fixture counted.
#[test]
fn every_child_is_counted() -> Result<()> {
    let daemon = daemon()?;
    let before = Container::run("before", &["sleep", "60"])?;
    let container = Container::run("forker", &["forker", "--rate", "200", "--seconds", "60"])?;
    std::thread::sleep(WINDOW / 2);
    let children = container.stop()?["children"].as_u64().context("children")?;
    let (scrape, _) = daemon.next_tick()?;
    let forks = scrape.of(container.id()).processes("forks");
    assert!(children > 100, "the fixture made {children} children");
    // The runtime forks a few times in the container before the fixture begins.
    let beginning = scrape.of(before.id()).processes("forks");
    assert!(
        (children..=children + beginning + 5).contains(&forks),
        "{forks} forks, the fixture counted {children}; a container that only sleeps had {beginning}"
    );
    Ok(())
}

#[test]
fn eight_threads_contending() -> Result<()> {
    let daemon = daemon()?;
    let options = ContainerOptions::new();
    let container = options.run("contend", &["contend", "--threads", "8", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let span = between_stops(&daemon, &[&container], LONG_WINDOW, || {
        let switches = truth::process_context_switches(pid)?;
        Ok((usage_ns(&container)?, truth::process_sched_stat(pid)?, switches))
    })?;
    let (seen, truth) = span.rise(|s| s.of(container.id()).cpu_ns(), |t| t.0);
    close("CPU time, ns", seen, truth, 0.01, 0.0);
    let (seen, truth) =
        span.rise(|s| s.of(container.id()).state_ns("runnable"), |t| t.1.run_delay_ns);
    assert!(truth > 5e9, "eight threads were to contend, and waited {truth:.0} ns only");
    close("runqueue wait, ns", seen, truth, 0.01, 0.0);
    let (seen, truth) = span.rise(|s| s.of(container.id()).runqueue().1 as f64, |t| t.1.slices);
    close("times put on a CPU", seen, truth, 0.001, 8.0);
    for kind in ["voluntary", "involuntary"] {
        let (seen, truth) = span.rise(
            |s| s.of(container.id()).switches(kind) as f64,
            |t| if kind == "voluntary" { t.2.voluntary } else { t.2.involuntary },
        );
        assert_eq!(seen, truth, "{kind} switches of eight threads");
    }
    Ok(())
}
