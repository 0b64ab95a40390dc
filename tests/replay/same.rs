//! The same questions have the same answers: from the daemon while it recorded, and from the file afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::disk::Disk;
use cgscope_tests::{Container, ContainerOptions, Daemon, Folded, scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{number, record, told};

const PATIENCE: Duration = Duration::from_secs(30);
const PROMETHEUS: &str = "/prometheus/api/v1";
/// Counters begin elsewhere: differences of floats differ in their last digits.
const CLOSE: f64 = 1e-9;

/// Answers by the instant they are of, asked again and again while a recording runs.
type Seen = BTreeMap<u64, Value>;

fn watch(daemon: &Daemon, paths: &[String], is_over: &AtomicBool) -> Result<Vec<Seen>> {
    let mut seen = vec![Seen::new(); paths.len()];
    while !is_over.load(Ordering::Relaxed) {
        for (path, seen) in paths.iter().zip(&mut seen) {
            let answer = daemon.get(path)?;
            seen.insert(number(&answer, "at")?, answer);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(seen)
}

fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| close(a, b)))
        }
        (Value::String(a), Value::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a == b || (a - b).abs() <= CLOSE * a.abs().max(b.abs()).max(1.0),
            _ => a == b,
        },
        (a, b) => a == b,
    }
}

#[test]
fn a_replay_answers_as_the_daemon_did() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let history = directory.path().join("history");
    let history = history.to_str().context("a path in UTF-8")?;
    let daemon = Daemon::start(&["--history-dir", history, "--keep-profiles", "99"])?;
    let disk = Disk::make()?;
    let shares = Container::run("shares", &["shares", "--seconds", "120"])?;
    let burn = Container::run("burn", &["burn", "--seconds", "120"])?;
    let short = Container::run("short", &["burn", "--seconds", "6"])?;
    disk.fill("file", 16 << 20)?;
    let io = ContainerOptions::new().bind(&disk.mount(), "/disk");
    let line = "direct_io --seconds 120 --file /disk/file --reads 100000000";
    let io = io.run("io", &line.split(' ').collect::<Vec<_>>())?;
    let containers = [&shares, &burn, &io];
    for container in containers {
        wait_until("a measured container", PATIENCE, || {
            let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
            Ok(detail["activity"]["states"].as_array().filter(|s| !s.is_empty()).map(|_| ()))
        })?;
    }
    let (name, id) = (shares.name(), shares.id());
    let live: Vec<String> = [
        "/api/v1/containers?duration=4s".to_owned(),
        "/api/v1/containers".to_owned(),
        format!("/api/v1/containers/{id}?duration=2s"),
        format!("/api/v1/containers/{name}/latency?duration=4s"),
        format!("/api/v1/containers/{}/states?duration=4s", burn.name()),
        "/api/v1/host".to_owned(),
    ]
    .into();
    let file = directory.path().join("a.cgscope");
    let is_over = AtomicBool::new(false);
    let (seen, took) = thread::scope(|scope| {
        let seen = scope.spawn(|| watch(&daemon, &live, &is_over));
        let begun = Instant::now();
        let recorded = record(&daemon, &file, "14s");
        is_over.store(true, Ordering::Relaxed);
        let seen = seen.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        recorded.map(|()| (seen, begun.elapsed()))
    })?;
    ensure!(took < Duration::from_secs(20), "14 s of recording took {took:?}");

    let replay = Daemon::replay(&file)?;
    let recording = told(&replay)?;
    ensure!(recording["lost_text"] == "", "{recording}");
    ensure!((14..=16).contains(&number(&recording, "ticks")?), "{recording}");
    let (from, to) = (number(&recording, "from")?, number(&recording, "to")?);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    ensure!(recording["host"] == host.trim(), "{recording}");
    eprintln!("{} bytes for {} ticks", recording["bytes"], recording["ticks"]);

    // The end of the recording, as the daemon saw it then.
    for (path, seen) in live.iter().zip(seen) {
        let answer = replay.get(path)?;
        let at = number(&answer, "at")?;
        ensure!(at == to, "{path} is of {at}, the recording ends at {to}");
        let then = seen.get(&at).with_context(|| format!("{path}: nobody asked at {at}"))?;
        ensure!(answer == *then, "{path}:\n{answer}\nand the daemon said\n{then}");
    }

    // The past.
    let second = |ns: u64| ns as f64 / 1e9;
    // Whole steps, which a question is widened to: what lies before the recording is the daemon's alone.
    let even = |seconds: f64| (seconds / 2.0).floor() * 2.0;
    let (start, end) = (even(second(from) + 1.5) + 2.0, even(second(to)));
    let range = format!("start={start:.3}&end={end:.3}");
    for path in [
        format!(
            "/api/v1/query?metric=cgscope_sched_cpu_seconds_total&by=container&step=1s&{range}"
        ),
        format!(
            "/api/v1/query?metric=cgscope_sched_state_seconds_total&by=container,state&step=2s&{range}"
        ),
        format!(
            "/api/v1/query?metric=cgscope_sched_runqueue_latency_seconds&fn=quantile&q=0.99&by=container_id&step=2s&{range}"
        ),
        format!("/api/v1/query?metric=cgscope_host_load&step=1s&{range}"),
        format!(
            "/api/v1/buckets?metric=cgscope_sched_on_cpu_seconds&match=container={name}&step=1s&{range}"
        ),
        format!("/api/v1/activity?container={name}&step=100ms&{range}"),
        "/api/v1/series?limit=10000".to_owned(),
    ] {
        let (now, then) = (replay.answer(&path)?, daemon.answer(&path)?);
        ensure!(then.status == 200, "{path}: {} {}", then.status, then.body);
        if path.contains("/series") {
            // The daemon knows series from before.
            let count = |body: &str| number(&serde_json::from_str(body)?, "total");
            let (now, then) = (count(&now.body)?, count(&then.body)?);
            ensure!(now > 300 && now <= then, "{now} series of {then}");
            continue;
        }
        ensure!(now.body == then.body, "{path}:\n{}\nand the daemon said\n{}", now.body, then.body);
        ensure!(now.body.len() > 200, "{path}: {}", now.body);
    }
    // Totals of a recording begin with it. No rate is drawn out to before a total of 0, so what has just begun is told by differences.
    for query in [
        format!("rate(cgscope_sched_cpu_seconds_total{{container=\"{name}\"}}[3s])"),
        "sum by (container) (cgscope_sched_switches_total - cgscope_sched_switches_total offset 3s)".to_owned(),
        "cgscope_host_load".to_owned(),
        format!("cgscope_sched_threads{{container_id=\"{id}\"}}"),
    ] {
        let form =
            format!("query={}&start={:.3}&end={end:.3}&step=2", encoded(&query), start + 6.0);
        let path = format!("{PROMETHEUS}/query_range");
        let (now, then) = (replay.post_form(&path, &form)?, daemon.post_form(&path, &form)?);
        ensure!(then.status == 200, "{query}: {}", then.body);
        let (now, then): (Value, Value) =
            (serde_json::from_str(&now.body)?, serde_json::from_str(&then.body)?);
        ensure!(close(&now, &then), "{query}:\n{now}\nand the daemon said\n{then}");
        let lines = now["data"]["result"].as_array().context("a result")?;
        ensure!(!lines.is_empty(), "{query} has no lines");
    }

    // Stacks of the past: the windows are the same, so the drawing is.
    let path = format!("/api/v1/flamegraph?container={name}&{range}&format=folded");
    let (now, then) = (replay.text(&path)?, daemon.text(&path)?);
    ensure!(now == then, "{path}:\n{now}\nand the daemon said\n{then}");
    let drawn = Folded::parse(&now)?;
    ensure!(drawn.count(|stack| stack.has("hot_sixty")) > 100, "{now}");

    // Slow requests of the disk.
    let outliers = |daemon: &Daemon| -> Result<Vec<Value>> {
        let answer = daemon.get("/api/v1/outliers?duration=10m&limit=20000")?;
        let rows = answer["outliers"].as_array().context("outliers")?.clone();
        // The seconds that the recording began and ended in went on beyond it: there the daemon knows of slower ones.
        let whole = from + 1_000_000_000..to - 1_000_000_000;
        let is_in = |row: &Value| row["at"].as_u64().is_some_and(|at| whole.contains(&at));
        let mut rows: Vec<Value> = rows.into_iter().filter(is_in).collect();
        // Stacks are listed once each, here and there in another order.
        for row in &mut rows {
            if let Some(place) = row["stack"].as_u64() {
                row["stack"] = answer["stacks"][place as usize].clone();
            }
        }
        rows.sort_by_key(ToString::to_string);
        Ok(rows)
    };
    let (now, then) = (outliers(&replay)?, outliers(&daemon)?);
    ensure!(now.len() > 50, "{} slow requests", now.len());
    for (now, then) in now.iter().zip(&then) {
        ensure!(now == then, "{now}\nand the daemon said\n{then}");
    }
    ensure!(now.len() == then.len(), "{} slow requests, the daemon told {}", now.len(), then.len());
    ensure!(now.iter().any(|row| row["stack"].is_array()), "no stack of {}", now.len());

    // Who died while it was recorded is dead in it.
    let detail = replay.get(&format!("/api/v1/containers/{}", short.id()))?;
    ensure!(detail["alive"] == false && detail["name"] == short.name(), "{detail}");
    Ok(())
}

#[test]
fn every_command_shows_it() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let (name, recorded) = {
        // Without history and kept profiles: stacks are taken for the recording alone.
        let daemon = Daemon::start(&["--no-history"])?;
        let shares = Container::run("shares", &["shares", "--seconds", "60"])?;
        thread::sleep(Duration::from_secs(2));
        record(&daemon, &file, "6s")?;
        (shares.name().to_owned(), daemon.get("/api/v1/doctor")?)
    };
    // The container and the daemon are gone.
    let replay = Daemon::replay(&file)?;
    let commands: [(&[&str], &[&str]); 6] = [
        (&["top", "--once"], &[&name]),
        (&["containers"], &[&name, "alive"]),
        (&["latency", "--container", &name, "--duration", "3s"], &["run"]),
        (&["states", "--container", &name], &["running.user"]),
        (&["doctor"], &["recording", "measurements of"]),
        (&["outliers", "--json"], &["outliers"]),
    ];
    for (line, shown) in commands {
        let output = replay.cli(line)?;
        ensure!(output.success(), "{line:?}: {output:?}");
        for text in shown {
            ensure!(output.stdout.contains(text), "{line:?} does not show {text}: {output:?}");
        }
    }
    let line =
        ["flamegraph", "--container", &name, "--start", "-5s", "--duration", "4s", "-o", "-"];
    let output = replay.cli(&line)?;
    ensure!(output.success(), "{output:?}");
    let drawn = Folded::parse(&output.stdout)?;
    // 19 Hz for four seconds, of one thread that always wants to run, beside whatever else this machine does.
    ensure!(drawn.count(|stack| stack.has("hot_sixty")) >= 8, "{}", output.stdout);
    let kernel = &replay.get("/api/v1/doctor")?["kernel"];
    ensure!(*kernel == recorded["kernel"], "{kernel}");
    let page = replay.text("/")?;
    ensure!(page.contains("<html"), "{page}");
    Ok(())
}

/// What nobody recorded when it happened: the daemon remembers two minutes.
#[test]
fn what_has_just_happened_can_be_recorded() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let history = directory.path().join("history");
    let history = history.to_str().context("a path in UTF-8")?;
    let daemon = Daemon::start(&["--history-dir", history, "--keep-profiles", "99"])?;
    let shares = Container::run("shares", &["shares", "--seconds", "60"])?;
    thread::sleep(Duration::from_secs(12));
    shares.kill()?;
    thread::sleep(Duration::from_secs(2));
    let name = file.to_str().context("a path in UTF-8")?;
    let output = daemon.cli(&["record", "-o", name, "--duration", "1s", "--before", "30s"])?;
    ensure!(output.success(), "{output:?}");

    let replay = Daemon::replay(&file)?;
    let recording = told(&replay)?;
    ensure!(recording["lost_text"] == "", "{recording}");
    ensure!(number(&recording, "ticks")? >= 14, "{recording}");
    let (from, to) = (number(&recording, "from")?, number(&recording, "to")?);
    let range = format!("start={:.3}&end={:.3}", from as f64 / 1e9 + 1.5, to as f64 / 1e9);
    let path = format!("/api/v1/flamegraph?container={}&{range}&format=folded", shares.name());
    let (now, then) = (replay.text(&path)?, daemon.text(&path)?);
    ensure!(now == then, "{path}:\n{now}\nand the daemon said\n{then}");
    let drawn = Folded::parse(&now)?;
    ensure!(drawn.count(|stack| stack.has("hot_sixty")) > 100, "{now}");
    let name = shares.name();
    let path = format!(
        "/api/v1/query?metric=cgscope_sched_cpu_seconds_total&match=container={name}&step=1s&{range}"
    );
    let (now, then) = (replay.text(&path)?, daemon.text(&path)?);
    ensure!(now == then, "{path}:\n{now}\nand the daemon said\n{then}");
    Ok(())
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
