//! `/metrics` by a strict reader, against the API and against docs/metrics.md.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, wait_until, workspace_root};
use serde_json::Value;

use crate::exposition::{Exposition, Labels, parse};
use crate::http::get;

const TICK: Duration = Duration::from_millis(1100);

fn scrape(daemon: &Daemon) -> Result<Exposition> {
    let answer = get(daemon, "/metrics")?;
    assert_eq!(
        answer.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    parse(&answer.body)
}

/// A daemon that has measured the container.
fn daemon_with(container: &Container) -> Result<Daemon> {
    let daemon = Daemon::start(&[])?;
    wait_until("series of the container", Duration::from_secs(10), || {
        let ready = get(&daemon, "/metrics")?.body.contains(container.id());
        Ok(ready.then_some(()))
    })?;
    Ok(daemon)
}

/// What docs/metrics.md says of each metric: help and kind.
fn documented() -> Result<BTreeMap<String, (String, String)>> {
    let text = fs::read_to_string(workspace_root().join("docs/metrics.md"))?;
    let rows = text.lines().filter(|line| line.starts_with("| `cgscope_"));
    let rows = rows.map(|line| {
        let cells: Vec<&str> =
            line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        Some((
            (*cells.first()?).to_owned(),
            ((*cells.get(1)?).to_owned(), (*cells.get(2)?).to_owned()),
        ))
    });
    rows.collect::<Option<_>>().context("a row is short of cells")
}

#[test]
fn help_and_type_are_what_the_reference_says() -> Result<()> {
    let container = Container::run("helped", &["burn", "--seconds", "60"])?;
    let daemon = daemon_with(&container)?;
    let documented = documented()?;
    let exposed = scrape(&daemon)?;
    for (name, family) in &exposed {
        let full = if family.kind == "counter" { format!("{name}_total") } else { name.clone() };
        let (help, kind) =
            documented.get(&full).with_context(|| format!("{full} is not in docs"))?;
        assert_eq!(&family.help, help, "{full}");
        let kind = if kind == "distribution" { "histogram" } else { kind };
        assert_eq!(family.kind, kind, "{full}");
        assert!(!family.samples.is_empty(), "{full} has no series");
    }
    // What may be missing: what this kernel or an idle daemon has no number for.
    for name in documented.keys() {
        let is_there = exposed.contains_key(name.strip_suffix("_total").unwrap_or(name));
        let may_lack = [
            "cgscope_host_pressure",
            "cgscope_own_program",
            "cgscope_block_",
            "cgscope_tcp_",
            "cgscope_udp_",
            "cgscope_dns_",
            "cgscope_memory_",
            "cgscope_syscall_",
            "cgscope_host_cache",
            "cgscope_host_irq_",
            "cgscope_host_softirq_",
            "cgscope_irq_",
            "cgscope_limits_",
            "cgscope_files_",
            "cgscope_own_intake_",
            "cgscope_own_audit_",
            "cgscope_own_flight_",
            "cgscope_own_profiles_",
            "cgscope_own_push_",
        ];
        let may_lack = may_lack.iter().any(|start| name.starts_with(start));
        assert!(is_there || may_lack, "{name} is documented and not exposed");
    }
    Ok(())
}

#[test]
fn counters_never_fall() -> Result<()> {
    let container = Container::run("rising", &["burn", "--seconds", "60"])?;
    let mortal = Container::run("mortal", &["burn", "--seconds", "60"])?;
    let daemon = daemon_with(&container)?;
    let mut before = scrape(&daemon)?;
    let mut compared = 0;
    for round in 0..4 {
        if round == 1 {
            mortal.kill()?;
        }
        sleep(TICK);
        let after = scrape(&daemon)?;
        for (name, family) in before.iter().filter(|(_, family)| family.kind != "gauge") {
            for (series, value) in &family.samples {
                let Some(now) = after.get(name).and_then(|family| family.samples.get(series))
                else {
                    continue;
                };
                assert!(now >= value, "{series:?} fell from {value} to {now}");
                compared += 1;
            }
        }
        before = after;
    }
    assert!(compared > 500, "only {compared} series were compared");
    let key = counter_of(container.id(), "cgscope_sched_switches", &before)?;
    assert!(key > 0.0);
    Ok(())
}

fn counter_of(id: &str, family: &str, exposed: &Exposition) -> Result<f64> {
    let family = exposed.get(family).with_context(|| family.to_owned())?;
    let is_its = |labels: &Labels| labels.get("container_id").is_some_and(|value| value == id);
    let its = family.samples.iter().filter(|((_, labels), _)| is_its(labels));
    Ok(its.map(|(_, value)| value).sum())
}

#[test]
fn it_agrees_with_the_api() -> Result<()> {
    let container = Container::run("agreeing", &["burn", "--seconds", "60"])?;
    let daemon = daemon_with(&container)?;
    let path = format!("/api/v1/containers/{}", container.id());
    let before = scrape(&daemon)?;
    let detail = daemon.get(&path)?;
    let after = scrape(&daemon)?;
    let mut compared = 0;
    for metric in detail["metrics"].as_array().context("metrics")? {
        let name = metric["name"].as_str().context("a name")?;
        let (family, suffix, value) = match metric["kind"].as_str() {
            Some("counter") => {
                (name.strip_suffix("_total").context("_total")?, "_total", &metric["total"])
            }
            // A distribution of the API is of the window; its like in /metrics is since the start.
            _ => continue,
        };
        let value = value.as_f64().context("a number")?;
        let own: Vec<(&str, &str)> = metric["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
            .collect();
        let exposed = |exposition: &Exposition| -> Result<f64> {
            let family = exposition.get(family).with_context(|| family.to_owned())?;
            let found = family.samples.iter().find(|((full, labels), _)| {
                *full
                    == format!(
                        "{family_name}{suffix}",
                        family_name = name.strip_suffix("_total").unwrap_or(name)
                    )
                    && labels.get("container_id").is_some_and(|id| id == container.id())
                    && own.iter().all(|(key, value)| labels.get(*key).is_some_and(|v| v == value))
            });
            found.map(|(_, value)| *value).with_context(|| format!("{name} {own:?} is not exposed"))
        };
        // A series may have begun in between, as of a new culprit.
        let (low, high) = (exposed(&before).unwrap_or(0.0), exposed(&after)?);
        let slack = 1e-9 * high.abs();
        assert!(
            (low - slack..=high + slack).contains(&value),
            "{name} {own:?}: the API says {value}, /metrics {low} before and {high} after"
        );
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} compared: {detail}");
    Ok(())
}

#[test]
fn labels_name_the_container_as_the_api_does() -> Result<()> {
    let container = Container::run("labelled", &["burn", "--seconds", "60"])?;
    let daemon = daemon_with(&container)?;
    let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
    let exposed = scrape(&daemon)?;
    let of_it = exposed["cgscope_sched_cpu_seconds"]
        .samples
        .keys()
        .find(|(_, labels)| labels.get("container_id").is_some_and(|id| id == container.id()));
    let (_, labels) = of_it.context("its series")?;
    for (label, member) in [("container", "name"), ("runtime", "runtime"), ("image", "image")] {
        assert_eq!(Value::from(labels[label].as_str()), detail[member], "{label}");
    }
    for family in exposed.values() {
        for (_, labels) in family.samples.keys() {
            assert!(!labels.contains_key("pid") && !labels.contains_key("tid"), "{labels:?}");
        }
    }
    Ok(())
}
