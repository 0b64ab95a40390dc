//! Bytes, faults and memory, to the last one, as long as each event is sent.

use std::process::Command;

use anyhow::{Result, ensure};
use cgscope_tests::disk::Disk;
use cgscope_tests::{ContainerOptions, Stack, run_captured, truth};

use crate::daemon;
use crate::recording::{
    Recorded, Worker, assert_close, assert_innermost, detail_of, number, of, record,
};

/// Few enough that none is drawn: 2,000 events in a second and a half on two CPUs.
const FEW: [&str; 4] = ["--turns", "1000", "--pause-us", "1000"];
const SECONDS: u32 = 8;

/// Each function has its part, called from main, in the kernel where the event is, and nobody else is there.
fn assert_parts(recorded: &Recorded, details: [&str; 2]) -> Result<()> {
    let folded = &recorded.folded;
    for (function, name, detail) in
        [("do_three", "three", details[0]), ("do_one", "one", details[1])]
    {
        let seen = of(folded, function);
        assert_close(function, seen, number(&recorded.truth, name)?, 0.01);
        let told = folded.count(|stack| stack.has(function) && detail_of(stack) == Some(detail));
        assert_close(detail, told, seen, 0.001);
    }
    let is_stranger = |s: &&Stack| s.frames[0] != "weights";
    let strangers: Vec<_> = folded.0.iter().filter(is_stranger).collect();
    ensure!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

#[test]
fn bytes_read_from_a_disk() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("data", 16 << 20)?;
    let daemon = daemon()?;
    let start = |name| {
        let load = [&["--what", "read", "--file", "/disk/data"][..], &FEW].concat();
        Worker::start(ContainerOptions::new().bind(&disk.mount(), "/disk"), name, &load)
    };
    let (worker, bystander) = (start("reader")?, start("bystander")?);
    let recorded = record(&daemon, "block", &worker.target(), SECONDS, &[&worker, &bystander])?;
    let folded = &recorded.folded;
    // Below the file system of the container's disk lies that of the machine, for which the disk's own thread reads.
    let of_worker = |stack: &Stack| stack.frames[0] == "weights";
    let expected = number(&recorded.truth, "three")? + number(&recorded.truth, "one")?;
    assert_eq!(folded.count(of_worker), expected, "every byte: {folded:?}");
    for (function, name) in [("do_three", "three"), ("do_one", "one")] {
        assert_eq!(of(folded, function), number(&recorded.truth, name)?, "{function}");
    }
    let others = folded.count(|stack| !of_worker(stack) && stack.has("main"));
    assert_eq!(others, 0, "{folded:?}");
    let reads = folded.count(|s| of_worker(s) && detail_of(s) == Some("disk.read"));
    assert_eq!(reads, expected);
    assert_eq!(folded.lost(), 0, "lost");
    assert_eq!(recorded.profile["unit"], "bytes");
    assert_innermost(folded, &["submit_bio"], |_| true);
    Ok(())
}

#[test]
fn faults() -> Result<()> {
    let daemon = daemon()?;
    let load = [&["--what", "fault"][..], &FEW].concat();
    let worker = Worker::start(ContainerOptions::new(), "faults", &load)?;
    let bystander = Worker::start(ContainerOptions::new(), "bystander", &load)?;
    let recorded = record(&daemon, "fault", &worker.target(), SECONDS, &[&worker, &bystander])?;
    // Beside its work it polls its gate and prints a line.
    assert_close("all", recorded.folded.kept(), number(&recorded.truth, "faults")?, 0.01);
    assert!(!recorded.folded.0.iter().any(Stack::has_program), "{:?}", recorded.folded);
    assert_parts(&recorded, ["fault.minor", "fault.minor"])?;
    assert_eq!(recorded.profile["unit"], "events");
    Ok(())
}

#[test]
fn growth_of_memory() -> Result<()> {
    let daemon = daemon()?;
    let load = [&["--what", "grow"][..], &FEW].concat();
    let worker = Worker::start(ContainerOptions::new(), "grows", &load)?;
    let bystander = Worker::start(ContainerOptions::new(), "bystander", &load)?;
    let pid = worker.container.host_pid()?;
    let before = truth::resident_bytes(pid)?;
    let recorded = record(&daemon, "memory", &worker.target(), SECONDS, &[&worker, &bystander])?;
    let grown = truth::resident_bytes(pid)? - before;
    assert!(grown >= 1000 * 4 * 4096, "{grown} bytes by /proc/PID/smaps_rollup");
    assert_close("/proc/PID/smaps_rollup", recorded.folded.kept(), grown, 0.01);
    assert!(!recorded.folded.0.iter().any(Stack::has_program), "{:?}", recorded.folded);
    assert_parts(&recorded, ["memory.anonymous", "memory.anonymous"])?;
    assert_eq!(recorded.profile["unit"], "bytes");
    Ok(())
}

/// What is given back and taken again is growth again: what a graph of it shows is who takes, not what is held.
#[test]
fn memory_that_is_taken_again_counts_again() -> Result<()> {
    let daemon = daemon()?;
    let load = ["--what", "fault", "--turns", "1500", "--pause-us", "500"];
    let worker = Worker::start(ContainerOptions::new(), "again", &load)?;
    let recorded = record(&daemon, "memory", &worker.target(), SECONDS, &[&worker])?;
    let touched = number(&recorded.truth, "three")? + number(&recorded.truth, "one")?;
    let both = of(&recorded.folded, "do_three") + of(&recorded.folded, "do_one");
    assert_close("pages of 16 MiB, taken more than once", both, touched * 4096, 0.01);
    Ok(())
}

#[test]
fn bytes_sent() -> Result<()> {
    let daemon = daemon()?;
    let load = [&["--what", "send"][..], &FEW].concat();
    let worker = Worker::start(ContainerOptions::new(), "sends", &load)?;
    let bystander = Worker::start(ContainerOptions::new(), "bystander", &load)?;
    for worker in [&worker, &bystander] {
        let pid = worker.container.host_pid()?.to_string();
        let up = ["--target", &pid, "--net", "ip", "link", "set", "lo", "up"];
        let done = run_captured(Command::new("nsenter").args(up))?;
        ensure!(done.success(), "nsenter: {}", done.stderr);
    }
    let recorded = record(&daemon, "network", &worker.target(), SECONDS, &[&worker, &bystander])?;
    let expected = number(&recorded.truth, "three")? + number(&recorded.truth, "one")?;
    assert_eq!(recorded.folded.kept(), expected, "{:?}", recorded.folded);
    // Of the layer of sockets: what the kernel names the place by, or a system call that it is part of.
    let layer = ["call_trace_sock_send_length", "sock_", "__sock_", "__sys_send"];
    assert_innermost(&recorded.folded, &layer, |_| true);
    assert_parts(&recorded, ["network.tcp", "network.udp"])
}
