//! Flame graphs of the past: right about whom and how much, there after the container and the daemon are gone.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, Folded, scratch_dir, truth, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::own;

/// Windows are ten seconds long.
const PATIENCE: Duration = Duration::from_secs(60);
const FREQUENCY_HZ: f64 = 99.0;
const WINDOWS: &str = "cgscope_own_profiles_windows_total";

fn daemon(directory: &Path) -> Result<Daemon> {
    let directory = directory.to_str().context("a path in UTF-8")?;
    Daemon::start(&["--history-dir", directory, "--keep-profiles", "99"])
}

fn now_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn usage_s(container: &Container) -> Result<f64> {
    let stat = truth::cpu_stat(&container.cgroup_v2()?)?;
    Ok(*stat.get("usage_usec").context("cpu.stat has no usage_usec")? as f64 * 1e-6)
}

fn wait_windows(daemon: &Daemon, more: f64) -> Result<()> {
    let before = own(daemon, WINDOWS, &[])?;
    wait_until("profiles to be written", PATIENCE, || {
        Ok((own(daemon, WINDOWS, &[])? >= before + more).then_some(()))
    })
}

fn folded(daemon: &Daemon, container: &str, range: (f64, f64)) -> Result<Folded> {
    let (start, end) = range;
    let path = format!(
        "/api/v1/flamegraph?container={container}&start={start:.3}&end={end:.3}&format=folded"
    );
    Folded::parse(&daemon.text(&path)?)
}

#[test]
fn a_past_range_is_whose_and_what_it_was_after_everybody_is_gone() -> Result<()> {
    let directory = TempDir::with_prefix_in("profiles-", scratch_dir())?;
    let mut first = daemon(directory.path())?;
    let container = Container::run("shares", &["shares", "--seconds", "120"])?;
    let bystander = Container::run("burn", &["burn", "--seconds", "120"])?;
    // A window in which both were known from its begin.
    wait_windows(&first, 2.0)?;
    let (start, before) = (now_s()?, usage_s(&container)?);
    wait_windows(&first, 2.0)?;
    let (end, after) = (now_s()?, usage_s(&container)?);
    // The last of it is written when the next window is.
    wait_windows(&first, 1.0)?;

    let seen = folded(&first, container.name(), (start, end))?;
    let all = seen.kept() as f64;
    let expected = (after - before) * FREQUENCY_HZ;
    ensure!(
        (all - expected).abs() <= 0.03 * expected,
        "{all} samples of {:.3} s of CPU time: expected {expected:.0}",
        after - before
    );
    // Of a share p of n samples the standard deviation is sqrt(p (1 - p) / n): 1.1 points for 60 % of 2,000.
    for (function, share) in [("hot_sixty", 0.6), ("hot_thirty", 0.3), ("hot_ten", 0.1)] {
        let part = seen.count(|stack| stack.has(function)) as f64 / all;
        let deviation = (share * (1.0f64 - share) / all).sqrt();
        ensure!(
            (part - share).abs() <= 4.0 * deviation,
            "{function}: {part:.4} of {all} samples, not {share}"
        );
    }
    let of_other = folded(&first, bystander.name(), (start, end))?;
    ensure!(of_other.kept() > 0, "the bystander ran");
    ensure!(of_other.count(|stack| stack.has("hot_sixty")) == 0, "and ran nothing of the other");

    let activity = |daemon: &Daemon| {
        let name = container.name();
        let path =
            format!("/api/v1/activity?container={name}&start={start:.3}&end={end:.3}&step=100ms");
        let answer = daemon.get(&path)?;
        let values = answer["values"].as_array().context("values")?.clone();
        Ok::<_, anyhow::Error>(values)
    };
    let values = activity(&first)?;
    let cpus: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    ensure!(cpus.len() == values.len(), "gaps while it was recorded: {values:?}");
    let mean = cpus.iter().sum::<f64>() / cpus.len() as f64;
    let truth = (after - before) / (end - start);
    ensure!((mean - truth).abs() <= 0.03 * truth, "{mean} CPUs on average, {truth} by cpu.stat");

    let text = |daemon: &Daemon| {
        let name = container.name();
        let path = format!(
            "/api/v1/flamegraph?container={name}&start={start:.3}&end={end:.3}&format=folded"
        );
        daemon.text(&path)
    };
    let drawn = text(&first)?;
    container.kill()?;
    first.kill9()?;
    let gone_from = now_s()?;
    std::thread::sleep(Duration::from_secs(2));
    let gone_to = now_s()?;
    let second = daemon(directory.path())?;
    ensure!(text(&second)? == drawn, "the same after SIGKILL and restart");
    ensure!(activity(&second)? == values);
    let path = format!("/api/v1/activity?start={gone_from:.3}&end={gone_to:.3}&step=100ms");
    let values = second.get(&path)?["values"].as_array().context("values")?.clone();
    ensure!(values.iter().all(Value::is_null), "nobody recorded then: {values:?}");
    Ok(())
}

/// What a program did before and after it changed, in two past ranges of one container.
#[test]
fn two_past_ranges_are_compared_and_commands_draw_them() -> Result<()> {
    let directory = TempDir::with_prefix_in("profiles-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let quiet_from = now_s()?;
    wait_windows(&daemon, 2.0)?;
    let container = Container::run("shares", &["shares", "--seconds", "120"])?;
    let busy_from = now_s()? + 1.0;
    wait_windows(&daemon, 2.0)?;

    let path = format!(
        "/api/v1/flamegraph?start={busy_from:.3}&duration=8s&against={quiet_from:.3}&format=folded"
    );
    let lines = daemon.text(&path)?;
    // Each line ends with how much it was before and how much it is now.
    let hot: Vec<&str> = lines.lines().filter(|line| line.contains("hot_sixty")).collect();
    ensure!(!hot.is_empty(), "{lines}");
    for line in hot {
        let mut numbers = line.rsplit(' ');
        let now: u64 = numbers.next().context("how much it is")?.parse()?;
        ensure!(numbers.next() == Some("0") && now > 0, "{line}");
    }

    let output = directory.path().join("then.svg");
    let output = output.to_str().context("a path in UTF-8")?;
    let name = container.name();
    let start = format!("{busy_from:.3}");
    let drawn = daemon.cli(&[
        "flamegraph",
        "--container",
        name,
        "--start",
        &start,
        "--duration",
        "8s",
        "-o",
        output,
    ])?;
    ensure!(drawn.success(), "{}", drawn.stderr);
    let drawing = std::fs::read_to_string(output)?;
    ensure!(drawing.contains("hot_sixty") && drawing.contains(name), "not in the drawing");
    Ok(())
}

#[test]
fn what_cannot_be_drawn_is_told() -> Result<()> {
    let directory = TempDir::with_prefix_in("profiles-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    for (query, status, told) in [
        ("flamegraph?start=100&end=90", 400, "before"),
        ("flamegraph?start=-1m&frequency=99", 400, "frequency"),
        ("flamegraph?against=-1h", 400, "start"),
        ("flamegraph?start=-1m&type=block", 400, "cpu"),
        ("flamegraph?start=-800h", 400, "range"),
        ("flamegraph?start=-1m&container=nobody-has-this-name", 404, "nobody-has-this-name"),
        ("flamegraph?start=-1m&against=-2m&format=pprof", 400, "pprof"),
        ("activity?start=-1h&step=1ms", 400, "steps"),
        ("activity?start=-144h&step=100ms", 400, "steps"),
        ("activity?step=0s", 400, "steps"),
        ("activity?container=nobody-has-this-name", 404, "nobody-has-this-name"),
    ] {
        let answer = daemon.answer(&format!("/api/v1/{query}"))?;
        ensure!(answer.status == status, "{query}: {} {}", answer.status, answer.body);
        ensure!(answer.body.contains(told), "{query}: {}", answer.body);
    }
    let without = Daemon::start(&[])?;
    let answer = without.answer("/api/v1/flamegraph?start=-1m")?;
    ensure!(answer.status == 501, "{} {}", answer.status, answer.body);
    ensure!(answer.body.contains("--keep-profiles"), "{}", answer.body);
    Ok(())
}
