//! Cgroups that come and go: each has its own time, none another's.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, PlainCgroup, fixture_path, truth};

use crate::common::daemon;

/// Runs `burn` milliseconds of CPU time in a new cgroup, and removes it. Gives its id for the daemon and the kernel's
/// account of its CPU time, ns.
fn live_and_die(name: &str, burn_ms: u64) -> Result<(String, u64)> {
    let cgroup = PlainCgroup::new(name)?;
    let mut child = waiting_process(burn_ms)?;
    // As a runtime does it: the process sleeps while it is moved, and goes on in its cgroup.
    cgscope_tests::wait_until("the process to read", Duration::from_secs(5), || {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", child.id()))?;
        Ok(call.starts_with(&format!("{} 0x0 ", libc::SYS_read)).then_some(()))
    })?;
    cgroup.add(child.id())?;
    child.stdin.take().context("stdin")?.write_all(b"go\n")?;
    ensure!(child.wait()?.success(), "the load failed");
    let usage_us = truth::cpu_stat(cgroup.path())?["usage_usec"];
    let id = cgroup.id();
    cgroup.remove()?;
    Ok((id, usage_us * 1000))
}

/// A process that waits for a line, then burns.
fn waiting_process(burn_ms: u64) -> Result<Child> {
    let fixture = fixture_path("short_container")?;
    let script =
        format!("read go; exec {} --milliseconds 1 --burn-ms {burn_ms}", fixture.display());
    Ok(Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?)
}

/// What a process uses while it is moved, or while it leaves, is at the border of two accounts.
const SLACK_NS: f64 = 500_000.0;

#[track_caller]
pub fn assert_usage(id: &str, seen_ns: f64, usage_ns: u64) {
    let truth = usage_ns as f64;
    assert!(
        (seen_ns - truth).abs() <= (0.01 * truth).max(SLACK_NS),
        "{id}: cgscope says {seen_ns:.0} ns of CPU time, cpu.stat {truth:.0} ns"
    );
}

/// More cgroups than there are slots, one after the other.
#[test]
fn slots_are_used_again_without_the_time_of_the_dead() -> Result<()> {
    const CGROUPS: usize = 200;
    let daemon = daemon(&["--max-cgroups", "64"])?;
    let others = daemon.next_tick()?.0.subjects().len();
    ensure!(others < 40, "{others} cgroups of others leave too few of 64 slots");
    let mut usages = Vec::new();
    let start = Instant::now();
    for i in 0..CGROUPS {
        // A slot is its cgroup's own for 2 s after the end.
        let due = start + Duration::from_millis(120) * i as u32;
        sleep(due.saturating_duration_since(Instant::now()));
        usages.push(live_and_die(&format!("recycled-{i}"), 10 + (i as u64 % 3) * 20)?);
    }
    let (scrape, _) = daemon.next_tick()?;
    assert_eq!(scrape.dropped("no_slot"), 0, "cgroups that found no slot");
    for (id, usage_ns) in &usages {
        let seen = scrape.of(id);
        assert!(seen.is_known(), "{id} has no series");
        assert_usage(id, seen.cpu_ns(), *usage_ns);
    }
    // Once dead, nothing is added to them.
    sleep(Duration::from_secs(3));
    let (later, _) = daemon.next_tick()?;
    for (id, _) in &usages {
        assert_eq!(later.of(id).cpu_ns(), scrape.of(id).cpu_ns(), "{id} grows after its end");
        assert_eq!(later.of(id).threads(), 0, "threads of {id} after its end");
    }
    Ok(())
}

/// Records of a family that is off are not there to be zeroed.
#[test]
fn slots_are_given_back_while_the_scheduler_family_is_off() -> Result<()> {
    let daemon = daemon(&["--disable", "sched"])?;
    live_and_die("unscheduled", 10)?;
    // A slot is given back 2 s after the end of its cgroup.
    sleep(Duration::from_secs(3));
    daemon.next_tick()?;
    Ok(())
}

/// The time of what finds no slot is shown under its own name, and nobody's.
#[test]
fn without_a_slot_time_is_unattributed() -> Result<()> {
    // The fewest slots there can be, and more cgroups than that, each with a living process.
    let mut squatters = Vec::new();
    for i in 0..20 {
        let cgroup = PlainCgroup::new(&format!("squatter-{i}"))?;
        let child = Command::new("sleep").arg("60").spawn()?;
        cgroup.add(child.id())?;
        // The handle of the cgroup kills the process.
        squatters.push((cgroup, child));
    }
    let daemon = daemon(&["--max-cgroups", "16"])?;
    let container = Container::run("second", &["burn", "--threads", "2", "--seconds", "60"])?;
    let span =
        cgscope_tests::between_stops(&daemon, &[&container], Duration::from_secs(3), || {
            crate::common::usage_ns(&container)
        })?;
    let rise = |id: &str| span.rise(|scrape| scrape.of(id).cpu_ns(), |&ns| ns);
    let (unattributed, usage) = rise("unattributed");
    assert!(
        unattributed >= 0.99 * usage,
        "unattributed: {unattributed:.0} ns, the container without a slot used {usage:.0} ns"
    );
    assert_eq!(rise(container.id()).0, 0.0, "time of the container");
    let (after, after_tick) = (&span.after.scrape, span.after.tick_at);
    assert!(after.dropped("no_slot") > 0, "no_slot was not counted");
    // Both CPUs are kept busy, so time that was counted twice would not fit in.
    let wall_ns = (after_tick - span.before.tick_at).as_nanos() as f64;
    let everyone: f64 = after.subjects().iter().map(|id| rise(id).0).sum();
    assert!(
        everyone <= cpu_count() * wall_ns * 1.02,
        "all rose by {everyone:.0} ns of CPU time in {wall_ns:.0} ns on {} CPUs",
        cpu_count()
    );
    let doctor = daemon.get("/api/v1/doctor")?.to_string();
    assert!(doctor.contains("loss no_slot") && doctor.contains("--max-cgroups"), "{doctor}");
    for (cgroup, mut child) in squatters {
        drop(cgroup);
        child.wait()?;
    }
    Ok(())
}

fn cpu_count() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}
