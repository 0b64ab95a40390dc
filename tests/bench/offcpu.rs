//! What recording waits costs at each switch: of somebody else's, of the load's own, of everybody's; beside `offcputime`.

use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::peer::AttachedPeer;
use cgscope_tests::{Daemon, FixtureProcess};

use crate::load::Load;
use crate::table::{Samples, ratio};

/// Who records what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorder {
    Nobody,
    /// `offcputime` of libbpf-tools, of the host.
    Peer,
    /// The daemon, and nobody records.
    Idle,
    /// The daemon, waits of a process that has nothing to do with the load.
    Stranger,
    /// The daemon, waits of the host.
    Host,
}

impl Recorder {
    const ALL: [Self; 5] = [Self::Nobody, Self::Peer, Self::Idle, Self::Stranger, Self::Host];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nothing",
            Self::Peer => "offcputime",
            Self::Idle => "cgscope, no recording",
            Self::Stranger => "cgscope, of another process",
            Self::Host => "cgscope, of the host",
        }
    }
}

#[derive(Default)]
struct Measured {
    rounds_per_s: Samples,
    switch_ns: Samples,
    waits_ns: Samples,
}

/// Fewer calls than this say nothing about a call's price.
const FEWEST_CALLS: u64 = 1_000;

/// Has each record in turn, `rounds` times, and prints.
pub fn bench(load: Load, rounds: u32, duration: Duration) -> Result<()> {
    let stranger = FixtureProcess::start(&["waits", "--seconds", "86400"])?;
    let mut results: Vec<_> = Recorder::ALL.map(|r| (r, Measured::default())).into();
    for round in 0..rounds as usize {
        for turn in 0..results.len() {
            let place = (round + turn) % results.len();
            let (recorder, measured) = &mut results[place];
            eprintln!("round {} of {rounds}: {}", round + 1, recorder.name());
            visit(*recorder, stranger.pid(), load, duration, measured)?;
        }
    }
    println!("{}: median (lowest..highest)\n", load.name());
    println!("{:<28} {:>27} {:>24} {:>24}", "recording", "rounds/s", "sched_switch ns", "waits ns");
    for (recorder, measured) in &results {
        println!(
            "{:<28} {:>27} {:>24} {:>24}",
            recorder.name(),
            measured.rounds_per_s.summary(0),
            measured.switch_ns.summary(0),
            measured.waits_ns.summary(0)
        );
    }
    println!();
    let (_, host) = &results[4];
    for (recorder, measured) in &results[..4] {
        println!(
            "{} / {} rounds/s {}",
            Recorder::Host.name(),
            recorder.name(),
            ratio(&host.rounds_per_s, &measured.rounds_per_s)
        );
    }
    println!("waits / offcputime, ns a switch {}", ratio(&host.waits_ns, &results[1].1.switch_ns));
    Ok(())
}

/// The kernel's timing of programs costs the load some rounds, so the two figures are taken one after the other.
fn visit(
    recorder: Recorder,
    stranger: u32,
    load: Load,
    duration: Duration,
    measured: &mut Measured,
) -> Result<()> {
    let seconds = 2 * duration.as_secs() + 6;
    let (mut peer, mut daemon, mut recording) = (None, None, None);
    let pid = match recorder {
        Recorder::Nobody => None,
        Recorder::Peer => Some(peer.insert(AttachedPeer::start("offcputime", &[])?).pid()),
        Recorder::Idle | Recorder::Stranger | Recorder::Host => {
            let daemon = daemon.insert(Daemon::start(&[])?);
            let target = match recorder {
                Recorder::Stranger => format!("&pid={stranger}"),
                _ => String::new(),
            };
            if recorder != Recorder::Idle {
                recording = Some(record(daemon, &target, seconds));
                sleep(Duration::from_millis(1500));
            }
            Some(daemon.pid())
        }
    };
    measured.rounds_per_s.push(load.run(duration)?);
    if let Some(pid) = pid {
        let stats = StatsGuard::enable()?;
        let before = runs(pid)?;
        load.run(duration)?;
        let after = runs(pid)?;
        drop(stats);
        for (place, samples) in
            [&mut measured.switch_ns, &mut measured.waits_ns].into_iter().enumerate()
        {
            let (time_ns, calls) =
                (after[place].0 - before[place].0, after[place].1 - before[place].1);
            if calls >= FEWEST_CALLS {
                samples.push(time_ns as f64 / calls as f64);
            }
        }
    }
    if let Some(recording) = recording {
        ensure!(recording.join().is_ok_and(|is_recorded| is_recorded), "the recording failed");
    }
    drop((peer, daemon));
    Ok(())
}

fn record(daemon: &Daemon, target: &str, seconds: u64) -> JoinHandle<bool> {
    let url = daemon.url();
    let path = format!("/api/v1/flamegraph?type=offcpu{target}&duration={seconds}s&format=folded");
    spawn(move || ureq::get(format!("{url}{path}")).call().is_ok())
}

/// Time and calls of the programs on `sched_switch`: the peer's or that of the states, and that of waits.
fn runs(pid: u32) -> Result<[(u64, u64); 2]> {
    let programs = programs_of(pid)?;
    let of = |names: &[&str]| {
        let found = programs.iter().find(|p| names.iter().any(|name| p.is_named(name)));
        found.map(|program| (program.run_time_ns, program.run_cnt))
    };
    let switch = of(&["sched_switch", "sched_switch_btf", "sched_switch_tp"]);
    Ok([
        switch.context("no program on sched_switch")?,
        of(&["offcpu_switch", "offcpu_switch_plain"]).unwrap_or_default(),
    ])
}
