//! However it ends, nothing of it stays in the kernel, and it ends at once when asked.

use std::io::Read;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::Objects;
use cgscope_tests::{Daemon, cli_command, scratch_dir};

use crate::running::{Running, assert_gone};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn a_killed_daemon_leaves_nothing_in_the_kernel() -> Result<()> {
    let mut daemon = Daemon::start(&[])?;
    let objects = Objects::of(daemon.pid())?;
    ensure!(objects.links.len() >= 8, "{objects:?}");
    assert_eq!(objects.remaining()?, objects, "while it runs, the kernel has them all");
    daemon.kill9()?;
    assert_gone(&objects)
}

#[test]
fn a_killed_daemon_with_a_recording_leaves_nothing() -> Result<()> {
    let mut daemon = Daemon::start(&[])?;
    let recording = ask(&daemon, "/api/v1/flamegraph?duration=60s")?;
    sleep(SECOND);
    let objects = Objects::of(daemon.pid())?;
    daemon.kill9()?;
    drop(recording);
    assert_gone(&objects)
}

/// Asks without waiting for the answer.
fn ask(daemon: &Daemon, path: &str) -> Result<TcpStream> {
    use std::io::Write;
    let mut stream = TcpStream::connect(daemon.address())?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ends_within_a_second(signal: i32) -> Result<()> {
    let mut daemon = Daemon::start(&[])?;
    let objects = Objects::of(daemon.pid())?;
    let mut stream = ask(&daemon, "/api/v1/stream")?;
    let mut head = [0; 512];
    ensure!(stream.read(&mut head)? > 0, "the stream has begun");
    let mut recording = ask(&daemon, "/api/v1/flamegraph?duration=60s")?;
    let window = ask(&daemon, "/api/v1/host/states?duration=60s")?;
    sleep(SECOND / 2);
    let asked = Instant::now();
    let status = daemon.signal(signal)?;
    let took = asked.elapsed();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(took < SECOND, "took {took:?}");
    let mut rest = String::new();
    // The answer may have been cut off; it may not say that all is well.
    let _ = recording.read_to_string(&mut rest);
    assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
    let _ = stream.read_to_end(&mut Vec::new()).context("the stream ends")?;
    drop(window);
    assert_gone(&objects)
}

#[test]
fn the_daemon_ends_within_a_second_of_sigterm() -> Result<()> {
    ends_within_a_second(libc::SIGTERM)
}

#[test]
fn the_daemon_ends_within_a_second_of_sigint() -> Result<()> {
    ends_within_a_second(libc::SIGINT)
}

#[test]
fn commands_without_a_daemon_detach_at_their_end() -> Result<()> {
    let folded = scratch_dir().join("ending.folded");
    let folded = folded.to_str().context("a path in UTF-8")?;
    for arguments in [
        &["latency", "--duration", "2s", "--json"][..],
        &["states", "--duration", "2s", "--json"],
        &["flamegraph", "--duration", "2s", "-o", folded],
    ] {
        let mut command = Running::start(&mut cli_command(arguments))?;
        let objects = command.attached()?;
        let (output, _) = command.wait(PATIENCE)?;
        assert_eq!(output.status, Some(0), "{arguments:?}: {output:?}");
        assert_gone(&objects).with_context(|| format!("{arguments:?}"))?;
    }
    std::fs::remove_file(folded)?;
    Ok(())
}

#[test]
fn commands_without_a_daemon_end_and_detach_when_interrupted() -> Result<()> {
    let file = scratch_dir().join("interrupted.svg");
    let path = file.to_str().context("a path in UTF-8")?;
    for arguments in [
        &["latency", "--duration", "60s"][..],
        &["states", "--duration", "60s"],
        &["flamegraph", "--duration", "60s", "-o", path],
        &["top", "--once", "--duration", "60s"],
    ] {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let mut command = Running::start(&mut cli_command(arguments))?;
            let objects = command.attached()?;
            sleep(SECOND / 4);
            command.signal(signal);
            let (output, took) = command.wait(PATIENCE)?;
            assert!(took < SECOND, "{arguments:?} took {took:?} to end");
            assert_ne!(output.status, Some(0), "{arguments:?} did not do what was asked");
            assert!(!output.stderr.contains("panicked"), "{output:?}");
            assert_gone(&objects).with_context(|| format!("{arguments:?}"))?;
        }
    }
    assert!(!file.exists(), "an interrupted recording leaves no file");
    let hidden = std::fs::read_dir(scratch_dir())?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".interrupted"));
    assert_eq!(hidden.count(), 0, "nor a half one");
    Ok(())
}

#[test]
fn two_commands_without_a_daemon_run_at_once() -> Result<()> {
    let arguments = ["states", "--duration", "3s", "--json"];
    let mut first = Running::start(&mut cli_command(&arguments))?;
    let mut second = Running::start(&mut cli_command(&arguments))?;
    let (one, other) = (first.attached()?, second.attached()?);
    assert!(one.programs.is_disjoint(&other.programs), "each has its own");
    for command in [&mut first, &mut second] {
        let (output, _) = command.wait(PATIENCE)?;
        assert_eq!(output.status, Some(0), "{output:?}");
        let states: serde_json::Value = serde_json::from_str(&output.stdout)?;
        assert!(states["activity"]["cpu_cores"].as_f64() > Some(0.0), "{states}");
    }
    assert_gone(&one)?;
    assert_gone(&other)
}
