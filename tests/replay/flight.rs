//! The flight recorder: what happened before anybody asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, Folded, cli, scratch_dir, wait_until};
use tempfile::TempDir;

use crate::common::{number, told};

const PATIENCE: Duration = Duration::from_secs(15);

/// The recordings in a directory that may not be there yet.
fn tapes(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_tape = |path: &PathBuf| path.extension().is_some_and(|end| end == "cgscope");
    entries.map(|entry| entry.path()).filter(is_tape).collect()
}

#[test]
fn each_tenth_of_a_second_of_the_last_minutes_is_there() -> Result<()> {
    let directory = TempDir::with_prefix_in("flight-", scratch_dir())?;
    let flights = directory.path().join("flights");
    let flights_name = flights.to_str().context("a path in UTF-8")?;
    let daemon = Daemon::start(&[
        "--no-history",
        "--interval=100ms",
        "--flight-recorder=16M",
        &format!("--flight-dir={flights_name}"),
    ])?;
    let shares = Container::run("shares", &["shares", "--seconds", "90"])?;
    // Nobody asks for anything meanwhile; a block is closed and another begun.
    sleep(Duration::from_secs(14));
    let file = directory.path().join("a.cgscope");
    let name = file.to_str().context("a path in UTF-8")?;
    let output = daemon.cli(&["record", "--flight", "-o", name])?;
    ensure!(output.success(), "{output:?}");
    // What the daemon says it holds is what it gave away, but for the names that a file begins with, and not more than it was given.
    let (scrape, _) = daemon.next_tick()?;
    let own = |kind| scrape.sum("cgscope_own_flight_bytes", &[("kind", kind)]);
    let file_bytes = fs::metadata(&file)?.len() as f64;
    ensure!(own("limit") == f64::from(16 << 20), "{}", own("limit"));
    ensure!(own("held") >= 0.5 * file_bytes, "{} of {file_bytes}", own("held"));
    ensure!(own("held") <= own("limit"), "{}", own("held"));
    let span_s = scrape.sum("cgscope_own_flight_span_seconds", &[]);

    let replay = Daemon::replay(&file)?;
    let first = told(&replay)?;
    let span_ns = number(&first, "to")? - number(&first, "from")?;
    let ticks = number(&first, "ticks")?;
    ensure!(first["lost_text"] == "", "{first}");
    ensure!(span_ns > 12_000_000_000, "{first}");
    // It has gone on since.
    ensure!(span_s * 1e9 >= span_ns as f64 && span_s < span_ns as f64 / 1e9 + 10.0, "{span_s} s");
    // On a busy machine a tick may come late, and then the next comes when it would have come.
    let expected = span_ns / 100_000_000;
    ensure!(ticks > expected * 9 / 10 && ticks <= expected + 2, "{ticks} of {expected}");
    // What is counted at each of them adds up as it does over seconds.
    for duration in ["300ms", "4s"] {
        let path = format!("/api/v1/containers/{}/states?duration={duration}", shares.name());
        let states = replay.get(&path)?;
        let span_ns = number(&states, "span_ns")? as f64;
        let total: u64 = states["activity"]["states"]
            .as_array()
            .context("states")?
            .iter()
            .map(|state| number(state, "time_ns"))
            .sum::<Result<_>>()?;
        let threads = total as f64 / span_ns;
        ensure!((threads - 1.0).abs() < 0.02, "{threads} threads in {duration}: {states}");
    }
    let path = format!("/api/v1/flamegraph?container={}&start=-10s&format=folded", shares.name());
    let drawn = Folded::parse(&replay.text(&path)?)?;
    ensure!(drawn.count(|stack| stack.has("hot_sixty")) >= 20, "{drawn:?}");

    // It goes on, and a signal has it written by the daemon itself.
    daemon.tell(libc::SIGUSR1)?;
    let files = wait_until("the file", PATIENCE, || {
        Ok(Some(tapes(&flights)).filter(|files| !files.is_empty()))
    })?;
    ensure!(files.len() == 1, "{files:?}");
    let replay = Daemon::replay(&files[0])?;
    let second = told(&replay)?;
    ensure!(second["lost_text"] == "", "{second}");
    ensure!(second["from"] == first["from"], "{first} and {second}");
    ensure!(number(&second, "to")? > number(&first, "to")?, "{first} and {second}");
    wait_until("the log", PATIENCE, || {
        Ok(daemon.log().contains(&files[0].display().to_string()).then_some(()))
    })
}

#[test]
fn what_cannot_be_is_said_and_ends_nothing() -> Result<()> {
    let directory = TempDir::with_prefix_in("flight-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let name = file.to_str().context("a path in UTF-8")?;
    let none = directory.path().join("none");
    let none = none.to_str().context("a path in UTF-8")?;
    let output = cli(&["record", "--flight", "-o", name, "--state-dir", none])?;
    ensure!(output.status == Some(1) && output.stderr.contains("--flight-recorder"), "{output:?}");

    let daemon = Daemon::start(&["--no-history"])?;
    let output = daemon.cli(&["record", "--flight", "-o", name])?;
    ensure!(!output.success() && output.stderr.contains("--flight-recorder"), "{output:?}");
    ensure!(!file.exists());
    daemon.tell(libc::SIGUSR1)?;
    wait_until("the warning", PATIENCE, || {
        Ok(daemon.log().contains("there is no flight recorder").then_some(()))
    })?;
    drop(daemon);

    // A file where its directory should be.
    fs::write(&file, "mine")?;
    let flags = ["--no-history", "--flight-recorder=1M", &format!("--flight-dir={name}/flights")];
    let daemon = Daemon::start(&flags)?;
    daemon.tell(libc::SIGUSR1)?;
    wait_until("the error", PATIENCE, || {
        let log = daemon.log();
        Ok((log.contains("cannot write") && log.contains("record --flight")).then_some(()))
    })?;
    daemon.get("/api/v1/host")?;
    ensure!(fs::read_to_string(&file)? == "mine");
    Ok(())
}
