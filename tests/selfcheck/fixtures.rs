//! Each fixture's truth agrees with what the kernel says of it from outside.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, FixtureProcess, truth};
use serde_json::Value;

use crate::PATIENCE;

fn number(truth: &Value, key: &str) -> Result<u64> {
    truth[key].as_u64().with_context(|| format!("no {key} in {truth}"))
}

#[test]
fn shares_are_sixty_thirty_ten() -> Result<()> {
    let container = Container::run("shares", &["shares", "--seconds", "3"])?;
    let truth = container.wait_truth(PATIENCE)?;
    let cpu_ns = number(&truth, "cpu_ns")? as f64;
    for (function, percent) in [("hot_sixty", 60.0), ("hot_thirty", 30.0), ("hot_ten", 10.0)] {
        let share = number(&truth, &format!("{function}_ns"))? as f64 / cpu_ns * 100.0;
        assert!((share - percent).abs() < 1.0, "{function}: {share:.2} % of {cpu_ns} ns");
    }
    Ok(())
}

#[test]
fn switcher_switches_as_often_as_it_slept() -> Result<()> {
    let container = Container::run("switcher", &["switcher", "--count", "1000"])?;
    let truth = container.wait_truth(PATIENCE)?;
    assert_eq!(number(&truth, "sleeps")?, 1000);
    let risen = |key| {
        Ok::<_, anyhow::Error>(number(&truth["after"], key)? - number(&truth["before"], key)?)
    };
    let voluntary = risen("voluntary")?;
    // Reading /proc between the readings may block a handful of times.
    assert!((1000..1010).contains(&voluntary), "{voluntary} switches for 1000 sleeps");
    assert!(risen("slices")? >= 1000);
    Ok(())
}

#[test]
fn waker_every_counts_its_wakeups() -> Result<()> {
    let container = Container::run("waker", &["waker_every", "--seconds", "2", "--cpu", "1"])?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.host_pid()?))?;
    assert!(status.contains("Cpus_allowed_list:\t1\n"), "--cpu does not pin: {status}");
    let truth = container.wait_truth(PATIENCE)?;
    let (wakeups, voluntary) = (number(&truth, "wakeups")?, number(&truth, "voluntary")?);
    assert!((100..=196).contains(&wakeups), "{wakeups} wakeups in 2 s");
    assert!(voluntary.abs_diff(wakeups) <= 5, "{voluntary} switches, {wakeups} wakeups");
    let cpu_a_round = number(&truth, "cpu_ns")? / wakeups;
    assert!((200_000..600_000).contains(&cpu_a_round), "{cpu_a_round} ns a round");
    assert!(number(&truth, "late_ns")? >= number(&truth, "run_delay_ns")?);
    Ok(())
}

#[test]
fn syscall_heavy_lives_in_the_kernel_and_counts_exactly() -> Result<()> {
    let arguments = ["syscall_heavy", "--rounds", "5000", "--getppid", "3", "--failing", "2"];
    let truth = Container::run("exact", &arguments)?.wait_truth(PATIENCE)?;
    assert_eq!(number(&truth, "reads")?, 5000);
    assert_eq!(number(&truth, "bytes")?, 5000 * 64 * 1024);
    assert_eq!(number(&truth, "getppids")?, 15_000);
    assert_eq!(number(&truth, "failed_closes")?, 10_000);
    let truth =
        Container::run("kernel", &["syscall_heavy", "--seconds", "2"])?.wait_truth(PATIENCE)?;
    let (user, system) = (number(&truth, "user_us")?, number(&truth, "system_us")?);
    assert!(system > user, "{system} us in the kernel, {user} us outside");
    Ok(())
}

#[test]
fn forkers_children_are_paid_by_its_cgroup() -> Result<()> {
    for arguments in [
        &["forker", "--count", "60", "--seconds", "30"][..],
        &["forker", "--count", "60", "--seconds", "30", "--exec"],
    ] {
        let container = Container::run("forker", arguments)?;
        let truth = container.wait_truth(PATIENCE)?;
        assert_eq!(number(&truth, "children")?, 60);
        let children_ns = number(&truth, "children_cpu_ns")?;
        assert!((300_000_000..600_000_000).contains(&children_ns), "60 x 5 ms: {children_ns} ns");
    }
    let container = Container::run("forker", &["forker", "--seconds", "60"])?;
    let v2 = container.cgroup_v2()?;
    sleep(Duration::from_secs(1));
    let usage_ns = truth::cpu_stat(&v2)?.get("usage_usec").context("usage_usec")? * 1_000;
    let truth = container.stop()?;
    let own_ns = number(&truth, "children_cpu_ns")? + number(&truth, "own_cpu_ns")?;
    assert!(own_ns + 100_000_000 > usage_ns, "cgroup {usage_ns} ns, fixture {own_ns} ns");
    Ok(())
}

#[test]
fn contend_waits_for_the_cpu() -> Result<()> {
    let container = Container::run("contend", &["contend", "--seconds", "60", "--cpu", "0"])?;
    let pid = container.host_pid()?;
    sleep(Duration::from_secs(2));
    let outside = truth::process_sched_stat(pid)?;
    let truth = container.stop()?;
    let (cpu, delay) = (number(&truth, "cpu_ns")?, number(&truth, "run_delay_ns")?);
    let per_thread = delay / 8;
    assert!(per_thread > number(&truth, "wall_ns")? / 2, "8 threads on a CPU waited {delay} ns");
    assert!(cpu <= number(&truth, "wall_ns")? + 20_000_000, "one CPU gave {cpu} ns");
    // Read from outside before the end: no more than the fixture's own final account.
    assert!(
        outside.run_delay_ns <= delay && outside.run_delay_ns > delay / 3,
        "{outside:?} {truth}"
    );
    Ok(())
}

#[test]
fn pipe_pair_plays_in_one_container_and_across_two() -> Result<()> {
    for via in ["pipe", "eventfd"] {
        let arguments = ["pipe_pair", "--via", via, "--rounds", "2000", "--seconds", "30"];
        let truth = Container::run(via, &arguments)?.wait_truth(PATIENCE)?;
        assert_eq!(number(&truth, "rounds")?, 2000, "{via}");
    }
    let shared = tempfile::tempdir()?;
    let options = ContainerOptions::new().bind(shared.path(), "/shared");
    let side = |role| ["pipe_pair", "--via", "fifo", "--role", role, "--rounds", "2000"];
    let pong = options.run("pong", &side("pong"))?;
    let ping = options.run("ping", &side("ping"))?;
    assert_eq!(number(&ping.wait_truth(PATIENCE)?, "rounds")?, 2000);
    assert_eq!(number(&pong.wait_truth(PATIENCE)?, "rounds")?, 2000);
    assert_ne!(ping.cgroup_v2_id()?, pong.cgroup_v2_id()?);
    Ok(())
}

#[test]
fn each_thread_of_states_sits_where_it_says() -> Result<()> {
    let stolen_before = truth::cpu_times(None)?.steal;
    let container = Container::run("states", &["states", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    // (state, expected state letter, system call numbers on x86-64 it may sit in)
    let sitting: [(&str, &[&str]); 9] = [
        ("futex", &["202"]),
        ("pipe", &["0"]),
        ("unix", &["0"]),
        ("tcp", &["0"]),
        ("nanosleep", &["230"]),
        ("poll", &["7", "271"]),
        ("epoll", &["232", "281"]),
        ("wait", &["61"]),
        ("flock", &["73"]),
    ];
    for (state, calls) in sitting {
        let tid = thread_named(pid, &format!("st_{state}"))?;
        let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))?;
        let number = call.split_whitespace().next().unwrap_or_default();
        assert!(calls.contains(&number), "{state} sits in system call {call}");
    }
    sleep(Duration::from_secs(2));
    let truth = container.stop()?;
    // What the hypervisor takes is in no thread's account: a tick of 1/100 s each.
    let stolen = (truth::cpu_times(None)?.steal - stolen_before) * 10_000_000;
    let threads = truth["threads"].as_array().context("threads")?;
    assert_eq!(threads.len(), 13);
    for thread in threads {
        let state = thread["state"].as_str().context("state")?;
        let (wall, run) = (number(thread, "wall_ns")?, number(thread, "run_ns")?);
        let delay = number(thread, "run_delay_ns")?;
        match state {
            "user" | "kernel" => {
                assert!(
                    run + delay + stolen > wall / 100 * 97,
                    "{state}: {thread}, {stolen} stolen"
                );
            }
            "disk" => {
                assert!(number(thread, "work")? > 100, "{thread}");
                assert!(number(thread, "work_ns")? > wall / 2, "{thread}");
            }
            "fault" => assert!(number(thread, "work")? > 100, "{thread}"),
            _ => assert!(run < wall / 100 && delay < wall / 10, "{state} is not asleep: {thread}"),
        }
    }
    Ok(())
}

#[test]
fn a_fixture_on_the_host_tells_its_truth_when_stopped() -> Result<()> {
    let fixture = FixtureProcess::start(&["burn", "--seconds", "60", "--threads", "2"])?;
    let pid = fixture.pid();
    sleep(Duration::from_secs(1));
    let outside_ns = truth::process_cpu_ns(pid)?;
    let truth = fixture.stop()?;
    assert!(number(&truth, "cpu_ns")? + 20_000_000 >= outside_ns);
    assert!(number(&truth, "wall_ns")? < 10_000_000_000, "SIGTERM did not end it");
    Ok(())
}

fn thread_named(pid: u32, name: &str) -> Result<u32> {
    for tid in truth::task_ids(pid)? {
        if fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"))?.trim() == name {
            return Ok(tid);
        }
    }
    anyhow::bail!("no thread of {pid} is called {name}")
}
