//! Every route answers with its documented shape, about a real container.

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::{Container, Daemon, image_name, wait_until};
use serde_json::Value;

use crate::http::get;

/// The members of an object, with the kind of each: `n`umber, `s`tring, `b`oolean, `a`rray, `o`bject; `?` lets it be null.
#[track_caller]
fn assert_shape(value: &Value, shape: &[(&str, &str)]) {
    for (name, kinds) in shape {
        let kind = match &value[*name] {
            Value::Null => "?",
            Value::Bool(_) => "b",
            Value::Number(_) => "n",
            Value::String(_) => "s",
            Value::Array(_) => "a",
            Value::Object(_) => "o",
        };
        assert!(kinds.contains(kind), "{name} is {}, not {kinds}, in {value}", value[*name]);
    }
}

const WINDOW: [(&str, &str); 2] = [("at", "n"), ("span_ns", "n")];
const ROW: [(&str, &str); 7] = [
    ("id", "s"),
    ("name", "s"),
    ("runtime", "s"),
    ("image", "s?"),
    ("cgroup", "s"),
    ("alive", "b"),
    ("activity", "o?"),
];
const ACTIVITY: [(&str, &str); 7] = [
    ("id", "s"),
    ("cpu_cores", "n?"),
    ("throttled_share", "n?"),
    ("runqueue", "o?"),
    ("threads", "n?"),
    ("states", "a"),
    ("stall", "n?"),
];
const OUTLIER: [(&str, &str); 17] = [
    ("at", "n"),
    ("kind", "s"),
    ("operation", "s"),
    ("container", "s"),
    ("name", "s"),
    ("latency_ns", "n"),
    ("queue_ns", "n?"),
    ("service_ns", "n?"),
    ("device", "s?"),
    ("sector", "n?"),
    ("file", "s?"),
    ("inode", "n?"),
    ("stack", "n?"),
    ("bytes", "n"),
    ("pid", "n?"),
    ("tid", "n?"),
    ("thread", "s?"),
];
const DISTRIBUTION: [(&str, &str); 11] = [
    ("name", "s"),
    ("title", "s"),
    ("help", "s"),
    ("count", "n"),
    ("sum_ns", "n"),
    ("mean_ns", "n?"),
    ("p50_ns", "n?"),
    ("p90_ns", "n?"),
    ("p99_ns", "n?"),
    ("max_ns", "n?"),
    ("buckets", "a"),
];

fn array(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no array: {value}"))
}

/// Waits until the daemon has measured the container over a whole tick.
fn measured(daemon: &Daemon, container: &Container) -> Result<Value> {
    let patience = std::time::Duration::from_secs(10);
    wait_until("the container to be measured", patience, || {
        let list = daemon.get("/api/v1/containers")?;
        let row = array(&list["containers"])?.iter().find(|row| row["id"] == container.id());
        Ok(row.filter(|row| row["activity"]["cpu_cores"].as_f64() > Some(0.0)).cloned())
    })
}

#[test]
fn containers_are_listed_and_detailed() -> Result<()> {
    let container = Container::run("routes", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let row = measured(&daemon, &container)?;
    assert_shape(&row, &ROW);
    assert_shape(&row["activity"], &ACTIVITY);
    assert_eq!(row["name"], container.name());
    assert_eq!(row["runtime"], "podman");
    assert_eq!(row["image"], image_name()?);
    assert_eq!(row["alive"], true);
    let shares = array(&row["activity"]["states"])?.iter().filter_map(|s| s["share"].as_f64());
    let sum: f64 = shares.sum();
    assert!((sum - 1.0).abs() < 1e-6, "the states sum to {sum}");

    let list = daemon.get("/api/v1/containers?duration=2s")?;
    assert_shape(&list, &WINDOW);
    // It ends with the tick that comes up to 50 ms early.
    assert!(list["span_ns"].as_u64() >= Some(1_950_000_000), "{list}");
    let few = array(&list["containers"])?.len();
    let all = daemon.get("/api/v1/containers?all=true")?;
    assert!(array(&all["containers"])?.len() > few, "with the host, units and plain cgroups");
    for row in array(&all["containers"])? {
        assert_shape(row, &ROW);
    }
    let path = format!(
        "/api/v1/containers?container={}&metrics=cgscope_sched_threads,cgscope_sched_cpu_seconds_total",
        container.name()
    );
    let one = daemon.get(&path)?;
    let rows = array(&one["containers"])?;
    assert_eq!(rows.len(), 1);
    let names: Vec<&str> =
        array(&rows[0]["metrics"])?.iter().filter_map(|metric| metric["name"].as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");

    let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
    assert_shape(&detail, &[&WINDOW[..], &ROW[..], &[("metrics", "a")]].concat());
    for metric in array(&detail["metrics"])? {
        assert_shape(metric, &[("name", "s"), ("title", "s"), ("unit", "s"), ("kind", "s")]);
        let members: &[_] = match metric["kind"].as_str() {
            Some("counter") => &[("total", "n"), ("per_second", "n?")],
            Some("gauge") => &[("value", "n")],
            Some("distribution") => &[("count", "n"), ("buckets", "a")],
            kind => panic!("a kind {kind:?}"),
        };
        assert_shape(metric, members);
    }
    Ok(())
}

#[test]
fn distributions_and_states_of_a_container_a_process_and_the_host() -> Result<()> {
    let container = Container::run("windows", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    measured(&daemon, &container)?;
    let pid = container.host_pid()?;
    for (path, kind) in [
        (format!("/api/v1/containers/{}", container.name()), "container"),
        (format!("/api/v1/processes/{pid}"), "process"),
        ("/api/v1/host".to_owned(), "host"),
    ] {
        let latency = daemon.get(&format!("{path}/latency?duration=1s"))?;
        assert_shape(&latency, &WINDOW);
        assert_eq!(latency["about"]["kind"], kind);
        let distributions = array(&latency["distributions"])?;
        let mut names = Vec::new();
        for distribution in distributions {
            assert_shape(distribution, &DISTRIBUTION);
            names.push(distribution["name"].as_str().context("a name")?);
            let buckets = array(&distribution["buckets"])?;
            let counts = buckets.iter().filter_map(|bucket| bucket["count"].as_u64());
            assert_eq!(Some(counts.sum()), distribution["count"].as_u64(), "{distribution}");
            let bounds: Vec<_> = buckets.iter().filter_map(|b| b["ge_ns"].as_u64()).collect();
            assert!(bounds.is_sorted(), "{distribution}");
        }
        assert!(names.contains(&"cgscope_sched_runqueue_latency_seconds"), "{path}: {names:?}");
        let states = daemon.get(&format!("{path}/states?duration=1s"))?;
        assert_shape(&states, &[&WINDOW[..], &[("about", "o")]].concat());
        assert_shape(&states["activity"], &ACTIVITY);
        assert_eq!(states["about"]["kind"], kind);
        assert!(states["activity"]["cpu_cores"].as_f64() > Some(0.0), "{states}");
    }
    Ok(())
}

#[test]
fn the_host_the_probes_and_the_doctor() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let host = daemon.get("/api/v1/host?duration=1s")?;
    assert_shape(&host, &[&WINDOW[..], &[("metrics", "a")]].concat());
    let names = array(&host["metrics"])?.iter().filter_map(|metric| metric["name"].as_str());
    assert!(names.clone().any(|name| name == "cgscope_host_cpu_seconds_total"), "{host}");
    let probes = daemon.get("/api/v1/probes")?;
    assert_shape(
        &probes,
        &[("programs", "a"), ("drops", "a"), ("maps", "a"), ("memory", "o"), ("cpu_seconds", "n")],
    );
    for program in array(&probes["programs"])? {
        assert_shape(
            program,
            &[("name", "s"), ("family", "s"), ("attached", "s"), ("error", "?s")],
        );
    }
    for drop in array(&probes["drops"])? {
        assert_shape(drop, &[("reason", "s"), ("count", "n"), ("remedy", "s")]);
    }
    assert_shape(&probes["memory"], &[("rss_bytes", "n"), ("maps_bytes", "n")]);
    let doctor = daemon.get("/api/v1/doctor")?;
    assert_shape(&doctor, &[("kernel", "s"), ("checks", "a")]);
    for check in array(&doctor["checks"])? {
        assert_shape(
            check,
            &[
                ("name", "s"),
                ("status", "s"),
                ("detail", "s"),
                ("remedy", "s"),
                ("metrics_affected", "a"),
            ],
        );
    }
    Ok(())
}

#[test]
fn the_slowest_operations() -> Result<()> {
    let daemon = Daemon::start(&["--disable", "profile"])?;
    // Some disk does something in the end.
    let patience = std::time::Duration::from_secs(60);
    let list = wait_until("a request", patience, || {
        let list = daemon.get("/api/v1/outliers?duration=10m")?;
        Ok((!array(&list["outliers"])?.is_empty()).then_some(list))
    })?;
    let lists = [("outliers", "a"), ("stacks", "a"), ("missing", "a")];
    let shape = [&[WINDOW[0], WINDOW[1], ("total", "n")], &lists[..]].concat();
    assert_shape(&list, &shape);
    for row in array(&list["outliers"])? {
        assert_shape(row, &OUTLIER);
    }
    // Nobody asked for files: that is said, and how to.
    let [missing] = &array(&list["missing"])?[..] else { bail!("{list}") };
    assert_shape(missing, &[("kind", "s"), ("remedy", "s")]);
    ensure!(
        missing["kind"] == "file"
            && missing["remedy"].as_str().is_some_and(|r| r.contains("--enable files")),
        "{missing}"
    );
    Ok(())
}

#[test]
fn a_flame_graph_in_each_format() -> Result<()> {
    let container = Container::run("flames", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    measured(&daemon, &container)?;
    for (format, media_type, word) in [
        ("svg", "image/svg+xml", "<svg"),
        ("folded", "text/plain", "burn"),
        ("json", "application/json", "burn"),
        ("firefox", "application/json", "preprocessedProfileVersion"),
        ("speedscope", "application/json", "file-format-schema.json"),
    ] {
        let path = format!(
            "/api/v1/flamegraph?container={}&duration=1s&frequency=499&format={format}",
            container.id()
        );
        let answer = get(&daemon, &path)?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let served = answer.headers.get("content-type").context("a type")?;
        assert!(served.starts_with(media_type), "{format} is served as {served}");
        assert!(answer.body.contains(word), "{format} lacks {word}");
        let policy = answer.headers.get("content-security-policy").context("a policy")?;
        assert!(policy.contains("sandbox") && policy.contains("default-src 'none'"), "{policy}");
        let is_for_others = ["firefox", "speedscope"].contains(&format);
        let saved = answer.headers.get("content-disposition");
        let ending = format!(".{format}.json\"");
        assert_eq!(saved.is_some_and(|s| s.ends_with(&ending)), is_for_others, "{saved:?}");
    }
    Ok(())
}

#[test]
fn a_container_that_has_died_keeps_its_name_and_cannot_be_recorded() -> Result<()> {
    let container = Container::run("mortal", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    measured(&daemon, &container)?;
    container.kill()?;
    let patience = std::time::Duration::from_secs(10);
    let row = wait_until("its death to be noticed", patience, || {
        let list = daemon.get("/api/v1/containers?all=true")?;
        let row = array(&list["containers"])?.iter().find(|row| row["id"] == container.id());
        Ok(row.filter(|row| row["alive"] == false).cloned())
    })?;
    assert_eq!(row["name"], container.name());
    let path = format!("/api/v1/flamegraph?container={}&duration=1s", container.id());
    let answer = get(&daemon, &path)?;
    assert_eq!(answer.status, 404, "{answer:?}");
    Ok(())
}
