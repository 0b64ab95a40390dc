//! `cgscope replay` of a file, by a user without any rights.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::daemon::{Daemon, free_port};
use crate::paths::cgscope_binary;
use crate::require_root;

const NOBODY: u32 = 65_534;

impl Daemon {
    /// Serves a copy of a recording as user and group 65534, and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer within 20 s; the message holds its log.
    ///
    /// # Panics
    /// When not run as root: else it could not become that user.
    pub fn replay(file: &Path) -> Result<Self> {
        require_root();
        // Not in target/: the directories above a workspace may be closed to others.
        let directory = TempDir::with_prefix_in("cgscope-replay-", "/tmp")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let binary = directory.path().join("cgscope");
        fs::copy(cgscope_binary(), &binary)?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
        let copy = directory.path().join("copy.cgscope");
        fs::copy(file, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
        let log = File::create(directory.path().join("log"))?;
        let port = free_port()?;
        let child = Command::new(&binary)
            .arg("replay")
            .arg(&copy)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .env("RUST_BACKTRACE", "1")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .uid(NOBODY)
            .gid(NOBODY)
            .spawn()
            .context("cannot start cgscope")?;
        Self::ready(child, port, directory)
    }
}
