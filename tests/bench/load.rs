//! The loads under which tools are compared: both do nothing but switch between two processes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{FixtureProcess, peer, run_captured};
use clap::ValueEnum;

/// Something that switches and wakes as fast as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// Our pipe_pair fixture, both sides on CPU 0: every round is two switches and two wakeups, none of them idle
    #[value(name = "pingpong")]
    PingPong,
    /// `perf bench sched pipe`, left to the scheduler: wakeups cross the CPUs, through idle
    #[value(name = "perf")]
    PerfPipe,
}

impl Load {
    /// What a table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PingPong => "pinned pipe ping-pong",
            Self::PerfPipe => "perf bench sched pipe",
        }
    }

    /// Runs for about `duration` and returns rounds per second.
    pub fn run(self, duration: Duration) -> Result<f64> {
        match self {
            Self::PingPong => ping_pong(duration),
            Self::PerfPipe => {
                // It takes a number of rounds, not a time: ask a short run how many that is.
                let rate = perf_pipe(5_000)?;
                perf_pipe((rate * duration.as_secs_f64()).max(1.0) as u64)
            }
        }
    }
}

fn ping_pong(duration: Duration) -> Result<f64> {
    let seconds = duration.as_secs().to_string();
    let fixture = FixtureProcess::start(&["pipe_pair", "--cpu", "0", "--seconds", &seconds])?;
    let truth = fixture.wait_truth(duration + Duration::from_secs(10))?;
    let number = |key: &str| truth[key].as_f64().with_context(|| format!("no {key} in {truth}"));
    Ok(number("rounds")? * 1e9 / number("wall_ns")?)
}

fn perf_pipe(rounds: u64) -> Result<f64> {
    let output = run_captured(Command::new(peer::tool_path("perf")?).args([
        "bench",
        "sched",
        "pipe",
        "-l",
        &rounds.to_string(),
    ]))?;
    ensure!(output.success(), "perf bench ended with {:?}: {}", output.status, output.stderr);
    let rate = output.stdout.lines().find_map(|line| line.trim().strip_suffix(" ops/sec"));
    rate.and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("perf bench printed no ops/sec: {}", output.stdout))
}
