//! Whose time it was: the one who waited, not the one who ran; the one who was woken, not the waker; nobody while idle.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, between_stops, peer, truth};

use crate::close::close;
use crate::{WINDOW, daemon};

/// Between the clock reads of the scheduler's account and ours, at both ends of a wait.
const SLACK_NS_PER_WAIT: f64 = 3_000.0;

#[test]
fn the_wait_belongs_to_the_one_who_waited() -> Result<()> {
    let daemon = daemon()?;
    let burner = Container::run("burner", &["burn", "--cpu", "0", "--seconds", "60"])?;
    let waker = Container::run("waker", &["waker_every", "--cpu", "0", "--seconds", "60"])?;
    let (burner_pid, waker_pid) = (burner.host_pid()?, waker.host_pid()?);
    let account = |pid| -> Result<_> {
        Ok((truth::process_sched_stat(pid)?, truth::process_context_switches(pid)?))
    };
    let span = between_stops(&daemon, &[&burner, &waker], WINDOW, || {
        Ok([account(burner_pid)?, account(waker_pid)?])
    })?;
    for (i, container) in [&burner, &waker].into_iter().enumerate() {
        let who = ["burner", "waker"][i];
        let waits = span.rise(|s| s.of(container.id()).runqueue().1 as f64, |_| 0).0;
        assert!(waits > 0.0, "no wait of the {who} was counted");
        let (seen, delay) = span
            .rise(|s| s.of(container.id()).state_ns("runnable"), |truth| truth[i].0.run_delay_ns);
        let slack = waits * SLACK_NS_PER_WAIT;
        close(&format!("runqueue wait of the {who}, ns"), seen, delay, 0.01, slack);
        // Every voluntary switch away is ended by one wake-up: what the other did is not among them.
        let (seen, waited) =
            span.rise(|s| s.of(container.id()).wakeups() as f64, |truth| truth[i].1.voluntary);
        assert_eq!(seen, waited, "wake-ups of the {who} against its voluntary switches");
    }
    let wakeups = |container: &Container| {
        span.rise(|scrape| scrape.of(container.id()).wakeups() as f64, |_| 0).0
    };
    assert!(wakeups(&waker) > 20.0 * wakeups(&burner).max(1.0), "the two are confused");

    let path = format!("/api/v1/containers/{}/latency?duration=4s", waker.id());
    sleep(Duration::from_secs(4));
    let latency = daemon.get(&path)?;
    let runqueue = latency["distributions"]
        .as_array()
        .and_then(|all| all.iter().find(|d| d["name"] == "cgscope_sched_runqueue_latency_seconds"))
        .context("no runqueue latency")?;
    let p99_ns = runqueue["p99_ns"].as_u64().context("no p99")?;
    assert!(p99_ns > 1_000_000, "p99 of the waker beside a burner on its CPU: {p99_ns} ns");
    Ok(())
}

/// Short waits, of which the kernel's own account sees little: it starts and ends them on a clock that can stand still in between.
#[test]
fn the_median_wait_is_the_one_runqlat_sees() -> Result<()> {
    let daemon = daemon()?;
    let waker = Container::run("waker", &["waker_every", "--seconds", "60"])?;
    let pid = waker.host_pid()?;
    let before = daemon.next_tick()?.0.of(waker.id()).runqueue();
    let theirs = peer::runqlat_of_process(pid, 4)?;
    let (low_ns, high_ns) = theirs.quantile_bounds_ns(0.5).context("runqlat saw nothing")?;
    let waits = daemon.next_tick()?.0.of(waker.id()).runqueue().1 - before.1;
    assert!(waits >= theirs.total(), "{waits} waits, runqlat saw {}", theirs.total());
    let path = format!("/api/v1/containers/{}/latency?duration=4s", waker.id());
    let latency = daemon.get(&path)?;
    let median_ns = latency["distributions"]
        .as_array()
        .and_then(|all| all.iter().find(|d| d["name"] == "cgscope_sched_runqueue_latency_seconds"))
        .and_then(|runqueue| runqueue["p50_ns"].as_u64())
        .context("no median")?;
    // Within one of its buckets: ours begins when the thread is put on the queue, runqlat's when that is told.
    assert!(
        (low_ns / 2..high_ns * 2).contains(&median_ns),
        "median {median_ns} ns, runqlat's in {low_ns}..{high_ns} ns"
    );
    Ok(())
}

/// All wake-ups of the container's life, against what the fixture counted itself.
#[test]
fn a_containers_events_are_its_own() -> Result<()> {
    let daemon = daemon()?;
    let other =
        Container::run("other", &["waker_every", "--period-us", "1000", "--seconds", "60"])?;
    let one = Container::run("one", &["waker_every", "--seconds", "60"])?;
    sleep(WINDOW);
    let own_count = one.stop()?["wakeups"].as_u64().context("wakeups")?;
    let seen = daemon.next_tick()?.0.of(one.id()).wakeups();
    // The runtime's first process wakes some threads in the container before the fixture begins.
    let beginning = 300;
    assert!(
        (own_count..own_count + beginning).contains(&seen),
        "cgscope saw {seen} wake-ups, the fixture counted {own_count}"
    );
    let of_other = daemon.next_tick()?.0.of(other.id()).wakeups();
    assert!(of_other > 3 * seen, "the other wakes ten times as often: {of_other} against {seen}");
    Ok(())
}

#[test]
fn the_one_who_is_woken_is_counted_not_the_waker() -> Result<()> {
    let daemon = daemon()?;
    let shared = tempfile::tempdir()?;
    let side = |role: &str| {
        ContainerOptions::new()
            .bind(shared.path(), "/shared")
            .run(role, &["fifo_waker", "--role", role, "--cpu", "0", "--seconds", "60"])
    };
    let (sleeper, waker) = (side("sleeper")?, side("waker")?);
    let pids = [sleeper.host_pid()?, waker.host_pid()?];
    let span = between_stops(&daemon, &[&waker, &sleeper], WINDOW, || {
        Ok([
            (truth::sched_stat(pids[0], pids[0])?, truth::context_switches(pids[0], pids[0])?),
            (truth::sched_stat(pids[1], pids[1])?, truth::context_switches(pids[1], pids[1])?),
        ])
    })?;
    let mut wakeups = [0.0; 2];
    for (i, container) in [&sleeper, &waker].into_iter().enumerate() {
        let who = ["sleeper", "waker"][i];
        let (seen, truth) =
            span.rise(|s| s.of(container.id()).wakeups() as f64, |truth| truth[i].1.voluntary);
        assert_eq!(seen, truth, "wake-ups of the {who}");
        wakeups[i] = seen;
        let waits = span.rise(|s| s.of(container.id()).runqueue().1 as f64, |_| 0).0;
        let (seen, truth) =
            span.rise(|s| s.of(container.id()).state_ns("runnable"), |t| t[i].0.run_delay_ns);
        let slack = waits * SLACK_NS_PER_WAIT;
        close(&format!("runqueue wait of the {who}, ns"), seen, truth, 0.01, slack);
    }
    assert!(wakeups[0] > 100.0, "the sleeper was woken {} times only", wakeups[0]);
    assert!(wakeups[1] < 10.0, "the waker never sleeps, and was woken {} times", wakeups[1]);
    Ok(())
}

#[test]
fn idle_time_is_nobodys_and_all_time_is_somebodys() -> Result<()> {
    let daemon = daemon()?;
    let _burner = Container::run("half", &["burn", "--threads", "1", "--seconds", "60"])?;
    let asleep = Container::run("asleep", &["sleep", "60"])?;
    let read = || -> Result<_> {
        let (scrape, at) = daemon.next_tick()?;
        Ok((scrape, at, truth::machine_cpu_ns()?))
    };
    let (before, start, busy_before) = read()?;
    sleep(WINDOW);
    let (after, end, busy_after) = read()?;

    let wall_ns = (end - start).as_nanos() as f64;
    let cpus = std::thread::available_parallelism()?.get() as f64;
    let cpu_ns =
        |scrape: &cgscope_tests::Scrape| scrape.sum("cgscope_sched_cpu_seconds_total", &[]) * 1e9;
    let seen_ns = cpu_ns(&after) - cpu_ns(&before);
    assert!(
        seen_ns <= cpus * wall_ns * 1.005,
        "{seen_ns:.0} ns of CPU time in {wall_ns:.0} ns on {cpus} CPUs: idle time was counted"
    );
    let truth_ns = (busy_after - busy_before) as f64;
    close("CPU time of everyone, ns", seen_ns, truth_ns, 0.03, 0.0);

    let (first, last) = (before.of(asleep.id()), after.of(asleep.id()));
    assert!(last.is_known(), "the sleeping container has no series");
    assert_eq!(last.cpu_ns() - first.cpu_ns(), 0.0, "CPU time of a container that slept");
    assert_eq!(last.wakeups(), first.wakeups(), "wake-ups of a container that slept");
    let slept_ns = last.state_ns("sleeping") - first.state_ns("sleeping");
    close("time asleep, ns", slept_ns, wall_ns, 0.01, 30e6);
    Ok(())
}

/// A process is watched apart from its container, and only while someone asks.
#[test]
fn a_process_is_told_from_its_neighbours() -> Result<()> {
    let daemon = daemon()?;
    let container =
        Container::run("two", &["sh", "-c", "burn --seconds 60 & waker_every --seconds 60"])?;
    let name_of = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let deadline = Instant::now() + Duration::from_secs(5);
    let pid = loop {
        let found = container
            .pids()?
            .into_iter()
            .find(|&pid| name_of(pid).is_ok_and(|name| name.trim() == "waker_every"));
        match found {
            Some(pid) => break pid,
            None => anyhow::ensure!(Instant::now() < deadline, "waker_every did not start"),
        }
    };
    let before = (truth::sched_stat(pid, pid)?, truth::context_switches(pid, pid)?);
    let states = daemon.get(&format!("/api/v1/processes/{pid}/states?duration=4s"))?;
    let after = (truth::sched_stat(pid, pid)?, truth::context_switches(pid, pid)?);
    let threads = states["activity"]["threads"].as_f64().context("threads")?;
    close("threads of the process, thousandths", threads * 1e3, 1e3, 0.01, 0.0);
    let waits = states["activity"]["runqueue"]["count"].as_u64().context("count")?;
    let most = after.0.slices - before.0.slices;
    assert!(waits <= most, "{waits} waits of a process that was put on a CPU {most} times");
    assert!(waits * 10 >= most * 7, "{waits} waits of {most} in nearly the same window");
    let span_ns = states["span_ns"].as_f64().context("span")?;
    let cpu = states["activity"]["cpu_cores"].as_f64().context("cpu_cores")? * span_ns;
    let most = (after.0.run_ns - before.0.run_ns) as f64;
    assert!(cpu <= most + 4e6, "{cpu:.0} ns of CPU time, the process had {most:.0}");
    assert!(cpu >= 0.7 * most, "{cpu:.0} ns of CPU time, the process had {most:.0}");
    Ok(())
}
