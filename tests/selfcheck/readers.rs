//! The readers of the kernel's account agree with what a process measures of itself.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::bpf::{StatsGuard, maps_of, programs_of};
use cgscope_tests::peer::{AttachedPeer, parse_histograms, runqlat_of_process};
use cgscope_tests::{Container, FixtureProcess, truth};

#[test]
fn both_cgroup_accounts_hold_what_the_container_measured() -> Result<()> {
    let container = Container::run("account", &["burn", "--seconds", "60", "--threads", "2"])?;
    let (v2, v1) = (container.cgroup_v2()?, container.cgroup_v1("cpuacct")?);
    let usage_v2_ns = || Ok(truth::cpu_stat(&v2)?.get("usage_usec").context("usage_usec")? * 1_000);
    let v2_rise = truth::bracket(usage_v2_ns, || {
        truth::bracket(
            || truth::cpuacct_usage_ns(&v1),
            || {
                sleep(Duration::from_secs(2));
                Ok(())
            },
        )
    })?;
    let v1_rise = v2_rise.value.rise();
    // The outer bracket holds the inner one; both were read within milliseconds of each other.
    let difference_ns = v2_rise.rise().abs_diff(v1_rise);
    assert!(difference_ns < 40_000_000, "v2 {} ns, v1 {v1_rise} ns", v2_rise.rise());
    let total_ns = usage_v2_ns()?;
    let own_ns = container.stop()?["cpu_ns"].as_u64().context("cpu_ns")?;
    // The cgroup also paid for the runtime's start, some 40 ms; the fixture ran on until it was stopped.
    assert!(own_ns + 100_000_000 > total_ns, "cgroup {total_ns} ns, fixture {own_ns} ns");
    assert!(v1_rise > 1_000_000_000, "two burners got {v1_rise} ns in 2 s");
    Ok(())
}

#[test]
fn proc_counts_what_switcher_did() -> Result<()> {
    let fixture = FixtureProcess::start(&["switcher", "--count", "400", "--sleep-us", "5000"])?;
    let pid = fixture.pid();
    let read = || Ok(truth::process_context_switches(pid)?.voluntary);
    let switches = truth::bracket(read, || {
        sleep(Duration::from_secs(1));
        Ok(())
    })?;
    let slices = truth::process_sched_stat(pid)?.slices;
    assert!((150..=200).contains(&switches.rise()), "{} switches in 1 s", switches.rise());
    assert!(slices >= switches.after, "{slices} slices, {} switches", switches.after);
    Ok(())
}

#[test]
fn cpu_time_of_a_process_and_of_the_machine() -> Result<()> {
    let fixture = FixtureProcess::start(&["burn", "--seconds", "60", "--cpu", "0"])?;
    // A test run at low priority has children at low priority: their time is in `nice`.
    let user_ticks = || truth::cpu_times(Some(0)).map(|times| times.user + times.nice);
    let machine = truth::bracket(user_ticks, || {
        truth::bracket(
            || truth::process_cpu_ns(fixture.pid()),
            || {
                sleep(Duration::from_secs(1));
                Ok(())
            },
        )
    })?;
    let (user_ns, own_ns) = (machine.rise() * 10_000_000, machine.value.rise());
    assert!(own_ns > 300_000_000, "a pinned burner got {own_ns} ns in 1 s");
    // CPU 0's user time holds the burner's: nearly all of it is spent in user space.
    assert!(user_ns + 50_000_000 > own_ns, "CPU 0: {user_ns} ns in user space, burner {own_ns} ns");
    assert!(truth::resident_bytes(fixture.pid())? > 0);
    assert!(truth::system_context_switches()? > 0);
    Ok(())
}

#[test]
fn a_bracket_refuses_what_lies_outside() -> Result<()> {
    let mut counter = 0_u64;
    let read = || {
        counter += 100;
        Ok(counter)
    };
    let mut inside = truth::bracket(read, || Ok(150_u64))?;
    assert!(inside.holds(0));
    inside.value = 205;
    assert!(!inside.holds(4) && inside.holds(5));
    inside.value = 95;
    assert!(!inside.holds(4) && inside.holds(5));
    Ok(())
}

#[test]
fn histograms_of_peers_are_read() -> Result<()> {
    let output = "Tracing run queue latency... Hit Ctrl-C to end.\n\n     \
                  usecs               : count    distribution\n         \
                  0 -> 1          : 5        |**********    |\n         \
                  2 -> 3          : 94       |**************|\n         \
                  4 -> 7          : 1        |****          |\n";
    let histograms = parse_histograms(output)?;
    assert_eq!(histograms.len(), 1);
    assert_eq!(histograms[0].total(), 100);
    assert_eq!(histograms[0].quantile_bounds_ns(0.5), Some((2_000, 4_000)));
    assert_eq!(histograms[0].quantile_bounds_ns(1.0), Some((4_000, 8_000)));
    assert!(parse_histograms("usecs : count\n 0 -> x : 5 |**|\n").is_err());
    Ok(())
}

#[test]
fn runqlat_counts_the_wakeups_of_waker_every() -> Result<()> {
    let fixture = FixtureProcess::start(&["waker_every", "--seconds", "60"])?;
    let histogram = runqlat_of_process(fixture.pid(), 2)?;
    // 10 ms of sleep and 0.2 ms of burning: 196 rounds in 2 s at most.
    assert!((150..=200).contains(&histogram.total()), "{histogram:?}");
    Ok(())
}

#[test]
fn the_owner_of_programs_is_known_and_their_runs_are_counted() -> Result<()> {
    let peer = AttachedPeer::start("runqlat", &[])?;
    let _stats = StatsGuard::enable()?;
    let runs = || -> Result<u64> {
        let programs = programs_of(peer.pid())?;
        let switch = programs.iter().find(|program| program.is_named("sched_switch"));
        Ok(switch.context("runqlat has no sched_switch")?.run_cnt)
    };
    let _load = FixtureProcess::start(&["waker_every", "--seconds", "60"])?;
    let counted = truth::bracket(runs, || {
        sleep(Duration::from_secs(1));
        Ok(())
    })?;
    assert!(counted.rise() > 100, "sched_switch ran {} times in 1 s", counted.rise());
    assert!(maps_of(peer.pid())?.iter().any(|map| map.name == "hists" && map.bytes_memlock > 0));
    assert!(programs_of(std::process::id())?.is_empty(), "this test has loaded nothing");
    Ok(())
}
