//! Limits that are changed while the daemon runs.

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, Scrape, wait_until};
use serde_json::{Value, json};

use crate::{PATIENCE, daemon, file, read_until};

fn quota_s(container: &Container, scrape: &Scrape) -> f64 {
    scrape.of(container.id()).sum("cgscope_limits_cpu_quota_seconds", &[])
}

/// What the daemon says was changed of a container, the newest first: old and new by metric.
fn changes(daemon: &Daemon, container: &Container) -> Result<Vec<(String, Value, Value)>> {
    let list = daemon.get(&format!("/api/v1/changes?container={}", container.id()))?;
    let list = list["changes"].as_array().context("changes")?.clone();
    list.into_iter()
        .map(|change| {
            assert_eq!(change["container"], container.id());
            assert_eq!(change["name"], container.name());
            assert!(change["at"].as_u64() > Some(0), "{change}");
            let metric = change["metric"].as_str().context("metric")?.to_owned();
            Ok((metric, change["old"].clone(), change["new"].clone()))
        })
        .collect()
}

#[test]
fn a_change_is_noticed_with_what_it_was() -> Result<()> {
    let daemon = daemon()?;
    let limited =
        ContainerOptions::new().cpu_quota(0.2).run("limited", &["burn", "--seconds", "300"])?;
    let free = Container::run("free", &["burn", "--seconds", "300"])?;
    let scrape = read_until(&daemon, |scrape| quota_s(&limited, scrape) == 0.02)?;
    assert_eq!(quota_s(&limited, &scrape), 0.02, "it came after the daemon");
    // What its runtime set after it had made the cgroup may have been seen as a change: only what comes now counts.
    let before = changes(&daemon, &limited)?.len();
    file::set_quota(&limited, Some(50_000))?;
    let scrape = read_until(&daemon, |scrape| quota_s(&limited, scrape) == 0.05)?;
    assert_eq!(quota_s(&limited, &scrape), 0.05);
    file::set_quota(&limited, None)?;
    let metric = "cgscope_limits_cpu_quota_seconds";
    let scrape = read_until(&daemon, |scrape| !scrape.of(limited.id()).has(metric))?;
    assert!(!scrape.of(limited.id()).has(metric), "absent: it has none any more");
    assert!(scrape.of(limited.id()).has("cgscope_limits_cpu_periods_total"), "it had one");
    let mut seen = changes(&daemon, &limited)?;
    seen.truncate(seen.len() - before);
    seen.retain(|(name, ..)| name == metric);
    let metric = metric.to_owned();
    let truth = [(metric.clone(), json!(0.05), Value::Null), (metric, json!(0.02), json!(0.05))];
    assert_eq!(seen, truth);
    let of_free = changes(&daemon, &free)?;
    assert!(of_free.iter().all(|(_, old, _)| old.is_null()), "not its neighbour's: {of_free:?}");
    Ok(())
}

#[test]
fn limits_of_memory_are_noticed_too() -> Result<()> {
    let daemon = Daemon::start(&["--disable", "profile,tcp,block"])?;
    let options = ContainerOptions::new().argument("--memory=64m").argument("--memory-swap=64m");
    let limited = options.run("limited", &["forker", "--seconds", "300"])?;
    let limit = |scrape: &Scrape| scrape.of(limited.id()).sum("cgscope_memory_limit_bytes", &[]);
    let was = f64::from(64 << 20);
    assert_eq!(limit(&read_until(&daemon, |scrape| limit(scrape) == was)?), was);
    let now = 48 << 20;
    file::write(&limited, "memory", "memory.limit_in_bytes", "memory.max", &now.to_string())?;
    let change = wait_until("the change", PATIENCE, || {
        let mut changes = changes(&daemon, &limited)?.into_iter();
        Ok(changes.find(|(metric, ..)| metric == "cgscope_memory_limit_bytes"))
    })?;
    assert_eq!((change.1.as_f64(), change.2.as_f64()), (Some(was), Some(f64::from(now))));
    Ok(())
}
