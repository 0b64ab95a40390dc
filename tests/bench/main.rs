//! Measures cgscope against its peers on this machine: one load, each tool attached to it in turn, several times over.
//!
//! Contract: run as root on an otherwise idle machine; figures are medians with their range, and a figure that could
//! not be taken is `-`. Interleaving spreads what the machine does meanwhile over all tools alike.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its product")]

mod api;
mod churn;
mod compare;
mod crowd;
mod family;
mod flamegraph;
mod load;
mod memory;
mod nginx;
mod offcpu;
mod recording;
mod sampler;
mod store;
mod table;
mod tool;
mod unwind;
mod weight;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::compare::compare;
use crate::load::Load;
use crate::tool::Tool;

/// Measure what cgscope costs, beside its peers.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// ns a call of the scheduler programs, and rounds/s under them: nothing, runqlat, ours
    Sched(Comparison),
    /// The same of runqlat and cpudist: is the bench itself sound?
    Peers(Comparison),
    /// ns a call of the programs on sockets, and messages or connections a second under them: nothing, tcplife, tcpstates, ours
    Tcp(Repetition),
    /// ns a call of the programs on block requests, and direct reads a second under them: nothing, biolatency, ours
    Block(Repetition),
    /// ns a call of the programs on page faults and the page cache, and both a second under them: nothing, bpftrace, ours
    Faults(Repetition),
    /// ns a call of the programs on system calls, and calls a second under them: nothing, syscount, ours
    Syscalls(Repetition),
    /// ns a call of the programs on system calls while files are read, and reads a second under them: nothing, ours
    Files(Repetition),
    /// ns a call of the programs on interrupts, and messages and direct reads a second under them: nothing, softirqs, hardirqs, ours
    Irqs(Repetition),
    /// ns a switch of recording waits, and rounds/s under it: nothing, offcputime, ours idle, of another process, of the host
    Offcpu(Comparison),
    /// ns a wake-up of recording wakers, and rounds/s under it: nothing, wakeuptime, ours idle, of another process, of the host
    Wakeups(Comparison),
    /// ns a fault and ns a call that sends while they are recorded: nothing, bpftrace, ours idle, of another process, of the host
    Weights(Repetition),
    /// Share of one core that the stack sampler takes while all CPUs are busy
    Sampler(Repetition),
    /// ns a sample at 15 and at 100 frames without frame pointers, and unwind tables against `.eh_frame`
    Unwind(Repetition),
    /// Memory while processes, programs and libraries come and go and the host is profiled: does it grow?
    Churn {
        /// How long
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
    },
    /// What nginx under wrk loses: requests a second on loopback, without, with the daemon, with tools of libbpf-tools
    Nginx(Repetition),
    /// How long the daemon takes to answer what a dashboard asks, with 200 containers
    Api {
        /// How often each question is asked
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// How long a flame graph takes: of the last ten seconds, of a recording, of an hour of the past
    Flamegraph,
    /// Resident and kernel memory, with and without 100 idle cgroups
    Memory,
    /// CPU time of a tick and memory, with 1,000 idle and 100 active cgroups
    Many,
    /// History: samples a second, bytes a sample, bytes written a day, memory, and questions; no load and no root
    Store {
        /// How much history to write at 2,000 series a second
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=48))]
        hours: u64,
    },
}

#[derive(Args)]
struct Comparison {
    #[command(flatten)]
    repetition: Repetition,
    /// What runs meanwhile
    #[arg(long, value_enum, default_value_t = Load::PingPong)]
    load: Load,
}

#[derive(Args)]
struct Repetition {
    /// How often each tool is attached
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

impl Repetition {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Bench::Store { hours } = cli.bench {
        return store::bench(hours);
    }
    cgscope_tests::require_root();
    match cli.bench {
        Bench::Store { hours } => store::bench(hours),
        Bench::Sched(asked) => run(&[Tool::Nothing, Tool::peer("runqlat"), Tool::Cgscope], &asked),
        Bench::Peers(asked) => {
            run(&[Tool::Nothing, Tool::peer("cpudist"), Tool::peer("runqlat")], &asked)
        }
        Bench::Tcp(asked) => family::tcp(asked.rounds, asked.duration()),
        Bench::Block(asked) => family::block(asked.rounds, asked.duration()),
        Bench::Faults(asked) => family::memory(asked.rounds, asked.duration()),
        Bench::Syscalls(asked) => family::syscall(asked.rounds, asked.duration()),
        Bench::Files(asked) => family::files(asked.rounds, asked.duration()),
        Bench::Irqs(asked) => family::irq(asked.rounds, asked.duration()),
        Bench::Offcpu(asked) => {
            offcpu::waits(asked.load, asked.repetition.rounds, asked.repetition.duration())
        }
        Bench::Wakeups(asked) => {
            offcpu::wakers(asked.load, asked.repetition.rounds, asked.repetition.duration())
        }
        Bench::Weights(asked) => weight::bench(asked.rounds, asked.duration()),
        Bench::Sampler(asked) => sampler::bench(asked.rounds, asked.duration()),
        Bench::Unwind(asked) => unwind::bench(asked.rounds, asked.duration()),
        Bench::Churn { minutes } => churn::bench(minutes),
        Bench::Nginx(asked) => nginx::bench(asked.rounds, asked.duration()),
        Bench::Api { rounds } => api::bench(rounds),
        Bench::Flamegraph => flamegraph::bench(),
        Bench::Memory => memory::bench(),
        Bench::Many => memory::many(),
    }
}

fn run(tools: &[Tool], asked: &Comparison) -> Result<()> {
    let results = compare(tools, asked.load, asked.repetition.rounds, asked.repetition.duration())?;
    compare::print(&results, asked.load);
    Ok(())
}
