//! `cargo xtask run`: builds, then becomes the daemon.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, command, workspace};

/// What to hand on.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments of `cgscope run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Builds and replaces this process by `cgscope run`; returns only on failure.
pub fn run(arguments: &Arguments) -> Result<()> {
    build::all()?;
    let mut daemon = Command::new(workspace::binary());
    daemon.arg("run").args(&arguments.rest);
    let shown = command::show(&daemon);
    if !command::is_root() {
        bail!("loading eBPF programs needs root: sudo {shown}");
    }
    println!("  $ {shown}");
    Err(daemon.exec()).with_context(|| format!("`{shown}` did not start"))
}
