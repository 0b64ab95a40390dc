//! Containers found by a cgroup v1 hierarchy.

use anyhow::{Context, Result};
use cgscope_tests::{Container, truth};

use crate::common::{assert_cpu_time, daemon};

#[test]
fn v1_gives_each_container_its_own_time() -> Result<()> {
    let daemon = daemon(&["--identity", "v1:cpu"])?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    let asleep = Container::run("asleep", &["sleep", "60"])?;
    let cgroup = container.cgroup_v1("cpuacct")?;
    assert_cpu_time(&daemon, &container, || truth::cpuacct_usage_ns(&cgroup))?;
    let (scrape, _) = daemon.next_tick()?;
    let slept = scrape.of(asleep.id());
    assert!(slept.is_known(), "the sleeping container has no series");
    assert!(slept.cpu_ns() < 0.1 * scrape.of(container.id()).cpu_ns(), "{slept:?}");
    let detail = daemon.get(&format!("/api/v1/containers/{}", container.name()))?;
    assert_eq!(detail["id"], container.id(), "found by its name");
    let doctor = daemon.get("/api/v1/doctor")?;
    let checks = doctor["checks"].as_array().context("checks")?;
    let identity = checks.iter().find(|check| check["name"] == "container identity");
    let detail = identity.context("no check of the identity")?["detail"].to_string();
    assert!(detail.contains("v1:cpu"), "{detail}");
    Ok(())
}
