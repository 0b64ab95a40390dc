//! The live stream: an event a tick, in order, whoever else reads how slowly.

use std::io::BufRead;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon};
use serde_json::Value;

use crate::http::open;

/// The data of the next event.
pub fn next_event(reader: &mut impl BufRead) -> Result<Value> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        anyhow::ensure!(reader.read_line(&mut line)? > 0, "the stream has ended");
        match line.trim_end() {
            "" if !data.is_empty() => return Ok(serde_json::from_str(&data)?),
            line => match line.split_once(": ") {
                Some(("event", name)) => anyhow::ensure!(name == "overview", "{name}"),
                Some(("data", json)) => json.clone_into(&mut data),
                _ => {}
            },
        }
    }
}

#[test]
fn a_tick_comes_each_second_and_time_rises() -> Result<()> {
    let container = Container::run("stream", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let host = ("Host", &*daemon.address());
    let (status, headers, mut reader) = open(&daemon, "GET", "/api/v1/stream", &[host])?;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/event-stream");
    let mut at_ns = Vec::new();
    // The first comes at once, whatever the tick.
    next_event(&mut reader)?;
    let started = Instant::now();
    const TICKS: u32 = 5;
    let mut last = Value::Null;
    for _ in 0..TICKS {
        last = next_event(&mut reader)?;
        at_ns.push(last["at"].as_u64().context("at")?);
    }
    let took = started.elapsed().as_secs_f64();
    assert!((3.5..=6.5).contains(&took), "{TICKS} ticks took {took} s");
    assert!(at_ns.windows(2).all(|pair| pair[0] < pair[1]), "{at_ns:?}");
    let span_s = (at_ns[at_ns.len() - 1] - at_ns[0]) as f64 / 1e9;
    assert!((span_s - f64::from(TICKS - 1)).abs() < 1.0, "{TICKS} ticks span {span_s} s");
    let rows = last["containers"].as_array().context("rows")?;
    assert!(rows.iter().any(|row| row["id"] == container.id()), "{last}");
    Ok(())
}

#[test]
fn a_slow_reader_gets_the_newest_and_holds_nobody_up() -> Result<()> {
    let daemon = Daemon::start(&["--interval", "100ms"])?;
    let host = ("Host", &*daemon.address());
    let (_, _, mut slow) = open(&daemon, "GET", "/api/v1/stream?all=true", &[host])?;
    let first = next_event(&mut slow)?;
    let resident = || -> Result<u64> {
        daemon.get("/api/v1/probes")?["memory"]["rss_bytes"].as_u64().context("rss_bytes")
    };
    let before = resident()?;
    sleep(Duration::from_secs(3));
    // Meanwhile another reads on.
    let (_, _, mut quick) = open(&daemon, "GET", "/api/v1/stream", &[host])?;
    for _ in 0..10 {
        next_event(&mut quick)?;
    }
    assert!(resident()? < before + (16 << 20), "events are not heaped up for the slow one");
    let mut at = first["at"].as_u64();
    for _ in 0..20 {
        let event = next_event(&mut slow)?;
        assert!(event["at"].as_u64() > at, "time rises for the slow one, too");
        at = event["at"].as_u64();
    }
    Ok(())
}
