//! `cargo xtask fmt`: formats all Rust source, the kernel half included.

use anyhow::{Context, Result};

use crate::command;

/// Whether to change anything.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only say what is not formatted
    #[arg(long)]
    check: bool,
}

/// Formats or checks.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check { check() } else { command::run(command::cargo().args(["fmt", "--all"])) }
}

/// Fails when something is not formatted.
pub fn check() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))
        .context("run `cargo xtask fmt`")
}
