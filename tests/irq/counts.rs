//! How often: the kernel's own counts, read before and after.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::StatsGuard;
use cgscope_tests::{Daemon, Scrape, TracepointCount};

use crate::daemon;
use crate::load::{BusyDisk, busiest_line, lines};

const WINDOW: Duration = Duration::from_secs(5);

/// Some platforms hide from eBPF what happens while a thread of their own agent is current. As large a part of all softirqs at
/// most, by perf, which sees them.
const MOST_HIDDEN: f64 = 0.02;

/// Of all CPUs, by the kernel's name.
fn softirqs() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string("/proc/softirqs")?;
    let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
    lines
        .map(|(name, counts)| {
            let counts = counts.split_whitespace().map(str::parse::<u64>);
            Ok((name.to_lowercase(), counts.sum::<Result<u64, _>>()?))
        })
        .collect()
}

/// A reading of the daemon between two of the kernel, and how many softirqs its program was not called for.
struct Look<T> {
    before: T,
    scrape: Scrape,
    after: T,
    /// Softirqs that perf saw before and after `calls` was read.
    perf: (u64, u64),
    calls: u64,
}

impl<T> Look<T> {
    fn take(
        daemon: &Daemon,
        perf: &TracepointCount,
        truth: impl Fn() -> Result<T>,
    ) -> Result<Self> {
        let before = truth()?;
        let (scrape, _) = daemon.next_tick()?;
        let after = truth()?;
        let perf_before = perf.read()?;
        let calls = calls(daemon)?;
        Ok(Self { before, scrape, after, perf: (perf_before, perf.read()?), calls })
    }

    /// At most so many were hidden from the program between two looks.
    fn hidden(first: &Self, last: &Self) -> Result<u64> {
        let (delivered, called) = (last.perf.1 - first.perf.0, last.calls - first.calls);
        ensure!(called <= delivered, "{called} calls for {delivered} softirqs");
        let hidden = delivered - called;
        eprintln!("{hidden} of {delivered} softirqs hidden");
        ensure!(hidden as f64 <= MOST_HIDDEN * delivered as f64, "{hidden} of {delivered} hidden");
        Ok(hidden)
    }
}

/// As the kernel counts them.
fn calls(daemon: &Daemon) -> Result<u64> {
    let probes = daemon.get("/api/v1/probes")?;
    let programs = probes["programs"].as_array().context("programs")?;
    let is_it = |program: &&serde_json::Value| {
        program["name"].as_str().is_some_and(|name| name.starts_with("irq_soft_end"))
    };
    let program = programs.iter().find(is_it).context("irq_soft_end")?;
    Ok(program["calls"].as_u64().unwrap_or(0))
}

/// A handler that runs while one side is read has been counted by the other.
fn in_flight() -> Result<u64> {
    Ok(std::thread::available_parallelism()?.get() as u64)
}

fn softirqs_are_those_of_proc(flags: &[&str]) -> Result<()> {
    let daemon = daemon(flags)?;
    let _disk = BusyDisk::start(None)?;
    let _stats = StatsGuard::enable()?;
    let perf = TracepointCount::open("irq/softirq_exit")?;
    let first = Look::take(&daemon, &perf, softirqs)?;
    std::thread::sleep(WINDOW);
    let last = Look::take(&daemon, &perf, softirqs)?;
    let hidden = Look::hidden(&first, &last)?;
    let slack = in_flight()?;
    let mut all = 0;
    for (kind, before) in &first.before {
        let seen = |scrape: &Scrape| {
            scrape.sum("cgscope_host_softirq_runs_total", &[("kind", kind)]) as u64
        };
        let seen = seen(&last.scrape) - seen(&first.scrape);
        let least = (last.before[kind] - first.after[kind]).saturating_sub(hidden + slack);
        let most = last.after[kind] - before + slack;
        eprintln!("{kind}: {least} <= {seen} <= {most}");
        assert!((least..=most).contains(&seen), "{kind}: {seen}, by the kernel {least} to {most}");
        all += seen;
    }
    assert!(all > 1_000, "{all} softirqs in {WINDOW:?}: nothing happened");
    Ok(())
}

#[test]
fn softirqs_are_those_of_proc_by_tp_btf() -> Result<()> {
    softirqs_are_those_of_proc(&["--hook", "tp_btf"])
}

#[test]
fn softirqs_are_those_of_proc_by_raw_tp() -> Result<()> {
    softirqs_are_those_of_proc(&["--hook", "raw_tp"])
}

#[test]
fn interrupts_of_a_line_are_those_of_proc() -> Result<()> {
    let daemon = daemon(&[])?;
    let _disk = BusyDisk::start(None)?;
    let (line, cpu) = busiest_line()?;
    let truth = || -> Result<u64> {
        let counts = lines()?.remove(&line).context("the line")?;
        counts.get(cpu as usize).copied().context("its CPU")
    };
    let _stats = StatsGuard::enable()?;
    let perf = TracepointCount::open("irq/softirq_exit")?;
    let first = Look::take(&daemon, &perf, truth)?;
    std::thread::sleep(WINDOW);
    let last = Look::take(&daemon, &perf, truth)?;
    let hidden = Look::hidden(&first, &last)?;
    let (irq, cpu) = (line.to_string(), cpu.to_string());
    let labels = [("irq", irq.as_str()), ("cpu", cpu.as_str())];
    let seen =
        |scrape: &Scrape, what: &str| scrape.sum(&format!("cgscope_host_irq_{what}"), &labels);
    let rise = |what: &str| seen(&last.scrape, what) - seen(&first.scrape, what);
    let count = rise("handlers_total") as u64;
    let least = (last.before - first.after).saturating_sub(hidden + 1);
    let most = last.after - first.before + 1;
    eprintln!("line {line} on CPU {cpu}: {least} <= {count} <= {most}");
    assert!((least..=most).contains(&count), "{count}, by the kernel {least} to {most}");
    assert!(count > 500, "{count} interrupts in {WINDOW:?}: nothing happened");
    let mean_ns = rise("seconds_total") * 1e9 / count as f64;
    assert!((100.0..1e6).contains(&mean_ns), "a handler took {mean_ns} ns");
    let series = last.scrape.iter().find(|series| {
        series.name == "cgscope_host_irq_handlers_total"
            && series.labels.get("irq").is_some_and(|label| *label == irq)
    });
    let device = series.and_then(|series| series.labels.get("device")).context("its device")?;
    let table = fs::read_to_string("/proc/interrupts")?;
    let row = table.lines().find(|row| row.trim_start().starts_with(&format!("{irq}:")));
    assert!(
        !device.is_empty() && row.is_some_and(|row| row.ends_with(device)),
        "{device}: {row:?}"
    );
    Ok(())
}
