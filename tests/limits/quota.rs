//! Quotas, throttled periods and throttled time against `cpu.stat`.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{
    Container, ContainerOptions, Daemon, Scrape, between_stops, truth, while_stopped,
};

use crate::{daemon, file, read_until};

/// Periods, throttled periods, throttled time in ns.
type Throttling = [u64; 3];

fn of_kernel(container: &Container) -> Result<Throttling> {
    let stat = truth::cpu_stat(&file::directory(container, "cpu")?.0)?;
    let field = |name: &str| stat.get(name).copied();
    let in_us = || Some(field("throttled_usec")? * 1_000);
    let throttled_ns = field("throttled_time").or_else(in_us);
    Ok([
        field("nr_periods").context("nr_periods")?,
        field("nr_throttled").context("nr_throttled")?,
        throttled_ns.context("throttled_time")?,
    ])
}

fn of_ours(container: &Container, scrape: &Scrape) -> Throttling {
    let own = scrape.of(container.id());
    let of = |name: &str| own.sum(&format!("cgscope_limits_cpu_{name}_total"), &[]);
    let seconds = of("throttled_seconds");
    [of("periods") as u64, of("throttled_periods") as u64, (seconds * 1e9).round() as u64]
}

/// Both accounts of a container that stands still. A period that ends after it came to a stop is still added: read both until they
/// agree.
fn agreed(daemon: &Daemon, container: &Container) -> Result<Throttling> {
    while_stopped(&[container], || {
        let seen = |scrape: &Scrape| of_ours(container, scrape);
        let scrape =
            read_until(daemon, |s| of_kernel(container).is_ok_and(|truth| seen(s) == truth))?;
        let truth = of_kernel(container)?;
        assert_eq!(seen(&scrape), truth, "periods, throttled periods, throttled ns");
        Ok(truth)
    })
}

#[test]
fn throttled_periods_and_time_are_those_of_cpu_stat() -> Result<()> {
    // There before the daemon.
    let limited =
        ContainerOptions::new().cpu_quota(0.2).run("limited", &["burn", "--seconds", "300"])?;
    let free = Container::run("free", &["burn", "--seconds", "300"])?;
    let daemon = daemon()?;
    let before = agreed(&daemon, &limited)?;
    sleep(Duration::from_secs(3));
    let after = agreed(&daemon, &limited)?;
    let rise: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    assert!(rise[0] >= rise[1] && rise[1] > 0 && rise[2] > 0, "{rise:?}: it was not throttled");
    let scrape = daemon.scrape()?;
    let own = scrape.of(limited.id());
    let of = |name: &str| own.sum(&format!("cgscope_limits_cpu_{name}"), &[]);
    assert_eq!([of("quota_seconds"), of("period_seconds"), of("cores")], [0.02, 0.1, 0.2]);
    let bystander = scrape.of(free.id());
    assert!(bystander.has("cgscope_limits_cpu_weight"), "it is read as well");
    for name in ["quota_seconds", "cores", "periods_total", "throttled_seconds_total"] {
        let name = format!("cgscope_limits_cpu_{name}");
        assert!(!bystander.has(&name), "{name} of one without a quota");
    }
    Ok(())
}

/// The state of the threads is seen in the scheduler, throttled time is the kernel's own account: for one thread they are the
/// same, but for its wait for a CPU after the quota was renewed, which the state cannot tell from the quota.
#[test]
fn the_throttled_state_of_one_thread_is_the_throttled_time() -> Result<()> {
    let daemon = daemon()?;
    let command = ["burn", "--seconds", "300", "--cpu", "0"];
    // Little enough to be used up in each period, whoever else wants that CPU.
    let limited = ContainerOptions::new().cpu_quota(0.05).run("limited", &command)?;
    let pid = limited.host_pid()?;
    let burner = limited.tids()?.into_iter().find(|&tid| tid != pid).context("its thread")?;
    let span = between_stops(&daemon, &[&limited], Duration::from_secs(5), || {
        Ok((of_kernel(&limited)?[2], truth::sched_stat(pid, burner)?.run_delay_ns))
    })?;
    let state = |scrape: &Scrape| scrape.of(limited.id()).state_ns("throttled");
    let (seen_ns, throttled_ns) = span.rise(state, |truth| truth.0);
    let (_, waited_ns) = span.rise(state, |truth| truth.1);
    assert!(throttled_ns > 1e9, "5 % held a burner for {throttled_ns:.0} ns of 5 s only");
    let slack_ns = 0.01 * throttled_ns;
    let (least_ns, most_ns) = (throttled_ns - slack_ns, throttled_ns + waited_ns + slack_ns);
    assert!(
        (least_ns..=most_ns).contains(&seen_ns),
        "{seen_ns:.0} ns in the state, cpu.stat {throttled_ns:.0} ns, waits {waited_ns:.0} ns"
    );
    Ok(())
}
