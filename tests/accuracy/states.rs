//! Where thread time goes: every thread in exactly one state, and in the right one.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, between_stops, truth};

use crate::close::close;
use crate::{WINDOW, daemon};

/// A window of the API: thread time by state as a multiple of wall time.
struct Window {
    threads: f64,
    states: BTreeMap<String, f64>,
    throttled_share: Option<f64>,
}

impl Window {
    /// The newest window of `length`, all of which lies after this call.
    fn from_now(daemon: &Daemon, container: &Container, length: Duration) -> Result<Self> {
        sleep(length + Duration::from_millis(300));
        let path = format!(
            "/api/v1/containers/{}/states?duration={}ms",
            container.id(),
            length.as_millis()
        );
        let report = daemon.get(&path)?;
        let span_ns = report["span_ns"].as_f64().context("span_ns")?;
        let activity = &report["activity"];
        let states = activity["states"].as_array().context("states")?.iter().map(|state| {
            let name = state["state"].as_str().context("state")?;
            Ok((name.to_owned(), state["time_ns"].as_f64().context("time_ns")? / span_ns))
        });
        Ok(Self {
            threads: activity["threads"].as_f64().context("threads")?,
            states: states.collect::<Result<_>>()?,
            throttled_share: activity["throttled_share"].as_f64(),
        })
    }

    /// Threads in a state, on average.
    fn threads_in(&self, state: &str) -> f64 {
        self.states.get(state).copied().unwrap_or(0.0)
    }

    #[track_caller]
    fn assert_threads(&self, count: f64) {
        let apart = (self.threads - count).abs();
        assert!(
            apart <= 0.01 * count,
            "the states sum to {:.4} threads times wall time, there were {count}: {:?}",
            self.threads,
            self.states
        );
    }

    #[track_caller]
    fn assert_in(&self, state: &str, expected: f64, slack: f64) {
        let seen = self.threads_in(state);
        assert!(
            (seen - expected).abs() <= slack,
            "{state}: {seen:.4} threads, expected {expected:.4} (+-{slack}): {:?}",
            self.states
        );
    }
}

/// Threads that were in their state before the daemon came, and threads that came after it.
fn each_wait_is_named(daemon_first: bool) -> Result<()> {
    let early = daemon_first.then(daemon).transpose()?;
    let waits = "futex,pipe,unix,tcp,nanosleep,poll,epoll,wait,flock";
    let container = Container::run(
        "states",
        &["states", "--states", waits, "--file", "/tmp/states.data", "--seconds", "120"],
    )?;
    let daemon = match early {
        Some(daemon) => daemon,
        None => daemon()?,
    };
    let window = Window::from_now(&daemon, &container, WINDOW)?;
    // Nine threads, the main thread, and the child that is waited for.
    assert_eq!(container.tids()?.len(), 11, "threads by cgroup.threads");
    window.assert_threads(11.0);
    window.assert_in("blocked.lock", 2.0, 0.01);
    window.assert_in("blocked.pipe", 1.0, 0.01);
    window.assert_in("blocked.network", 2.0, 0.01);
    // nanosleep, poll, epoll, wait, the main thread, the child.
    window.assert_in("sleeping", 6.0, 0.02);
    for none in
        ["unknown", "blocked.other", "blocked.disk", "blocked.fault", "runnable", "throttled"]
    {
        window.assert_in(none, 0.0, 0.01);
    }
    Ok(())
}

#[test]
fn each_wait_that_begins_under_observation_is_named() -> Result<()> {
    each_wait_is_named(true)
}

#[test]
fn each_wait_that_began_before_is_named() -> Result<()> {
    each_wait_is_named(false)
}

#[test]
fn reads_from_a_disk_are_blocked_on_it() -> Result<()> {
    let daemon = daemon()?;
    let disk = tempfile::tempdir_in(cgscope_tests::scratch_dir())?;
    let options = ContainerOptions::new().bind(disk.path(), "/shared");
    let container = options.run(
        "disk",
        &[
            "states",
            "--states",
            "disk",
            "--file",
            "/shared/data",
            "--file-mib",
            "16",
            "--seconds",
            "60",
        ],
    )?;
    let pid = container.host_pid()?;
    let tids = truth::task_ids(pid)?;
    let reader = tids.into_iter().find(|&tid| tid != pid).context("no reading thread")?;
    let start = std::time::Instant::now();
    let before = truth::sched_stat(pid, reader)?;
    let window = Window::from_now(&daemon, &container, WINDOW)?;
    let after = truth::sched_stat(pid, reader)?;
    let wall_ns = start.elapsed().as_nanos() as f64;
    let on_or_waiting = after.run_ns - before.run_ns + after.run_delay_ns - before.run_delay_ns;
    // What the hypervisor takes is in neither of the two.
    let blocked = 1.0 - on_or_waiting as f64 / wall_ns - window.threads_in("stolen");
    assert!(blocked > 0.05, "the disk is too fast to wait for: {blocked:.3} of the time");
    window.assert_threads(2.0);
    window.assert_in("blocked.disk", blocked, 0.05);
    window.assert_in("sleeping", 1.0, 0.01);
    window.assert_in("blocked.other", 0.0, 0.01);
    Ok(())
}

/// Thread time between two ticks is threads times wall time, whatever the threads do.
#[test]
fn the_states_of_a_busy_container_sum_to_its_threads() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("contend", &["contend", "--threads", "8", "--seconds", "60"])?;
    let window = Window::from_now(&daemon, &container, WINDOW)?;
    window.assert_threads(9.0);
    window.assert_in("blocked.lock", 1.0, 0.01);
    window.assert_in("unknown", 0.0, 0.01);
    Ok(())
}

/// Threads are born and die all the time: no time of the dead is left behind as a thread.
#[test]
fn the_dead_leave_no_time_behind() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("forker", &["forker", "--rate", "100", "--seconds", "60"])?;
    sleep(WINDOW);
    let window = Window::from_now(&daemon, &container, WINDOW)?;
    // The parent, and a child for at most 10 ms out of 10.
    assert!(
        (0.99..2.02).contains(&window.threads),
        "one parent and at most one child at a time are {:.3} threads: {:?}",
        window.threads,
        window.states
    );
    window.assert_in("unknown", 0.0, 0.01);
    Ok(())
}

/// The kernel accounts either mode by its ticks.
const DIVISION_SLACK: f64 = 0.05;

/// User and kernel mode against `utime` and `stime`.
fn assert_split(command: &[&str], expected: std::ops::RangeInclusive<f64>) -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("split", command)?;
    let pid = container.host_pid()?;
    let span = between_stops(&daemon, &[&container], WINDOW, || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("stat has no name")?;
        let field = |number: usize| -> Result<u64> {
            Ok(fields.split(' ').nth(number - 3).context("stat is short")?.parse()?)
        };
        Ok((field(14)?, field(15)?))
    })?;
    let state = |name: &'static str| {
        let id = container.id().to_owned();
        move |scrape: &cgscope_tests::Scrape| scrape.of(&id).state_ns(name)
    };
    let (user_seen, user) = span.rise(state("running.user"), |t| t.0);
    let (kernel_seen, kernel) = span.rise(state("running.kernel"), |t| t.1);
    let (seen, truth) = (kernel_seen / (kernel_seen + user_seen), kernel / (kernel + user));
    assert!(
        (seen - truth).abs() <= DIVISION_SLACK,
        "{command:?}: cgscope says {:.1} % in the kernel, utime and stime say {:.1} %",
        100.0 * seen,
        100.0 * truth
    );
    assert!(expected.contains(&truth), "{command:?}: {truth} of its time in the kernel");
    Ok(())
}

#[test]
fn user_mode_is_told_from_kernel_mode() -> Result<()> {
    assert_split(&["burn", "--seconds", "60"], 0.0..=0.1)?;
    assert_split(&["states", "--states", "kernel", "--seconds", "60"], 0.9..=1.0)?;
    assert_split(&["states", "--states", "user,kernel", "--seconds", "60"], 0.2..=0.8)
}

#[test]
fn time_off_the_cpu_is_what_is_left_of_wall_time() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("off-cpu", &["waker_every", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let span =
        between_stops(&daemon, &[&container], WINDOW, || Ok(truth::sched_stat(pid, pid)?.run_ns))?;
    let (off_ns, on_ns) = span.rise(|scrape| scrape.of(container.id()).off_cpu().0, |&ns| ns);
    close("time off the CPU, ns", off_ns, span.length().as_nanos() as f64 - on_ns, 0.01, 0.0);
    let (seen_on_ns, on_ns) = span.rise(|scrape| scrape.of(container.id()).on_cpu().0, |&ns| ns);
    close("time on the CPU, ns", seen_on_ns, on_ns, 0.01, 0.0);
    Ok(())
}

#[test]
fn time_under_a_quota_is_throttled() -> Result<()> {
    let daemon = daemon()?;
    let container =
        ContainerOptions::new().cpu_quota(0.2).run("throttled", &["burn", "--seconds", "60"])?;
    let cpu = container.cgroup_v1("cpu")?;
    let throttled_ns =
        || truth::cpu_stat(&cpu)?.get("throttled_time").copied().context("no throttled_time");
    let start = std::time::Instant::now();
    let before = throttled_ns()?;
    let window = Window::from_now(&daemon, &container, WINDOW)?;
    let rise_ns = throttled_ns()? - before;
    let truth = rise_ns as f64 / start.elapsed().as_nanos() as f64;
    // A rival for the CPU leaves less to be throttled.
    assert!(truth > 0.2, "a quota of 20 % held a burner for {truth:.3} of the time only");
    window.assert_in("throttled", truth, 0.05);
    window.assert_threads(2.0);
    let share = window.throttled_share.context("no throttled_share")?;
    assert!((share - truth).abs() <= 0.05, "throttled share {share:.3}, by cpu.stat {truth:.3}");
    Ok(())
}
