//! Whose time interrupts took.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Scrape, Trace, between_stops};

use crate::daemon;
use crate::load::{BusyDisk, busiest_line};

const EVENTS: [&str; 4] =
    ["irq/irq_handler_entry", "irq/irq_handler_exit", "irq/softirq_entry", "irq/softirq_exit"];

/// In the order of the kernel's numbers.
const SOFTIRQS: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"];

/// Count and seconds by kind.
type Taken = BTreeMap<&'static str, (u64, f64)>;

/// What the trace of a thread says: time of a hard handler in the middle of a softirq is not the softirq's.
fn traced(trace: &Trace) -> Result<Taken> {
    let mut taken = Taken::new();
    let (mut hard_since, mut soft_since, mut hard_in_soft) = (None, None, 0.0);
    for event in trace.events()? {
        let mut add = |kind, seconds| {
            let entry = taken.entry(kind).or_default();
            *entry = (entry.0 + 1, entry.1 + seconds);
        };
        match event.name.as_str() {
            "irq_handler_entry" => hard_since = Some(event.at_s),
            "irq_handler_exit" => {
                let seconds = event.at_s - hard_since.take().context("an end alone")?;
                hard_in_soft += seconds;
                add("hard", seconds);
            }
            "softirq_entry" => (soft_since, hard_in_soft) = (Some(event.at_s), 0.0),
            "softirq_exit" => {
                let vector = event.number("vec").context("vec")? as usize;
                let since = soft_since.take().context("an end alone")?;
                add(SOFTIRQS[vector], event.at_s - since - hard_in_soft);
            }
            other => ensure!(false, "{other} was not asked for"),
        }
    }
    Ok(taken)
}

/// What cgscope says of a container.
fn seen(scrape: &Scrape, container: &Container) -> Taken {
    let own = scrape.of(container.id());
    let of = |name: &str, kind| own.sum(&format!("cgscope_irq_{name}_total"), &[("kind", kind)]);
    let kinds = SOFTIRQS.into_iter().chain(["hard"]);
    kinds
        .map(|kind| (kind, (of("interruptions", kind) as u64, of("stolen_seconds", kind))))
        .collect()
}

fn rise(before: &Taken, after: &Taken, kind: &str) -> (u64, f64) {
    let of = |taken: &Taken| taken.get(kind).copied().unwrap_or_default();
    (of(after).0 - of(before).0, of(after).1 - of(before).1)
}

/// A disk's interrupts come to the CPU of a container that does nothing but count: they are none of its doing, and all of its
/// loss.
#[test]
fn what_interrupts_took_from_a_container_is_what_the_trace_says() -> Result<()> {
    let daemon = daemon(&[])?;
    let probe = BusyDisk::start(None)?;
    let (_, cpu) = busiest_line()?;
    drop(probe);
    let cpus = std::thread::available_parallelism()?.get() as u32;
    let disk = BusyDisk::start((cpus > 1).then_some((cpu + 1) % cpus))?;
    let victim =
        Container::run("victim", &["burn", "--seconds", "300", "--cpu", &cpu.to_string()])?;
    let bystander = Container::run("bystander", &["waker_every", "--seconds", "300"])?;
    let trace = Trace::start(&victim.tids()?, &EVENTS)?;
    let span = between_stops(&daemon, &[&victim], Duration::from_secs(5), || traced(&trace))?;
    drop(disk);
    let seen = |scrape: &Scrape| seen(scrape, &victim);
    let (before, after) = (seen(&span.before.scrape), seen(&span.after.scrape));
    for kind in SOFTIRQS.into_iter().chain(["hard"]) {
        let (count, seconds) = rise(&before, &after, kind);
        let (true_count, true_seconds) = rise(&span.before.truth, &span.after.truth, kind);
        eprintln!("{kind}: {count} in {seconds:.6} s; the trace {true_count}, {true_seconds:.6} s");
        assert_eq!(count, true_count, "{kind}");
        // Between the trace's instants and ours are other users of the hook.
        let slack_s = 0.05 * true_seconds + 0.7e-6 * count as f64;
        assert!(
            (seconds - true_seconds).abs() <= slack_s,
            "{kind}: {seconds:.6} s, the trace says {true_seconds:.6} s"
        );
    }
    let (hard, _) = rise(&before, &after, "hard");
    assert!(hard > 500, "{hard} interrupts of the disk came to its CPU");
    let of_bystander = super::stolen::seen(&span.after.scrape, &bystander);
    assert!(of_bystander["hard"].0 < hard / 10, "they came to the victim: {of_bystander:?}");
    Ok(())
}
