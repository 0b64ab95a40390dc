//! The real command line, as root or as a user without any rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Captured, run_captured};
use crate::paths::cgscope_binary;
use crate::require_root;

/// What a command left behind.
pub type Output = Captured;

const NOBODY: u32 = 65_534;
/// Tells the program where a daemon says that it runs.
pub(crate) const RUNTIME_DIRECTORY: &str = "CGSCOPE_RUNTIME_DIR";
/// Where none does, nor can.
const NO_DAEMON: &str = "/dev/null/none";

impl Captured {
    /// Its standard output as JSON.
    ///
    /// # Errors
    /// When the exit code is not 0 or the output is not JSON; the message holds the standard error.
    pub fn json(&self) -> Result<Value> {
        ensure!(self.success(), "the command ended with {:?}: {}", self.status, self.stderr);
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

/// The program with `arguments`, which finds no daemon unless they name one.
pub fn cli_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(cgscope_binary());
    command.args(arguments).env(RUNTIME_DIRECTORY, NO_DAEMON).stdin(Stdio::null());
    command
}

/// Runs [`cli_command`] to its end.
///
/// # Errors
/// When it cannot be started; its own failure is in the result.
pub fn cli(arguments: &[&str]) -> Result<Output> {
    run_captured(&mut cli_command(arguments))
}

/// The JSON that the program prints with `arguments` and `--json`.
///
/// # Errors
/// When it fails or does not print JSON.
pub fn cli_json(arguments: &[&str]) -> Result<Value> {
    cli(&[arguments, &["--json"]].concat())?.json()
}

/// Runs a copy of the program as user and group 65534, without groups and capabilities, where that user can reach it.
///
/// # Errors
/// When it cannot be copied or started; its own failure is in the result.
///
/// # Panics
/// When not run as root.
pub fn as_nobody(arguments: &[&str]) -> Result<Output> {
    require_root();
    // Not in target/: the directories above a workspace may be closed to others.
    let directory = TempDir::with_prefix_in("cgscope-nobody-", "/tmp")?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let binary = directory.path().join("cgscope");
    fs::copy(cgscope_binary(), &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    // With a uid set and run by root, the standard library drops the supplementary groups as well.
    run_captured(
        Command::new(&binary)
            .args(arguments)
            // Root's: no daemon is there, and this user cannot make one be.
            .env(RUNTIME_DIRECTORY, directory.path().join("none"))
            .env("RUST_BACKTRACE", "1")
            .current_dir(directory.path())
            .uid(NOBODY)
            .gid(NOBODY),
    )
}
