//! `cargo xtask conformance`: test scripts that others wrote, run against our own parts. It needs neither root nor a daemon.

use std::ffi::OsString;

use anyhow::Result;

use crate::command;

/// What to hand on.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to run and where its scripts are, like `promql DIR`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    rest: Vec<OsString>,
}

/// Builds the runner and runs it; a path that is not absolute begins at the root of the workspace.
pub fn run(arguments: &Arguments) -> Result<()> {
    command::run(
        command::cargo()
            .args(["run", "--release", "--package", "cgscope-tests", "--bin", "conformance", "--"])
            .args(&arguments.rest),
    )
}
