//! `cargo xtask bench`: sets up, builds, then runs the benchmark of `tests/` on the built program.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, command, setup, workspace};

/// What to hand on.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Sets up what is missing, builds and measures.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::for_build()?;
    setup::for_web()?;
    setup::for_bench()?;
    build::all()?;
    command::run(
        command::cargo()
            .env("CGSCOPE_BIN", workspace::binary())
            .args(["run", "--release", "--package", "cgscope-tests", "--bin", "bench", "--"])
            .args(&arguments.rest),
    )
}
