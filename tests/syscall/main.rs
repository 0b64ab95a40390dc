//! Calls, errors and times by class, held against workloads that count their own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, PlainCgroup, Scrape, expect_off, fixture_path, wait_until};
use serde_json::Value;

/// A shell in a cgroup of its own that waits for a line, and then is `command`.
struct Waiting {
    cgroup: PlainCgroup,
    shell: Child,
}

impl Waiting {
    fn new(name: &str, command: &str) -> Result<Self> {
        let cgroup = PlainCgroup::new(name)?;
        let shell = Command::new("sh")
            .args(["-c", &format!("read go; exec {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // What it does until it waits is done outside.
        wait_until("the shell to wait for its line", Duration::from_secs(10), || {
            Ok(is_in_read(shell.id())?.then_some(()))
        })?;
        cgroup.add(shell.id())?;
        Ok(Self { cgroup, shell })
    }

    /// Lets it run to its end, and gives what it said.
    fn run(&mut self) -> Result<String> {
        self.shell.stdin.take().context("its input")?.write_all(b"go\n")?;
        let mut said = String::new();
        self.shell.stdout.take().context("its output")?.read_to_string(&mut said)?;
        ensure!(self.shell.wait()?.success(), "it failed: {said}");
        Ok(said)
    }

    fn value(&self, scrape: &Scrape, name: &str, class: &str) -> f64 {
        scrape.of(&self.cgroup.id()).sum(&format!("cgscope_syscall_{name}"), &[("class", class)])
    }

    fn count(&self, scrape: &Scrape, name: &str, class: &str) -> u64 {
        self.value(scrape, name, class) as u64
    }
}

/// Whether a process waits in read(0, ...): the number of its call and the first argument.
fn is_in_read(pid: u32) -> Result<bool> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
    Ok(call.starts_with(&format!("{} 0x0 ", libc::SYS_read)))
}

fn number(said: &str, name: &str) -> Result<u64> {
    let last = said.lines().last().context("a truth")?;
    let truth: Value = serde_json::from_str(last)?;
    truth[name].as_u64().with_context(|| format!("{name} in {truth}"))
}

fn daemon(hook: &str) -> Result<Daemon> {
    Daemon::start(&["--enable", "syscall", "--hook", hook])
}

/// A few rounds and many of a workload that counts its reads, failed closes and getppids: what starting and ending takes is the same
/// in both.
struct Rounds {
    few: Waiting,
    many: Waiting,
    /// How many more there were of each.
    more: [u64; 3],
}

impl Rounds {
    fn run() -> Result<Self> {
        let fixture = fixture_path("syscall_heavy")?;
        let run = |name: &str, rounds: u64| -> Result<(Waiting, [u64; 3])> {
            let command = format!(
                "{} --seconds 60 --rounds {rounds} --getppid 3 --failing 2",
                fixture.display()
            );
            let mut waiting = Waiting::new(name, &command)?;
            let said = waiting.run()?;
            let names = ["reads", "failed_closes", "getppids"];
            let [reads, closes, getppids] = names.map(|name| number(&said, name));
            Ok((waiting, [reads?, closes?, getppids?]))
        };
        let (few, fewer) = run("few", 1_000)?;
        let (many, all) = run("many", 21_000)?;
        let more = [0, 1, 2].map(|i| all[i] - fewer[i]);
        ensure!(more == [20_000, 40_000, 60_000], "{more:?} is not what was asked for");
        Ok(Self { few, many, more })
    }

    /// How much more of a metric there is of many than of few.
    fn rise(&self, scrape: &Scrape, name: &str, label: (&str, &str)) -> u64 {
        let value = |of: &Waiting| {
            scrape.of(&of.cgroup.id()).sum(&format!("cgscope_syscall_{name}"), &[label])
        };
        (value(&self.many) - value(&self.few)) as u64
    }
}

fn calls_are_those_that_were_made(hook: &str) -> Result<()> {
    let daemon = daemon(hook)?;
    let bystander = Waiting::new("bystander", "true")?;
    let rounds = Rounds::run()?;
    let [reads, closes, getppids] = rounds.more;
    let (scrape, _) = daemon.next_tick()?;
    let rise = |name: &str, class: &str| rounds.rise(&scrape, name, ("class", class));
    assert_eq!(rise("calls_total", "read"), reads);
    assert_eq!(rise("calls_total", "file"), closes);
    assert_eq!(rise("errors_total", "file"), closes);
    assert_eq!(rise("errors_total", "read"), 0);
    assert_eq!(rise("calls_total", "other"), getppids);
    // Each has its time, but for those whose place another thread took.
    let missed = scrape.dropped("call_missed");
    let timed = rounds.many.count(&scrape, "latency_seconds_count", "read");
    let all = rounds.many.count(&scrape, "calls_total", "read");
    assert!(timed <= all && timed + missed >= all, "{timed} of {all}, {missed} missed by all");
    for class in ["read", "file", "other"] {
        assert_eq!(bystander.count(&scrape, "calls_total", class), 0, "{class} of the bystander");
    }
    Ok(())
}

/// Those that are named have series of their own, and are in their class as before.
#[test]
fn single_calls_are_those_that_were_made() -> Result<()> {
    let daemon = Daemon::start(&["--syscalls", "close,getppid"])?;
    let rounds = Rounds::run()?;
    let [reads, closes, getppids] = rounds.more;
    let (scrape, _) = daemon.next_tick()?;
    let of_class = |name: &str, class: &str| rounds.rise(&scrape, name, ("class", class));
    let of_call =
        |name: &str, call: &str| rounds.rise(&scrape, &format!("single_{name}"), ("call", call));
    assert_eq!(of_call("calls_total", "close"), closes);
    assert_eq!(of_call("errors_total", "close"), closes);
    assert_eq!(of_call("calls_total", "getppid"), getppids);
    assert_eq!(of_call("errors_total", "getppid"), 0);
    assert_eq!(of_class("calls_total", "file"), closes);
    assert_eq!(of_class("errors_total", "file"), closes);
    assert_eq!(of_class("calls_total", "other"), getppids);
    assert_eq!(of_class("calls_total", "read"), reads);
    let missed = scrape.dropped("call_missed");
    for (call, class, all) in [("close", "file", closes), ("getppid", "other", getppids)] {
        let timed = of_call("latency_seconds_count", call);
        assert!(timed <= all && timed + missed >= all, "{call}: {timed} of {all}, {missed} missed");
        let in_class = of_class("latency_seconds_count", class);
        assert!(in_class >= timed, "{call}: {timed} by itself, {in_class} in its class");
    }
    Ok(())
}

#[test]
fn calls_are_those_that_were_made_by_tp_btf() -> Result<()> {
    calls_are_those_that_were_made("tp_btf")
}

#[test]
fn calls_are_those_that_were_made_by_raw_tp() -> Result<()> {
    calls_are_those_that_were_made("raw_tp")
}

#[test]
fn a_call_takes_as_long_as_it_takes() -> Result<()> {
    let daemon = daemon("auto")?;
    let mut sleeper = Waiting::new("sleeper", "sleep 0.4")?;
    let start = Instant::now();
    sleeper.run()?;
    let wall_s = start.elapsed().as_secs_f64();
    let (scrape, _) = daemon.next_tick()?;
    assert_eq!(sleeper.count(&scrape, "calls_total", "sleep"), 1);
    let slept_s = sleeper.value(&scrape, "latency_seconds_sum", "sleep");
    assert!(slept_s >= 0.4 && slept_s <= wall_s, "{slept_s} s of {wall_s} s");
    Ok(())
}

#[test]
fn who_is_not_asked_for_counts_nothing_and_takes_no_room() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let container = Container::run("unasked", &["syscall_heavy", "--seconds", "60"])?;
    wait_until("the container", Duration::from_secs(10), || {
        Ok(daemon.text("/metrics")?.contains(container.id()).then_some(()))
    })?;
    let maps =
        ["SLOT_SYSCALL", "SLOT_SYSCALL_LATENCY", "SLOT_CALLS", "SLOT_CALLS_LATENCY", "CALLS"];
    expect_off(&daemon, "syscall", &["cgscope_syscall_"], &maps)
}
