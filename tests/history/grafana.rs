//! Prometheus' HTTP API as Grafana asks it: the shapes of its requests, the names of `/metrics`, and hostile ones.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{PATIENCE, daemon, wait_written};

const API: &str = "/prometheus/api/v1";
const SWITCHES: &str = "cgscope_host_context_switches_total";

fn data(body: &str) -> Result<Value> {
    let answer: Value = serde_json::from_str(body)?;
    ensure!(answer["status"] == "success", "{body}");
    Ok(answer["data"].clone())
}

fn get(daemon: &Daemon, path: &str) -> Result<Value> {
    data(&daemon.text(&format!("{API}/{path}"))?).with_context(|| path.to_owned())
}

fn post(daemon: &Daemon, path: &str, form: &str) -> Result<Value> {
    let answer = daemon.post_form(&format!("{API}/{path}"), form)?;
    ensure!(answer.status == 200, "{path} {form}: {} {}", answer.status, answer.body);
    data(&answer.body).with_context(|| path.to_owned())
}

fn texts(value: &Value) -> Result<BTreeSet<String>> {
    let list = value.as_array().with_context(|| format!("no list: {value}"))?;
    list.iter().map(|v| Ok(v.as_str().context("a text")?.to_owned())).collect()
}

fn now_s() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[test]
fn its_requests_are_answered() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    let cpu = format!("cgscope_sched_cpu_seconds_total{{container=\"{}\"}}", container.name());
    wait_until("the container to be in history", PATIENCE, || {
        let query = cpu.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let found =
            get(&daemon, &format!("query?query=count_over_time({query}%5B1m%5D)%20%3E%203"))?;
        Ok(found["result"].as_array().is_some_and(|r| !r.is_empty()).then_some(()))
    })?;
    let (now, start) = (now_s(), now_s() - 3600.0);
    let range = format!("start={start:.3}&end={now:.3}");

    // "Save & test" of the data source.
    let one = post(&daemon, "query", &format!("query=1%2B1&time={now:.3}"))?;
    assert_eq!(one["resultType"], "scalar");
    assert_eq!(one["result"][1], "2");
    assert!(get(&daemon, "status/buildinfo")?["version"].is_string());

    // The query builder: metrics, labels, values, kinds.
    let names = texts(&get(&daemon, &format!("label/__name__/values?{range}"))?)?;
    for name in [SWITCHES, "cgscope_sched_runqueue_latency_seconds_bucket", "cgscope_host_load"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    assert!(!names.contains("cgscope_sched_runqueue_latency_seconds"));
    let labels =
        format!("{range}&match%5B%5D=%7B__name__%3D%22cgscope_sched_cpu_seconds_total%22%7D");
    let labels = texts(&post(&daemon, "labels", &labels)?)?;
    for name in ["__name__", "container", "container_id", "runtime"] {
        assert!(labels.contains(name), "{name} is not in {labels:?}");
    }
    assert!(!labels.contains("le"), "of another metric: {labels:?}");
    let containers = "label/container/values?match[]=cgscope_sched_cpu_seconds_total";
    let containers = texts(&get(&daemon, &format!("{containers}&{range}"))?)?;
    assert!(containers.contains(container.name()), "{containers:?}");
    let selector = cpu.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let series = post(&daemon, "series", &format!("match%5B%5D={selector}&{range}"))?;
    assert_eq!(series.as_array().map(Vec::len), Some(1), "{series}");
    assert_eq!(series[0]["container"], container.name());
    let metadata = get(&daemon, "metadata?limit=10000")?;
    assert_eq!(metadata[SWITCHES][0]["type"], "counter");
    assert_eq!(metadata["cgscope_sched_runqueue_latency_seconds"][0]["type"], "histogram");
    assert_eq!(
        get(&daemon, &format!("metadata?metric={SWITCHES}"))?.as_object().map(serde_json::Map::len),
        Some(1)
    );

    // A panel: one thread that never waits has a whole CPU, less what it has to share.
    let form =
        format!("query=rate({selector}%5B10s%5D)&start={:.3}&end={now:.3}&step=1", now - 60.0);
    let panel = post(&daemon, "query_range", &form)?;
    assert_eq!(panel["resultType"], "matrix");
    let values = panel["result"][0]["values"].as_array().with_context(|| panel.to_string())?;
    assert!(values.iter().all(|v| v[0].is_number() && v[1].is_string()), "{values:?}");
    let rate: f64 = values.last().and_then(|v| v[1].as_str()).context("a value")?.parse()?;
    assert!(rate > 0.05 && rate < 1.1, "{rate} CPUs of one busy thread");
    // The same with GET, another way to say the step, and what Grafana's own heat maps and quantiles ask.
    let same = format!("query_range?{}", form.replace("step=1", "step=1s"));
    assert_eq!(get(&daemon, &same)?, panel);
    let buckets = "sum(rate(cgscope_sched_runqueue_latency_seconds_bucket[1m]))%20by%20(le)";
    let quantile = format!("query=histogram_quantile(0.95,{buckets})&time={now:.3}");
    let quantile = post(&daemon, "query", &quantile)?;
    let p95: f64 = quantile["result"][0]["value"][1].as_str().context("a value")?.parse()?;
    assert!(p95 > 0.0 && p95 < 18.0, "{p95}");
    let map = get(&daemon, &format!("query?query={buckets}&time={now:.3}"))?;
    assert_eq!(map["result"].as_array().map(Vec::len), Some(14), "{map}");
    Ok(())
}

/// Every series of `/metrics` is there under its own name and labels.
#[test]
fn names_and_labels_are_those_of_metrics() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let _container = Container::run("burn", &["burn", "--seconds", "60"])?;
    wait_written(&daemon, 1_000.0)?;
    wait_until("each series of /metrics to be in history", PATIENCE, || {
        let scrape = daemon.scrape()?;
        let series = get(&daemon, "series?match[]=%7B__name__%3D~%22.%2B%22%7D")?;
        let series: Vec<BTreeMap<String, String>> = serde_json::from_value(series)?;
        let series: BTreeSet<_> = series.into_iter().collect();
        let missing = scrape.iter().find(|exposed| {
            let mut labels = exposed.labels.clone();
            labels.insert("__name__".to_owned(), exposed.name.clone());
            !series.contains(&labels)
        });
        if let Some(missing) = missing {
            eprintln!("not yet in history: {missing:?}");
        }
        Ok(missing.is_none().then_some(()))
    })
}

/// A counter's growth between two ticks is what `/metrics` says.
#[test]
fn growth_is_that_of_metrics() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    wait_written(&daemon, 300.0)?;
    let tick = || {
        wait_until("one tick on both sides", PATIENCE, || {
            let before = daemon.scrape()?.sum(SWITCHES, &[]);
            // Long enough for history to take the tick, short enough to be before the next.
            std::thread::sleep(std::time::Duration::from_millis(200));
            let found = get(&daemon, &format!("query?query={SWITCHES}"))?;
            let value = found["result"][0]["value"][1].as_str().map(str::parse::<f64>);
            let is_one = daemon.scrape()?.sum(SWITCHES, &[]) == before;
            Ok(value.transpose()?.filter(|_| is_one).map(|value| (before, value)))
        })
    };
    let first = tick()?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let second = tick()?;
    assert!(second.0 > first.0, "{first:?} {second:?}");
    assert_eq!(second.0 - first.0, second.1 - first.1, "{first:?} {second:?}");
    Ok(())
}

#[test]
fn hostile_requests_are_refused() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    wait_written(&daemon, 100.0)?;
    let (deep, chain) = ("(".repeat(5_000), "1%2B".repeat(9_000));
    let long = "x".repeat(1 << 20);
    for (path, form, status) in [
        ("query", "", 400),
        ("query", "query=", 400),
        ("query", "query=rate(x)", 400),
        ("query", "query=x%5B1e300%5D", 400),
        ("query", "query=x%20offset%201e300", 400),
        ("query", &format!("query={deep}1"), 400),
        ("query", &format!("query={chain}1"), 400),
        ("query", &format!("query={long}"), 400),
        ("query", "query=%FF%FE%00", 400),
        ("query", "query=1&time=yesterday", 400),
        ("query", "query=1&time=NaN", 400),
        ("query", "query=1&timeout=x", 400),
        ("query", "query=count(%7B__name__%3D~%22.%2B%22%7D%5B30y%5D)", 400),
        ("query", "query=sum(a)%20%2B%20on()%20group_left%20fill(0)%20b", 400),
        ("query_range", "query=1&start=0&end=1", 400),
        ("query_range", "query=1&start=0&end=1&step=0", 400),
        ("query_range", "query=1&start=0&end=1&step=-1", 400),
        ("query_range", "query=1&start=2&end=1&step=1", 400),
        ("query_range", "query=1&start=0&end=99999999&step=1", 400),
        ("query_range", "query=%22x%22&start=0&end=1&step=1", 400),
        ("query_range", "query=x%5B1m%5D&start=0&end=1&step=1", 400),
        ("query_range", "query=sum_over_time(vector(1)%5B10y:1ms%5D)&start=0&end=1&step=1", 400),
        ("series", "", 400),
        ("series", "match%5B%5D=1", 400),
        ("series", "match%5B%5D=%7Ba%3D~%22(%22%7D", 400),
        ("series", "match%5B%5D=%7B%7D", 400),
        ("series", "match%5B%5D=x&limit=many", 400),
        ("labels", "match%5B%5D=x%5B5m%5D", 400),
        ("query", "query=topk(1e300,cgscope_host_load)", 422),
        ("query", "query=label_replace(cgscope_host_load,%22a%22,%22%22,%22b%22,%22(%22)", 422),
        ("query", "query=count_values(%22%22,cgscope_host_load)", 422),
    ] {
        let answer = daemon.post_form(&format!("{API}/{path}"), form)?;
        let shown: String = form.chars().take(100).collect();
        assert_eq!(answer.status, status, "{path} {shown}: {}", answer.body);
        let body: Value = serde_json::from_str(&answer.body)?;
        assert_eq!(body["status"], "error", "{shown}");
        let kind = if status == 422 { "execution" } else { "bad_data" };
        assert_eq!(body["errorType"], kind, "{shown}: {body}");
        assert!(body["error"].as_str().is_some_and(|e| !e.is_empty()), "{shown}: {body}");
    }
    // What is longer than is read is refused before it is all sent: a client may see the answer or only the end.
    if let Ok(answer) = daemon.post_form(&format!("{API}/query"), &long.repeat(3)) {
        assert_eq!(answer.status, 413, "{}", answer.body);
    }
    // Nothing was measured there: no errors, but nothing.
    for question in [
        "query=cgscope_host_load&time=4000000000",
        "query=cgscope_host_load&time=-5",
        "query=cgscope_host_load%20offset%2010y",
        "query=nosuch",
        "query=%7Bcontainer%3D%22nosuch%22%7D",
    ] {
        let found = post(&daemon, "query", question)?;
        assert_eq!(found["result"], Value::Array(vec![]), "{question}");
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());

    let without = Daemon::start(&["--no-history"])?;
    let answer = without.post_form(&format!("{API}/query"), "query=1")?;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("--no-history"), "{}", answer.body);
    Ok(())
}
