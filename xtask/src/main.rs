//! `cargo xtask`: everything a developer does to cgscope, as subcommands of one small program.
//!
//! A file per subcommand; what several of them share lies beside them (`workspace`, `command`,
//! `need`, `toolchain`, `linker`). Each prints what it is about to do, and each failure names what
//! to do by hand.
#![allow(clippy::print_stdout, reason = "this program talks to the terminal, and to nothing else")]

mod bench;
mod build;
mod command;
mod conformance;
mod fmt;
mod linker;
mod lint;
mod need;
mod node;
mod run;
mod screenshots;
mod setup;
mod test;
mod tidy;
mod toolchain;
mod vm;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Develops cgscope: `cargo xtask run` is the way in, `cargo xtask test` the way out.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    subcommand: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need; does nothing when it is all there
    Setup(setup::Arguments),
    /// Build the kernel half and the dashboard, then the user half around them
    Build(build::Arguments),
    /// Build, then run the daemon (root)
    Run(run::Arguments),
    /// Format, lints, layout, unit tests and end-to-end tests (root)
    Test(test::Arguments),
    /// Build, then measure what cgscope itself costs (root)
    Bench(bench::Arguments),
    /// Run doctor and the kernel tests on Debian's kernels, in virtual machines (root)
    Vm(vm::Arguments),
    /// Run test scripts of others against our own parts: `conformance promql DIR`
    Conformance(conformance::Arguments),
    /// Make the pictures of the documents, of the real dashboard (root)
    Screenshots,
    /// Check the layout rules of the source
    Tidy,
    /// Format all Rust source
    Fmt(fmt::Arguments),
    /// Clippy with warnings denied; types, components and format of the dashboard
    Lint,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().subcommand {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Build(arguments) => build::run(&arguments),
        Task::Run(arguments) => run::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Conformance(arguments) => conformance::run(&arguments),
        Task::Screenshots => screenshots::run(),
        Task::Tidy => tidy::run(),
        Task::Fmt(arguments) => fmt::run(&arguments),
        Task::Lint => lint::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
