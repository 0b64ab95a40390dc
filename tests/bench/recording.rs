//! What a recording costs the load it is of: nobody records, a peer does, our daemon has nothing to record, it records somebody else, it records
//! the host; in turns.

use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::{Result, ensure};
use cgscope_tests::bpf::{Program, StatsGuard, programs_of};
use cgscope_tests::peer::AttachedPeer;
use cgscope_tests::{Daemon, FixtureProcess};

use crate::table::{Samples, ratio};

/// What is recorded, of which load, beside whom.
pub struct Case<'a> {
    /// What the load and the recording are, for people.
    pub title: String,
    /// A type of `cgscope flamegraph`.
    pub kind: &'a str,
    /// Runs the load for so long: how much it did a second.
    pub load: &'a dyn Fn(Duration) -> Result<f64>,
    /// What that is.
    pub done: &'a str,
    /// Who does the same, by name and arguments, and what it is called.
    pub peer: (&'a str, &'a [&'a str], &'a str),
    /// Which programs are timed. The first is compared with the peer's if the peer has it, else the second.
    pub columns: &'a [Column<'a>],
    /// Ours and the peer's, by their places in `columns`.
    pub compared: (usize, usize),
}

/// Programs whose time is one figure: ns for each call of that which is called most.
pub struct Column<'a> {
    /// Its head.
    pub title: &'a str,
    /// Ours.
    pub ours: &'a [&'a str],
    /// The peer's, if they have names; else all it has, unless there is `None`.
    pub peer: Option<&'a [&'a str]>,
}

/// Who records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recorder {
    Nobody,
    Peer,
    Idle,
    Stranger,
    Host,
}

impl Recorder {
    const ALL: [Self; 5] = [Self::Nobody, Self::Peer, Self::Idle, Self::Stranger, Self::Host];

    fn name<'a>(self, case: &Case<'a>) -> &'a str {
        match self {
            Self::Nobody => "nothing",
            Self::Peer => case.peer.2,
            Self::Idle => "cgscope, no recording",
            Self::Stranger => "cgscope, of another process",
            Self::Host => "cgscope, of the host",
        }
    }
}

struct Measured {
    done_per_s: Samples,
    columns: Vec<Samples>,
}

/// Fewer calls than this say nothing about a call's price.
const FEWEST_CALLS: u64 = 1_000;

/// Has each record in turn, `rounds` times, and prints.
pub fn bench(case: &Case<'_>, rounds: u32, duration: Duration) -> Result<()> {
    let stranger = FixtureProcess::start(&["waits", "--seconds", "86400"])?;
    let empty = || Measured {
        done_per_s: Samples::default(),
        columns: vec![Samples::default(); case.columns.len()],
    };
    let mut results: Vec<_> = Recorder::ALL.map(|recorder| (recorder, empty())).into();
    for round in 0..rounds as usize {
        for turn in 0..results.len() {
            let place = (round + turn) % results.len();
            let (recorder, measured) = &mut results[place];
            let name = recorder.name(case);
            eprintln!("{}, round {} of {rounds}: {name}", case.title, round + 1);
            visit(case, *recorder, stranger.pid(), duration, measured)?;
        }
    }
    print(case, &results);
    Ok(())
}

fn print(case: &Case<'_>, results: &[(Recorder, Measured)]) {
    println!("{}: median (lowest..highest)\n", case.title);
    print!("{:<28} {:>30}", "recording", case.done);
    case.columns.iter().for_each(|column| print!(" {:>24}", column.title));
    println!();
    for (recorder, measured) in results {
        print!("{:<28} {:>30}", recorder.name(case), measured.done_per_s.summary(0));
        measured.columns.iter().for_each(|column| print!(" {:>24}", column.summary(0)));
        println!();
    }
    println!();
    let [rest @ .., (recorder, host)] = results else { return };
    for (other, measured) in rest {
        println!(
            "{} / {}, {} {}",
            recorder.name(case),
            other.name(case),
            case.done,
            ratio(&host.done_per_s, &measured.done_per_s)
        );
    }
    let (ours, theirs) = case.compared;
    let peer = rest.iter().find(|(recorder, _)| *recorder == Recorder::Peer);
    if let Some((_, peer)) = peer {
        let ratio = ratio(&host.columns[ours], &peer.columns[theirs]);
        println!("{}: ours / {} {ratio}\n", case.columns[ours].title, case.peer.2);
    }
}

/// The kernel's timing of programs costs the load some, so the two figures are taken one after the other.
fn visit(
    case: &Case<'_>,
    recorder: Recorder,
    stranger: u32,
    duration: Duration,
    measured: &mut Measured,
) -> Result<()> {
    let seconds = 2 * duration.as_secs() + 6;
    let (mut peer, mut daemon, mut recording) = (None, None, None);
    let pid = match recorder {
        Recorder::Nobody => None,
        Recorder::Peer => {
            let (program, arguments, _) = case.peer;
            Some(peer.insert(AttachedPeer::start(program, arguments)?).pid())
        }
        Recorder::Idle | Recorder::Stranger | Recorder::Host => {
            let daemon = daemon.insert(Daemon::start(&[])?);
            let target = match recorder {
                Recorder::Stranger => format!("&pid={stranger}"),
                _ => String::new(),
            };
            if recorder != Recorder::Idle {
                recording = Some(record(daemon, case.kind, &target, seconds));
                sleep(Duration::from_millis(1500));
            }
            Some(daemon.pid())
        }
    };
    measured.done_per_s.push((case.load)(duration)?);
    if let Some(pid) = pid {
        let stats = StatsGuard::enable()?;
        let before = programs_of(pid)?;
        (case.load)(duration)?;
        let after = programs_of(pid)?;
        drop(stats);
        for (column, samples) in case.columns.iter().zip(&mut measured.columns) {
            let names = if recorder == Recorder::Peer { column.peer } else { Some(column.ours) };
            samples.extend(names.and_then(|names| ns_a_call(&before, &after, names)));
        }
    }
    if let Some(recording) = recording {
        ensure!(recording.join().is_ok_and(|is_recorded| is_recorded), "the recording failed");
    }
    drop((peer, daemon));
    Ok(())
}

/// What programs of these names, or all if there is none, took for each call of that which was called most.
fn ns_a_call(before: &[Program], after: &[Program], names: &[&str]) -> Option<f64> {
    let is_one =
        |program: &Program| names.is_empty() || names.iter().any(|name| program.is_named(name));
    let mut time_ns = 0;
    let mut calls = 0;
    for then in before.iter().filter(|program| is_one(program)) {
        let Some(now) = after.iter().find(|program| program.id == then.id) else { continue };
        time_ns += now.run_time_ns - then.run_time_ns;
        calls = calls.max(now.run_cnt - then.run_cnt);
    }
    (calls >= FEWEST_CALLS).then(|| time_ns as f64 / calls as f64)
}

fn record(daemon: &Daemon, kind: &str, target: &str, seconds: u64) -> JoinHandle<bool> {
    let url = daemon.url();
    let path = format!("/api/v1/flamegraph?type={kind}{target}&duration={seconds}s&format=folded");
    spawn(move || ureq::get(format!("{url}{path}")).call().is_ok())
}
