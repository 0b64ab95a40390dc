//! The program: the command line with the engine.

use std::process::ExitCode;

use cgscope::{daemon, show};

fn main() -> ExitCode {
    show::main(show::Engine { start: daemon::start, doctor: daemon::without_engine })
}
