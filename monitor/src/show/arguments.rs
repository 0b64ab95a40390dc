//! The command line: commands, flags, environment, help.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use super::{
    diff_arguments::DiffArguments,
    engine_arguments::{EngineArguments, duration, frequency},
    failure::EXIT_CODES,
    flight_arguments::FlightArguments,
    history_arguments::HistoryArguments,
    intake_arguments::IntakeArguments,
    push_arguments::PushArguments,
    selftest::SelftestArguments,
    tape_arguments::{RecordArguments, ReplayArguments},
    top_columns::Columns,
};
use crate::profile::{Format, ProfileKind};
use crate::serve::{duration::Span, runtime_file::DEFAULT_DIRECTORY};

/// Where does each container's time go, and who took it?
///
/// Commands ask the daemon (`cgscope run`) if one runs here, and attach by themselves if not.
#[derive(Debug, Parser)]
#[command(name = "cgscope", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: measure, and serve the page, the API and /metrics
    #[command(after_help = "Example:\n  sudo cgscope run --listen 127.0.0.1:7070 --interval 1s")]
    // As large as all others together.
    Run(Box<RunArguments>),
    /// Show the containers live, the most stalled first
    #[command(
        after_help = "Examples:\n  sudo cgscope top\n  cgscope top --once --columns name,cpu,stall\n  \
        cgscope top --columns name,cpu,cgscope_sched_migrations_total\n\n\
        Keys: s stall, c CPU, r run queue p99, t throttled, n name; a all; q quit"
    )]
    Top(TopArguments),
    /// Draw the distributions of run-queue latency, on-CPU and off-CPU time
    #[command(after_help = "Examples:\n  sudo cgscope latency --container web --duration 10s\n  \
        cgscope latency --pid 4242 --json")]
    Latency(WindowArguments),
    /// Show where the time of the threads went
    #[command(after_help = "Example:\n  sudo cgscope states --container web --duration 10s")]
    States(WindowArguments),
    /// Record stacks and draw them as a flame graph
    #[command(
        after_help = "Examples:\n  sudo cgscope flamegraph --container web --duration 10s -o web.svg\n  \
        cgscope flamegraph --pid 4242 --frequency 999 -o out.folded\n  \
        cgscope flamegraph --container web -o web.pb.gz\n  \
        sudo cgscope flamegraph --type offcpu --container web --duration 10s -o waits.svg\n  \
        sudo cgscope flamegraph --type block --duration 10s -o disks.svg\n  \
        cgscope flamegraph --container web --start -2h --duration 5m -o then.svg\n  \
        cgscope flamegraph --start -10m --duration 10m --against -70m -o what-changed.svg"
    )]
    Flamegraph(FlamegraphArguments),
    /// Record everything for a while into a file that can be replayed elsewhere
    #[command(
        after_help = "Examples:\n  sudo cgscope record -o web-42.cgscope --duration 60s\n  sudo cgscope record -o what-was.cgscope --before 2m --duration 5s\n  \
        cgscope replay web-42.cgscope\n\n\
        The file holds every measurement, the names of the containers, stacks at 19 Hz or as the daemon keeps them, the slowest \
        operations, changed limits and what doctor says. Ctrl-C ends it early: what came until then, but for up to ten seconds, can be \
        replayed."
    )]
    Record(RecordArguments),
    /// Serve the page, the API and the commands from a file of `record`, without privileges
    #[command(
        after_help = "Examples:\n  cgscope replay web-42.cgscope\n  cgscope latency --container web --address 127.0.0.1:7071\n  \
        CGSCOPE_ADDRESS=127.0.0.1:7071 cgscope flamegraph --start -1m --duration 1m -o then.svg\n\n\
        `now` is the end of the recording. What would have to be measured anew is refused."
    )]
    Replay(ReplayArguments),
    /// Compare two profiles: files, or recordings one after the other
    #[command(after_help = "Examples:\n  cgscope diff before.folded after.pb.gz -o diff.svg\n  \
        sudo cgscope diff container:web container:web --duration 30s -o -\n\n\
        A and B are each a file (folded lines, perf script, pprof or the JSON of cgscope, whatever its name), \
        container:NAME, pid:PID or host. Frames that are only in A are drawn beside those of B.")]
    Diff(DiffArguments),
    /// List the slowest requests of disks and calls on files, each with its container, place and thread
    #[command(after_help = "Examples:\n  sudo cgscope outliers --container web --duration 1m\n  \
        cgscope outliers --kind block --limit 5 --json\n\n\
        Of each second the 16 slowest of each kind are kept, for ten minutes. Without a daemon it looks for as long as --duration says.")]
    Outliers(OutliersArguments),
    /// List the containers
    #[command(after_help = "Example:\n  cgscope containers --all --json")]
    Containers(ContainersArguments),
    /// Tell what this kernel offers, what is missing, what cgscope costs and loses
    #[command(after_help = "Example:\n  sudo cgscope doctor")]
    Doctor(DoctorArguments),
    /// Record workloads of which the answer is known, and score the recordings
    #[command(
        after_help = "Example:\n  sudo cgscope selftest\n\nIt takes some 40 s. It fails if a recording is further off than it may be."
    )]
    Selftest(SelftestArguments),
}

/// Which daemon to ask.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Daemon")]
pub struct ConnectArguments {
    /// Ask the daemon at this address instead of looking for one
    #[arg(long, value_name = "IP:PORT", env = "CGSCOPE_ADDRESS", conflicts_with = "standalone")]
    pub address: Option<SocketAddr>,

    /// Attach by itself even if a daemon runs
    #[arg(long)]
    pub standalone: bool,

    #[command(flatten)]
    pub state: StateArguments,
}

/// Where a daemon says that it runs.
#[derive(Args, Clone, Debug)]
pub struct StateArguments {
    /// Directory of daemon.json, by which commands find the daemon
    #[arg(long, value_name = "DIR", env = "CGSCOPE_RUNTIME_DIR", default_value = DEFAULT_DIRECTORY)]
    pub state_dir: PathBuf,
}

impl StateArguments {
    /// Where is kept what can be made again: `/var/cache/cgscope`, or `cache` in the state directory if that is set.
    pub fn cache(&self) -> PathBuf {
        if self.state_dir == Path::new(DEFAULT_DIRECTORY) {
            PathBuf::from("/var/cache/cgscope")
        } else {
            self.state_dir.join("cache")
        }
    }
}

/// Of whom.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct TargetArguments {
    /// Of this container, by name, id or the beginning of its id
    #[arg(long, value_name = "NAME|ID")]
    pub container: Option<String>,

    /// Of this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub pid: Option<u32>,

    /// Of the whole host; the default
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct RunArguments {
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7070", env = "CGSCOPE_LISTEN")]
    pub listen: SocketAddr,

    /// Stack samples per second and CPU of recordings that do not say
    #[arg(long, value_name = "HZ", default_value = "99", env = "CGSCOPE_FREQUENCY", value_parser = frequency)]
    pub frequency: u32,

    #[command(flatten)]
    pub state: StateArguments,

    #[command(flatten)]
    pub history: HistoryArguments,

    #[command(flatten)]
    pub push: PushArguments,

    #[command(flatten)]
    pub flight: FlightArguments,

    #[command(flatten)]
    pub intake: IntakeArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct TopArguments {
    /// Print one table and leave
    #[arg(long)]
    pub once: bool,

    /// Print one table as JSON and leave
    #[arg(long)]
    pub json: bool,

    /// Only this container, by name, id or the beginning of its id
    #[arg(long, value_name = "NAME|ID")]
    pub container: Option<String>,

    /// With units, plain cgroups, the host, the kernel and the dead
    #[arg(long)]
    pub all: bool,

    /// Columns, separated by commas: name, id, runtime, cpu, throttled, runq-p50, runq-p99, threads, stall, states, or
    /// any metric by its name in /metrics
    #[arg(long, value_name = "NAMES", default_value_t)]
    pub columns: Columns,

    /// What the numbers are over, in the table of --once and --json [default: the last measurement]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Span>,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct WindowArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Over how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Span,

    /// As JSON, as the API answers
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct FlamegraphArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Of what: cpu, where threads run; offcpu, where they wait and how long; wakeup, where others
    /// end their waits; lock, where they wait for locks; block, where they
    /// ask disks for bytes; fault, where they fault; memory, where they grow; network, where they send
    #[arg(long, value_name = "TYPE", default_value = "cpu", value_parser = kind)]
    pub r#type: ProfileKind,

    /// Of the types offcpu and wakeup only waits in these states: disk, fault, lock, network, pipe, sleeping, other, unknown
    #[arg(long, value_name = "STATES")]
    pub state: Option<String>,

    /// For how long to record, or with --start, how much of the past to draw
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Span,

    /// Draw what a running daemon kept from then on instead of recording: how long ago, like -1h, or seconds since 1970
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true, conflicts_with_all = ["frequency", "standalone"])]
    pub start: Option<String>,

    /// The end of what to draw, like -50m [default: --duration after --start]
    #[arg(
        long,
        value_name = "INSTANT",
        allow_hyphen_values = true,
        requires = "start",
        conflicts_with = "duration"
    )]
    pub end: Option<String>,

    /// Hold it against as much of the time from then on, and draw what changed
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true, requires = "start")]
    pub against: Option<String>,

    /// Samples per second and CPU, of the type cpu [default: 99, or the daemon's]
    #[arg(long, value_name = "HZ", value_parser = frequency)]
    pub frequency: Option<u32>,

    /// Where to write it; its ending says as what, - is stdout [default: flamegraph.svg, or with the ending of --format]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// As what to write it: svg, folded, json, pprof, firefox or speedscope [default: by the ending .svg, .folded, .txt,
    /// .json, .pb.gz, .pprof, .firefox.json or .speedscope.json; folded for stdout]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<Format>,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct ContainersArguments {
    /// Only this one, by name, id or the beginning of its id
    #[arg(long, value_name = "NAME|ID")]
    pub container: Option<String>,

    /// With units, plain cgroups, the host and the dead
    #[arg(long)]
    pub all: bool,

    /// As JSON, as the API answers
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct OutliersArguments {
    /// Only of this container, by name, id or the beginning of its id
    #[arg(long, value_name = "NAME|ID")]
    pub container: Option<String>,

    /// Only of this kind: block, requests of disks; file, calls on files (with --enable files)
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,

    /// Over how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Span,

    /// How many to list at most, the slowest first
    #[arg(long, value_name = "NUMBER", default_value = "20")]
    pub limit: u32,

    /// List the kernel stacks as well in which threads waited for their requests
    #[arg(long)]
    pub stacks: bool,

    /// As JSON, as the API answers
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

/// A type by its name.
fn kind(name: &str) -> Result<ProfileKind, String> {
    let names = || ProfileKind::ALL.map(ProfileKind::name).join(", ");
    ProfileKind::named(name).ok_or_else(|| format!("it is none of {}", names()))
}

/// A format by its name.
fn format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::name).join(", ");
    Format::named(name).ok_or_else(|| format!("it is none of {}", names()))
}

impl TargetArguments {
    /// As parameters of a recording.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let container = self.container.clone().map(|container| ("container", container));
        let pid = self.pid.map(|pid| ("pid", pid.to_string()));
        container.into_iter().chain(pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_definition_holds() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn each_command_shows_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:"), "{help}");
    }

    fn refused(line: &str) -> ErrorKind {
        Arguments::try_parse_from(line.split(' ')).expect_err(line).kind()
    }

    #[test]
    fn what_makes_no_sense() {
        let conflict = ErrorKind::ArgumentConflict;
        let value = ErrorKind::ValueValidation;
        for (line, kind) in [
            ("cgscope latency --container a --pid 1", conflict),
            ("cgscope latency --pid 0", value),
            ("cgscope latency --duration 0s", value),
            ("cgscope latency --duration 11m", value),
            ("cgscope flamegraph --frequency 10001", value),
            ("cgscope flamegraph --format png", value),
            ("cgscope flamegraph --type wall", value),
            ("cgscope diff a", ErrorKind::MissingRequiredArgument),
            ("cgscope record --duration 10s", ErrorKind::MissingRequiredArgument),
            ("cgscope record -o a --duration 2d", value),
            ("cgscope record -o a --duration 0s", value),
            ("cgscope replay", ErrorKind::MissingRequiredArgument),
            ("cgscope diff a b --format pprof", value),
            ("cgscope diff pid:x b", value),
            ("cgscope diff container: b", value),
            ("cgscope run --interval 99ms", value),
            ("cgscope run --hook kprobe", value),
            ("cgscope run --event-ring-size 3M", value),
            ("cgscope run --listen nowhere", value),
            ("cgscope run --retention 6h,3d", value),
            ("cgscope run --history-size 1M", value),
            ("cgscope run --no-history --history-size 1G", conflict),
            ("cgscope top --columns name,nonsense", value),
            ("cgscope top --standalone --address 127.0.0.1:1", conflict),
            ("cgscope nonsense", ErrorKind::InvalidSubcommand),
        ] {
            assert_eq!(refused(line), kind, "{line}");
        }
    }

    #[test]
    fn flags_reach_the_engine() {
        let line = "cgscope run --interval 100ms --max-threads 4096 --identity v1:cpu --disable profile,process \
                    --frequency 49 --stack-ring-size 8M";
        let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Run(run) = arguments.command else { panic!() };
        let options = run.engine.options(run.frequency);
        assert_eq!(options.interval.as_millis(), 100);
        assert_eq!(options.max_threads, Some(4096));
        assert_eq!(options.disabled, ["profile", "process"]);
        assert_eq!((options.frequency_hz, options.stack_ring_bytes), (49, Some(8 << 20)));
        let history = run.history.options(&run.state.state_dir).expect("it is on");
        assert_eq!(history.directory, Path::new("/var/lib/cgscope"));
    }
}
