//! From arguments to an exit code.

use std::{io, process::ExitCode, sync::Arc};

use clap::Parser;

use super::{
    arguments::{Arguments, Command},
    containers, diff, doctor,
    failure::Failure,
    flamegraph, latency, outliers, record, replay, run, selftest, states, top,
};
use crate::serve::{Backend, BackendError, EngineOptions, report::DoctorReport};

/// What the command line needs of the engine.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Loads, attaches and begins to measure; dropping the last handle ends it.
    pub start: fn(&EngineOptions) -> Result<Arc<dyn Backend>, BackendError>,
    /// Looks at this kernel without loading anything, for when `start` refuses.
    pub doctor: fn(&EngineOptions) -> DoctorReport,
}

/// Runs the command that the arguments of this process name.
pub fn main(engine: Engine) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version come this way too, with exit code 0.
        Err(error) => error.exit(),
    };
    let done = match arguments.command {
        Command::Run(arguments) => run::run(engine, &arguments),
        Command::Top(arguments) => top::top(engine, &arguments),
        Command::Latency(arguments) => latency::latency(engine, &arguments),
        Command::States(arguments) => states::states(engine, &arguments),
        Command::Flamegraph(arguments) => flamegraph::flamegraph(engine, &arguments),
        Command::Record(arguments) => record::record(engine, &arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Diff(arguments) => diff::diff(engine, &arguments),
        Command::Containers(arguments) => containers::containers(engine, &arguments),
        Command::Outliers(arguments) => outliers::outliers(engine, &arguments),
        Command::Doctor(arguments) => doctor::doctor(engine, &arguments),
        Command::Selftest(arguments) => selftest::selftest(engine, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has had enough: `| head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // With stderr gone too there is nobody to tell.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{failure}\n"));
            failure.code()
        }
    }
}
