//! `cgscope selftest`: records workloads of which the answer is known, and says how far off the recordings are.
//!
//! Contract: what is known is what the workload itself and the kernel's own account say of the same time, never what was asked for. A
//! check that cannot be made is told with the reason and is no success. The command fails if a check does.

mod child;
mod perf;
mod score;
mod workload;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{
    child::Waiting,
    perf::Perf,
    score::{About, Check, Report},
    workload::{Truth, Workload},
};
use super::{
    arguments::ConnectArguments,
    client::{Client, path},
    engine_arguments::EngineArguments,
    failure::{Failure, RUNTIME},
    output::{print, print_json},
    program::Engine,
    progress::Progress,
};
use crate::{
    profile::{CallTree, Recording},
    serve::EngineOptions,
};

/// Programs are attached and tables made within it, or the work is seen to lie outside of the recording.
const BEFORE: Duration = Duration::from_millis(1000);
/// The longest work takes a second and a half.
const RECORDED: Duration = Duration::from_secs(5);
const FREQUENCY_HZ: u32 = 999;

#[derive(Args, Debug)]
pub struct SelftestArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,

    /// Where a file of 8 MiB is made for a moment to be read from its disk
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub directory: PathBuf,

    /// Is one of the workloads
    #[arg(long, value_name = "NAME", hide = true)]
    workload: Option<Workload>,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

pub fn selftest(engine: Engine, arguments: &SelftestArguments) -> Result<(), Failure> {
    if let Some(workload) = arguments.workload {
        return workload::run(workload, arguments.directory.clone()).map_err(Failure::from);
    }
    let default_hz = EngineOptions::default().frequency_hz;
    let options = arguments.engine.options(default_hz);
    let client = Client::connect(&arguments.connect, engine, options)?;
    let mut checks = Vec::new();
    {
        let all = Workload::value_variants();
        let _progress = Progress::start("", RECORDED * all.len() as u32);
        for &workload in all {
            checks.extend(Case::of(workload).run(&client, &arguments.directory));
        }
    }
    let report = Report::new(checks);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.draw())?;
    }
    let made = report.passed + report.failed;
    let remedy = "`cgscope doctor` says what this kernel lacks";
    if report.failed > 0 {
        let what = format!("{} of {made} checks failed", report.failed);
        return Err(Failure::new(RUNTIME, what, remedy));
    }
    if made == 0 {
        return Err(Failure::new(RUNTIME, "nothing could be checked", remedy));
    }
    Ok(())
}

/// A workload, how it is recorded, and by what it is known.
struct Case {
    workload: Workload,
    /// The type of the recording.
    kind: &'static str,
    unit: &'static str,
    /// By what the parts are known.
    truth: &'static str,
    /// By what the total is known, where that is another account.
    total_truth: &'static str,
    /// By how many percent amounts may be off.
    allowed: f64,
}

impl Case {
    fn of(workload: Workload) -> Self {
        let case = |kind, unit, truth, total_truth, allowed| Self {
            workload,
            kind,
            unit,
            truth,
            total_truth,
            allowed,
        };
        match workload {
            // A sample is a millisecond: of 1,500 the total is off by some.
            Workload::Cpu => case("cpu", "ns", "its CPU clock", "its CPU clock", 5.0),
            Workload::Sleep => case("offcpu", "ns", "its clock and schedstat", "", 2.0),
            Workload::Futex => case("lock", "ns", "its clock and schedstat", "", 2.0),
            Workload::Disk => {
                case("block", "bytes", "what its calls returned", "/proc/PID/io", 1.0)
            }
            Workload::Fault => case("fault", "faults", "getrusage", "getrusage", 2.0),
            Workload::Memory => {
                case("memory", "bytes", "pages touched", "/proc/PID/smaps_rollup", 2.0)
            }
            Workload::Network => case("network", "bytes", "what its calls returned", "", 1.0),
        }
    }

    fn about(&self, what: &str, truth: &'static str) -> About {
        About { recording: self.kind.to_owned(), what: what.to_owned(), truth, unit: self.unit }
    }

    fn run(&self, client: &Client, directory: &Path) -> Vec<Check> {
        let none = |why: String| vec![Check::not_done(self.about("all", self.truth), why)];
        let mut child = match Waiting::start(self.workload, directory) {
            Ok(child) => child,
            Err(error) => return none(format!("the workload cannot be run: {error}")),
        };
        let pid = child.pid();
        let by_perf = (self.workload == Workload::Cpu).then(|| Perf::start(pid, directory));
        let (recorded, truth) = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                thread::sleep(BEFORE);
                child.work()
            });
            let recorded = self.record(client, pid);
            (recorded, worker.join())
        });
        let by_perf = by_perf.map(|perf| perf.and_then(Perf::end));
        let truth = match truth {
            Ok(Ok(truth)) => truth,
            Ok(Err(error)) => {
                return none(format!("the workload did not say what it did: {error}"));
            }
            Err(_) => return none("the workload could not be asked".into()),
        };
        if let Some(why) = truth.impossible {
            return none(why);
        }
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(failure) => return none(failure.to_string().trim_start_matches("error: ").into()),
        };
        if truth.began_ns <= recorded.start_ns || truth.ended_ns >= recorded.end_ns {
            return none("this machine is too busy: the work was not within its recording".into());
        }
        let mut checks = self.compare(&recorded.tree, &truth, recorded.scale);
        if let Some(by_perf) = by_perf {
            checks.extend(self.compare_with_perf(&recorded.tree, &truth, by_perf));
        }
        checks
    }

    fn record(&self, client: &Client, pid: u32) -> Result<Recorded, Failure> {
        let is_sampled = self.workload == Workload::Cpu;
        let mut query = vec![
            ("type", self.kind.to_owned()),
            ("pid", pid.to_string()),
            ("duration", format!("{}s", RECORDED.as_secs())),
            ("format", "json".to_owned()),
        ];
        if is_sampled {
            query.push(("frequency", FREQUENCY_HZ.to_string()));
        }
        let bytes = client.bytes(&path(&["flamegraph"], &query), RECORDED)?;
        let odd = |what: String| Failure::new(RUNTIME, what, "");
        let window: Window =
            serde_json::from_slice(&bytes).map_err(|error| odd(error.to_string()))?;
        let recording = Recording::read(self.kind, &bytes).map_err(|e| odd(e.to_string()))?;
        Ok(Recorded {
            tree: recording.tree,
            scale: if is_sampled { 1e9 / f64::from(FREQUENCY_HZ) } else { 1.0 },
            start_ns: window.started_at_ns,
            end_ns: window.started_at_ns + window.duration_ns,
        })
    }

    /// Each part, by its share of all parts, and the amounts.
    fn compare(&self, tree: &CallTree, truth: &Truth, scale: f64) -> Vec<Check> {
        let mut checks = Vec::new();
        let all: u64 = truth.parts.iter().map(|(_, amount)| amount).sum();
        let seen_all: u64 = truth.parts.iter().map(|(name, _)| of(tree, name)).sum();
        for (name, amount) in &truth.parts {
            let seen = of(tree, name);
            if truth.parts.len() > 1 {
                let share = |part: u64, all: u64| 100.0 * part as f64 / (all as f64).max(1.0);
                let about = self.about(&format!("share of {name}"), self.truth);
                checks.push(Check::share(about, share(*amount, all), share(seen, seen_all), 2.0));
            }
        }
        let about = self.about("all parts", self.truth);
        checks.push(Check::amount(about, all as f64, seen_all as f64 * scale, self.allowed));
        if let Some(total) = truth.total {
            // What is around the work, its first lines of code and its answer, is in neither.
            let about = self.about("all parts", self.total_truth);
            let seen = seen_all as f64 * scale;
            checks.push(Check::amount(about, total as f64, seen, self.allowed));
        }
        let about = self.about("lost", "0, where nothing is");
        let (lost, all) = (lost(tree) as f64, tree.total() as f64);
        checks.push(Check::share(about, 0.0, 100.0 * lost / all.max(1.0), 0.1));
        checks
    }

    fn compare_with_perf(
        &self,
        tree: &CallTree,
        truth: &Truth,
        by_perf: Result<Recording, String>,
    ) -> Vec<Check> {
        const BY_PERF: &str = "perf record";
        let by_perf = match by_perf {
            Ok(recording) => recording.tree,
            Err(why) => return vec![Check::not_done(self.about("shares", BY_PERF), why)],
        };
        let all = |tree: &CallTree| truth.parts.iter().map(|(name, _)| of(tree, name)).sum::<u64>();
        if all(&by_perf) == 0 {
            let why = "perf names none of its functions";
            return vec![Check::not_done(self.about("shares", BY_PERF), why)];
        }
        let share = |tree: &CallTree, name: &str| {
            100.0 * of(tree, name) as f64 / (all(tree) as f64).max(1.0)
        };
        let compared = truth.parts.iter().map(|(name, _)| {
            let about = self.about(&format!("share of {name}"), BY_PERF);
            Check::share(about, share(&by_perf, name), share(tree, name), 3.0)
        });
        compared.collect()
    }
}

/// What the answer says of its window.
#[derive(serde::Deserialize)]
struct Window {
    started_at_ns: u64,
    duration_ns: u64,
}

struct Recorded {
    tree: CallTree,
    /// What one of its values stands for, in the unit of the truth.
    scale: f64,
    start_ns: u64,
    end_ns: u64,
}

/// The weight of the stacks that a function is in.
fn of(tree: &CallTree, function: &str) -> u64 {
    let is_it = |name: &str| name.rsplit("::").next().is_some_and(|last| last == function);
    let paths = tree.paths().filter(|(path, _)| path.iter().any(|label| is_it(&label.name)));
    paths.map(|(_, weight)| weight).sum()
}

fn lost(tree: &CallTree) -> u64 {
    let is_lost = crate::profile::LabelKind::Lost;
    let paths = tree.paths().filter(|(path, _)| path.first().is_some_and(|l| l.kind == is_lost));
    paths.map(|(_, weight)| weight).sum()
}
