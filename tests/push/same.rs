//! The same question has the same answer there and here, also after the receiver was away.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, wait_until};
use serde_json::Value;

use crate::receiver::{Program, Receiver};

const PATIENCE: Duration = Duration::from_secs(60);

fn daemon(receiver: &Receiver) -> Result<Daemon> {
    Daemon::start(&[
        "--remote-write",
        &receiver.url(),
        "--remote-write-interval",
        "1s",
        "--remote-write-label",
        "instance=host-1",
    ])
}

fn now_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn own(daemon: &Daemon, name: &str) -> Result<f64> {
    Ok(daemon.scrape()?.sum(name, &[]))
}

/// Values by labels, without those that only pushing adds.
fn values(answer: &Value) -> Result<BTreeMap<String, f64>> {
    let result = answer["data"]["result"].as_array().with_context(|| answer.to_string())?;
    let mut values = BTreeMap::new();
    for series in result {
        let mut labels = series["metric"].as_object().context("metric")?.clone();
        for added in ["job", "instance"] {
            labels.remove(added);
        }
        let value = series["value"][1].as_str().context("value")?.parse()?;
        values.insert(Value::Object(labels).to_string(), value);
    }
    Ok(values)
}

fn ours(daemon: &Daemon, query: &str, at_s: f64) -> Result<BTreeMap<String, f64>> {
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    values(&daemon.get(&format!("/prometheus/api/v1/query?query={query}&time={at_s}"))?)
}

fn compare(daemon: &Daemon, receiver: &Receiver, query: &str, at_s: f64) -> Result<()> {
    let (here, there) = (ours(daemon, query, at_s)?, values(&receiver.query(query, at_s)?)?);
    ensure!(!here.is_empty(), "{query} has no answer here");
    ensure!(here.len() == there.len(), "{query}\nhere {here:?}\nthere {there:?}");
    for (labels, value) in &here {
        let other = there.get(labels).with_context(|| format!("{query}: {labels} is not there"))?;
        // Totals are added up here and subtracted there: the last bits differ.
        let is_same = (value - other).abs() <= 1e-9 * value.abs().max(1.0);
        ensure!(is_same, "{query} {labels}: {value} here, {other} there");
    }
    Ok(())
}

/// What has been pushed up to now, and an instant all samples of which are there.
fn wait_pushed(daemon: &Daemon, seconds: f64) -> Result<f64> {
    let until = now_s()? + seconds;
    sleep(Duration::from_secs_f64(seconds));
    wait_until("everything to be pushed", PATIENCE, || {
        let waiting = own(daemon, "cgscope_own_push_waiting")?;
        Ok((waiting == 0.0 && now_s()? > until + 2.0).then_some(()))
    })?;
    Ok(until.floor())
}

fn the_same_there_and_here(program: Program) -> Result<()> {
    let receiver = Receiver::start(program)?;
    let daemon = daemon(&receiver)?;
    let container = Container::run("burn", &["burn", "--seconds", "120"])?;
    // From here on each has seen the other.
    wait_until("the container to be pushed", PATIENCE, || {
        let name = container.name();
        let query = format!("cgscope_sched_cpu_seconds_total{{container={name:?}}}");
        Ok((!values(&receiver.query(&query, now_s()?)?)?.is_empty()).then_some(()))
    })?;
    let at_s = wait_pushed(&daemon, 12.0)?;
    let of = format!("{{container={:?}}}", container.name());
    let cpu = format!("cgscope_sched_cpu_seconds_total{of}");
    let gained = format!("{cpu} - {cpu} offset 8s");
    let latency = format!("cgscope_sched_runqueue_latency_seconds_bucket{of}");
    let latency = format!("{latency} - {latency} offset 8s");
    for query in ["cgscope_host_memory_bytes", &gained, &latency] {
        compare(&daemon, &receiver, query, at_s)?;
    }
    let cpu_s = ours(&daemon, &gained, at_s)?.into_values().sum::<f64>();
    ensure!(cpu_s > 4.0, "a burner had {cpu_s} s of CPU time in 8 s");
    if program == Program::Prometheus {
        // Its own functions: the other one's extrapolate in another way.
        let rate =
            format!("sum by (le) (rate(cgscope_sched_runqueue_latency_seconds_bucket{of}[8s]))");
        for query in [format!("increase({cpu}[8s])"), format!("histogram_quantile(0.9, {rate})")] {
            compare(&daemon, &receiver, &query, at_s)?;
        }
    }
    let labels = receiver.query(&cpu, at_s)?["data"]["result"][0]["metric"].clone();
    ensure!(labels["instance"] == "host-1" && labels["job"] == "cgscope", "{labels}");
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == 0.0);
    Ok(())
}

#[test]
fn prometheus_has_what_is_here() -> Result<()> {
    the_same_there_and_here(Program::Prometheus)
}

#[test]
fn victoria_metrics_has_what_is_here() -> Result<()> {
    the_same_there_and_here(Program::VictoriaMetrics)
}

/// What could not be pushed is pushed later, in order: no sample is missing.
#[test]
fn a_receiver_that_was_away_misses_nothing() -> Result<()> {
    let mut receiver = Receiver::start(Program::Prometheus)?;
    let daemon = daemon(&receiver)?;
    wait_pushed(&daemon, 3.0)?;
    receiver.kill()?;
    sleep(Duration::from_secs(5));
    ensure!(own(&daemon, "cgscope_own_push_waiting")? > 0.0, "nothing waits");
    receiver.start_again()?;
    let at_s = wait_pushed(&daemon, 3.0)?;
    ensure!(own(&daemon, "cgscope_own_push_retries_total")? > 0.0);
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == 0.0);
    compare(&daemon, &receiver, "count_over_time(cgscope_host_memory_bytes[8s])", at_s)?;
    Ok(())
}

/// A receiver that takes nothing is told of, and what it refuses is counted and given up.
#[test]
fn what_is_refused_is_counted() -> Result<()> {
    let receiver = Receiver::start(Program::Prometheus)?;
    let wrong = receiver.url().replace("/api/v1/write", "/api/v1/no-such-path");
    let daemon = Daemon::start(&["--remote-write", &wrong, "--remote-write-interval", "1s"])?;
    wait_until("a refusal", PATIENCE, || {
        let refused =
            daemon.scrape()?.sum("cgscope_own_push_dropped_total", &[("reason", "refused")]);
        Ok((refused > 0.0).then_some(()))
    })?;
    ensure!(own(&daemon, "cgscope_own_push_samples_total")? == 0.0);
    ensure!(daemon.log().contains("refuses"), "{}", daemon.log());
    Ok(())
}
