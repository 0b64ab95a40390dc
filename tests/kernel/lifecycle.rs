//! However the daemon ends, nothing of it stays in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, bpf, run_captured, wait_until};

use crate::common::daemon;

/// Programs and maps of the daemon, by id.
fn owned(daemon: &Daemon) -> Result<(BTreeSet<u32>, BTreeSet<u32>)> {
    let programs: BTreeSet<u32> = bpf::owned_program_ids(daemon.pid())?;
    let maps: BTreeSet<u32> = bpf::maps_of(daemon.pid())?.iter().map(|map| map.id).collect();
    ensure!(programs.len() >= 8, "the daemon holds {} programs only", programs.len());
    ensure!(maps.len() >= 8, "the daemon holds {} maps only", maps.len());
    Ok((programs, maps))
}

/// Waits until none of them is left in the kernel. It frees them some milliseconds after their last descriptor.
fn wait_gone((programs, maps): &(BTreeSet<u32>, BTreeSet<u32>)) -> Result<()> {
    wait_until("programs and maps to be freed", Duration::from_secs(5), || {
        let is_left = bpf::program_ids()?.iter().any(|id| programs.contains(id))
            || bpf::map_ids()?.iter().any(|id| maps.contains(id));
        Ok((!is_left).then_some(()))
    })
}

/// A recording that is under way, so that perf events are attached.
fn record_meanwhile(daemon: &Daemon) -> Result<TcpStream> {
    let address = daemon.url().replace("http://", "");
    let before = perf_events_of(daemon.pid())?;
    let mut stream = TcpStream::connect(&address)?;
    write!(stream, "GET /api/v1/flamegraph?duration=60s HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    wait_until("the sampler to be attached", Duration::from_secs(5), || {
        Ok((perf_events_of(daemon.pid())? > before).then_some(()))
    })?;
    Ok(stream)
}

/// Links to perf events that a process holds.
fn perf_events_of(pid: u32) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let is_link = |line: &str| line.starts_with("link_type:") && line.ends_with("perf");
        count += usize::from(info.lines().any(is_link));
    }
    Ok(count)
}

fn pinned() -> Vec<String> {
    let found = run_captured(Command::new("find").args(["/sys/fs/bpf", "-mindepth", "1"]));
    let text = found.map(|found| found.stdout).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_kill_leaves_nothing_attached_and_nothing_pinned() -> Result<()> {
    let pinned_before = pinned();
    let mut daemon = daemon(&[])?;
    let owned = owned(&daemon)?;
    let _recording = record_meanwhile(&daemon)?;
    let pid = daemon.pid();
    daemon.kill9()?;
    wait_gone(&owned)?;
    let perf = run_captured(Command::new("bpftool").args(["-j", "perf", "show"]))?;
    assert!(!perf.stdout.contains(&format!("\"pid\":{pid},")), "perf events left: {}", perf.stdout);
    assert_eq!(pinned(), pinned_before, "pinned in /sys/fs/bpf");
    Ok(())
}

#[test]
fn a_request_to_end_is_met_within_a_second() -> Result<()> {
    let _burner = Container::run("burn", &["burn", "--seconds", "60"])?;
    let mut daemon = daemon(&[])?;
    let owned = owned(&daemon)?;
    // One that streams and one that records: neither holds the end up.
    let address = daemon.url().replace("http://", "");
    let mut streaming = TcpStream::connect(&address)?;
    write!(streaming, "GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let _recording = record_meanwhile(&daemon)?;
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let status = daemon.terminate()?;
    let took = start.elapsed();
    assert!(status.success(), "it ended with {status}: {}", daemon.log());
    assert!(took <= Duration::from_secs(1), "it took {took:?} to end");
    wait_gone(&owned).context("after a regular end")
}
