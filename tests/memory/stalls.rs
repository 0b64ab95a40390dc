//! Waits for memory, against the kernel's event trace of the same process.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{ContainerOptions, Daemon, Pairs, PlainCgroup, Scrape, Trace, scratch_dir};
use tempfile::TempDir;

use crate::ALONE;
use crate::limits::{LIMIT_BYTES, cgroup_number, limited};
use crate::user::{User, number, read_until};

/// What cgscope says of waits is what the trace says.
fn agrees(seconds: f64, count: u64, truth: &Pairs) {
    eprintln!("{count} waits, {seconds:.6} s; the trace: {truth:?}");
    assert!(truth.count > 0);
    assert_eq!(count, truth.count);
    // The trace has microseconds, and between its instants and ours are other users of the hook.
    let slack_s = truth.seconds * 0.02 + truth.count as f64 * 3e-6;
    assert!((seconds - truth.seconds).abs() < slack_s, "{seconds} s, {} s", truth.seconds);
}

fn who_reaches_its_limit_waits(flags: &[&str]) -> Result<()> {
    const WRITTEN_BYTES: u64 = 192 << 20;
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let files = TempDir::with_prefix_in("files-", scratch_dir())?;
    let options = limited().bind(files.path(), "/files");
    let write = ["--file", "/files/new", "--write-mb", "192"];
    let user = User::start(options, "thrasher", &write)?;
    let bystander = User::start(ContainerOptions::new(), "bystander", &["--touch-mb", "16"])?;
    let (before, _) = daemon.next_tick()?;
    let events = ["vmscan/mm_vmscan_memcg_reclaim_begin", "vmscan/mm_vmscan_memcg_reclaim_end"];
    let trace = Trace::start(&[user.container.host_pid()?], &events)?;
    let failed_before = cgroup_number(&user, "memory.failcnt", "memory.events:max")?;
    let truth = user.run()?;
    bystander.run()?;
    assert_eq!(number(&truth, "written_bytes")?, WRITTEN_BYTES);
    assert!(cgroup_number(&user, "memory.failcnt", "memory.events:max")? > failed_before);
    let traced = trace.pairs("mm_vmscan_memcg_reclaim")?;
    let limit = [("reason", "limit")];
    let rise = |scrape: &Scrape, user: &User, name: &str| {
        user.value(scrape, name, &limit) - user.value(&before, name, &limit)
    };
    let count = |scrape: &Scrape, user: &User| rise(scrape, user, "stall_seconds_count") as u64;
    let scrape = read_until(&daemon, |scrape| count(scrape, &user) >= traced.count)?;
    agrees(rise(&scrape, &user, "stall_seconds_sum"), count(&scrape, &user), &traced);
    let pages = rise(&scrape, &user, "reclaimed_pages_total") as u64;
    assert_eq!(pages, traced.reclaimed);
    assert!(pages * 4096 < WRITTEN_BYTES + LIMIT_BYTES, "more than was ever there");
    assert_eq!(count(&scrape, &bystander), 0);
    Ok(())
}

#[test]
fn stalls_at_the_limit_are_those_of_the_trace_by_tp_btf() -> Result<()> {
    who_reaches_its_limit_waits(&["--hook", "tp_btf"])
}

#[test]
fn stalls_at_the_limit_are_those_of_the_trace_by_raw_tp() -> Result<()> {
    who_reaches_its_limit_waits(&["--hook", "raw_tp"])
}

/// A process that asks the kernel to move pages together waits for it like one that wants a large page.
#[test]
fn compaction_stalls_are_those_of_the_trace() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let cgroup = PlainCgroup::new("compactor")?;
    let script = "read go; echo 1 > /proc/sys/vm/compact_memory; echo done; read go";
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    cgroup.add(shell.id())?;
    let events = ["compaction/mm_compaction_begin", "compaction/mm_compaction_end"];
    let trace = Trace::start(&[shell.id()], &events)?;
    let mut input = shell.stdin.take().context("its input")?;
    std::io::Write::write_all(&mut input, b"\n")?;
    let mut line = String::new();
    let output = shell.stdout.take().context("its output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    ensure!(line == "done\n", "it said {line:?}");
    let traced = trace.pairs("mm_compaction")?;
    let value = |scrape: &Scrape, name: &str| {
        let name = format!("cgscope_memory_stall_seconds_{name}");
        scrape.of(&cgroup.id()).sum(&name, &[("reason", "compaction")])
    };
    let scrape = read_until(&daemon, |scrape| value(scrape, "count") as u64 >= traced.count)?;
    agrees(value(&scrape, "sum"), value(&scrape, "count") as u64, &traced);
    drop(input);
    shell.wait()?;
    Ok(())
}
