//! Running a program to its end, and waiting for a condition, each with an error that says what was run.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a finished program left behind. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Captured {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }
}

/// Runs `command` to its end, whatever its exit code.
///
/// # Errors
/// When the program cannot be started.
pub fn run_captured(command: &mut Command) -> Result<Captured> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Captured {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `command` and returns its standard output without the last line end.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message holds its standard error.
pub fn run_checked(command: &mut Command) -> Result<String> {
    let captured = run_captured(command)?;
    if !captured.success() {
        bail!("{command:?} ended with {:?}: {}", captured.status, captured.stderr.trim());
    }
    Ok(captured.stdout.trim_end().to_owned())
}

/// Asks `ready` every 5 ms until it answers `Some`, for at most `patience`; where `CGSCOPE_TEST_SLOWNESS` says that this machine is
/// so many times slower (a translated one), for as many times that.
///
/// # Errors
/// When `patience` is over (the message names `what`), or as soon as `ready` fails.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let slowness = std::env::var("CGSCOPE_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok());
    let patience = patience * slowness.unwrap_or(1);
    let start = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if start.elapsed() >= patience {
            bail!("waited {patience:?} in vain for {what}");
        }
        sleep(Duration::from_millis(5));
    }
}
