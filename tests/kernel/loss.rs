//! What is lost is counted, in every place that shows it, and what can be made good is.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, Folded, PlainCgroup, bpf, wait_until};
use serde_json::Value;

use crate::common::{assert_cpu_time, daemon, usage_ns};

fn drops_by_probes(daemon: &Daemon, reason: &str) -> Result<u64> {
    let report = daemon.get("/api/v1/probes")?;
    let drops = report["drops"].as_array().context("drops")?;
    let found = drops.iter().find(|drop| drop["reason"] == reason);
    found.context("no such reason")?["count"].as_u64().context("count")
}

fn runs_of_sampler(daemon: &Daemon) -> Result<u64> {
    let programs = bpf::programs_of(daemon.pid())?;
    let sampler = programs.iter().find(|program| program.is_named("profile_sample"));
    Ok(sampler.context("no program profile_sample")?.run_cnt)
}

/// Every sample was either kept or counted as lost, and three places say the same.
#[test]
fn a_stack_ring_that_is_too_small_says_so() -> Result<()> {
    let daemon = daemon(&["--stack-ring-size", "4K"])?;
    // No CPU idles, so every run of the sampler finds a thread.
    let _burners = [0, 1]
        .map(|cpu| Container::run("burn", &["burn", "--cpu", &cpu.to_string(), "--seconds", "60"]));
    let _stats = bpf::StatsGuard::enable()?;
    let (lost_before, runs_before) =
        (drops_by_probes(&daemon, "stack_ring_full")?, runs_of_sampler(&daemon)?);
    let path = "/api/v1/flamegraph?duration=4s&frequency=4999&format=folded";
    let folded = Folded::parse(&daemon.text(path)?)?;
    let runs = runs_of_sampler(&daemon)? - runs_before;
    let lost = drops_by_probes(&daemon, "stack_ring_full")? - lost_before;
    let (scrape, _) = daemon.next_tick()?;

    assert!(lost > 0, "nothing was lost with 4 KiB at 4999 Hz");
    assert_eq!(scrape.dropped("stack_ring_full"), lost, "/metrics against /api/v1/probes");
    assert_eq!(folded.lost(), lost, "the flame graph against /api/v1/probes");
    let marked =
        folded.count(|stack| stack.frames.iter().any(|frame| frame == "[lost: ring full]"));
    assert_eq!(marked, lost, "weight of the frame [lost: ring full]");
    let accounted = folded.kept() + lost;
    assert!(
        accounted <= runs && accounted as f64 >= 0.98 * runs as f64,
        "{} kept + {lost} lost = {accounted}, the sampler ran {runs} times on busy CPUs",
        folded.kept()
    );
    Ok(())
}

/// The stacks of a recording while all CPUs are busy: what was kept, what was lost, and how often the sampler ran.
fn recorded(
    daemon: &Daemon,
    frequency_hz: u32,
    during: impl FnOnce() -> Result<()>,
) -> Result<[u64; 3]> {
    let lost_before = drops_by_probes(daemon, "stack_ring_full")?;
    let runs_before = runs_of_sampler(daemon)?;
    let url = daemon.url();
    let path = format!("/api/v1/flamegraph?duration=5s&frequency={frequency_hz}&format=folded");
    let recording = std::thread::spawn(move || -> Result<String> {
        Ok(ureq::get(format!("{url}{path}")).call()?.body_mut().read_to_string()?)
    });
    during()?;
    let drawn = recording.join().ok().context("the recording thread")??;
    let folded = Folded::parse(&drawn)?;
    let runs = runs_of_sampler(daemon)? - runs_before;
    let lost = drops_by_probes(daemon, "stack_ring_full")? - lost_before;
    assert_eq!(folded.lost(), lost, "the flame graph against /api/v1/probes");
    Ok([folded.kept(), lost, runs])
}

/// As it is by itself, and with a reader that does not read for a while.
#[test]
fn nothing_is_lost_at_usual_rates_and_a_slow_reader_says_what() -> Result<()> {
    let daemon = daemon(&["--no-history"])?;
    let _burners = [0, 1]
        .map(|cpu| Container::run("burn", &["burn", "--cpu", &cpu.to_string(), "--seconds", "90"]));
    let _stats = bpf::StatsGuard::enable()?;
    let [kept, lost, _] = recorded(&daemon, 99, || Ok(()))?;
    assert!(kept >= 900 && lost == 0, "{kept} kept and {lost} lost at 99 Hz");
    let [kept, lost, _] = recorded(&daemon, 999, || Ok(()))?;
    assert!(kept >= 9_000 && lost * 1_000 <= kept, "{kept} kept and {lost} lost at 999 Hz");
    let [kept, lost, runs] = recorded(&daemon, 4_999, || {
        std::thread::sleep(Duration::from_secs(1));
        daemon.tell(libc::SIGSTOP)?;
        std::thread::sleep(Duration::from_secs(2));
        daemon.tell(libc::SIGCONT)
    })?;
    eprintln!("a reader that stood still for 2 s of 5: {kept} kept, {lost} lost, {runs} samples");
    assert!(lost > 0, "nothing was lost while nobody read");
    let accounted = kept + lost;
    assert!(
        accounted <= runs && accounted as f64 >= 0.98 * runs as f64,
        "{kept} kept + {lost} lost = {accounted}, the sampler ran {runs} times on busy CPUs"
    );
    Ok(())
}

/// Threads are lost track of by no one: processes and cgroups come faster than the ring can tell.
#[test]
fn an_event_ring_that_is_too_small_loses_no_names() -> Result<()> {
    let daemon = daemon(&["--event-ring-size", "4K", "--max-cgroups", "100"])?;
    let others = daemon.next_tick()?.0.subjects().len();
    anyhow::ensure!(others < 30, "{others} cgroups of others leave too few of 100 slots");
    let storm = ["forker", "--rate", "2000", "--burn-us", "0", "--exec", "--seconds", "120"];
    let _storm = [Container::run("storm", &storm)?, Container::run("storm", &storm)?];
    wait_until("the event ring to overflow", Duration::from_secs(10), || {
        Ok((drops_by_probes(&daemon, "event_ring_full")? > 0).then_some(()))
    })?;
    let container = Container::run("in-the-storm", &["burn", "--seconds", "60"])?;
    let row = wait_until("the container's name", Duration::from_secs(12), || {
        let list = daemon.get("/api/v1/containers")?;
        let rows = list["containers"].as_array().context("containers")?;
        // Its directory in another hierarchy may have been told, and so its name; it is measured once that of identity is known too,
        // by the next walk at the latest.
        let is_timed = daemon.scrape()?.of(container.id()).cpu_ns() > 0.0;
        let is_it = |row: &&Value| row["name"] == container.name() && is_timed;
        Ok(rows.iter().find(is_it).cloned())
    })?;
    assert_eq!(row["id"], container.id());
    assert_cpu_time(&daemon, &container, || usage_ns(&container))?;
    Ok(())
}

/// Removals that were not announced give their slots back too.
#[test]
fn slots_of_unannounced_removals_come_back() -> Result<()> {
    let daemon = daemon(&["--event-ring-size", "4K", "--max-cgroups", "100"])?;
    let others = daemon.next_tick()?.0.subjects().len();
    anyhow::ensure!(others < 30, "{others} cgroups of others leave too few of 100 slots");
    for round in 0..3 {
        // Made and removed within one reading of the ring, which holds a few of them.
        let cgroups: Vec<PlainCgroup> = (0..60)
            .map(|i| PlainCgroup::new(&format!("storm-{round}-{i}")))
            .collect::<Result<_>>()?;
        for cgroup in cgroups {
            let mut child = std::process::Command::new("sleep").arg("0.005").spawn()?;
            cgroup.add(child.id())?;
            child.wait()?;
            cgroup.remove()?;
        }
        assert_eq!(drops_by_probes(&daemon, "no_slot")?, 0, "no slot left in round {round}");
        // The tree is walked five seconds after the last time at the latest, and a slot rests for two.
        std::thread::sleep(Duration::from_millis(7_500));
    }
    assert!(drops_by_probes(&daemon, "event_ring_full")? > 0, "the ring was large enough");
    Ok(())
}
