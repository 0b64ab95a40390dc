//! What several of these tests hold against the kernel.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, between_stops, truth};

/// How long a container is observed.
pub const WINDOW: Duration = Duration::from_secs(3);

/// A daemon that ticks often, with `flags`.
pub fn daemon(flags: &[&str]) -> Result<Daemon> {
    Daemon::start(&[&["--interval", "100ms"], flags].concat())
}

/// `usage_usec` of the container's cgroup, in ns.
pub fn usage_ns(container: &Container) -> Result<u64> {
    let stat = truth::cpu_stat(&container.cgroup_v2()?)?;
    Ok(stat.get("usage_usec").context("cpu.stat has no usage_usec")? * 1000)
}

/// Panics unless `seen` is within `share` of `truth`.
#[track_caller]
pub fn close(what: &str, seen: f64, truth: f64, share: f64) {
    assert!(
        (seen - truth).abs() <= share * truth,
        "{what}: cgscope says {seen:.0}, the kernel {truth:.0} ({:+.2} %), allowed {:.2} %",
        100.0 * (seen - truth) / truth,
        100.0 * share
    );
}

/// Observes a container and holds its CPU time against `usage_ns`, within 1 %.
pub fn assert_cpu_time(
    daemon: &Daemon,
    container: &Container,
    usage_ns: impl FnMut() -> Result<u64>,
) -> Result<()> {
    let span = between_stops(daemon, &[container], WINDOW, usage_ns)?;
    let (seen, truth) = span.rise(|scrape| scrape.of(container.id()).cpu_ns(), |&ns| ns);
    assert!(truth > 1e8, "the load did not run: {truth:.0} ns of CPU time");
    close("CPU time, ns", seen, truth, 0.01);
    Ok(())
}
