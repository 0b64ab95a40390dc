//! A cgroup without a runtime: a directory of the v2 hierarchy, removed with the handle.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::wait_until;
use crate::mounts::cgroup_v2_root;

/// A directory of ours. Dropping it removes it; what still runs in it is killed.
#[derive(Debug)]
pub struct PlainCgroup {
    directory: PathBuf,
}

impl PlainCgroup {
    /// Makes `cgscope-test-<pid>-<name>` below the root.
    ///
    /// # Errors
    /// When no cgroup2 is mounted or there is one of this name.
    pub fn new(name: &str) -> Result<Self> {
        let directory = format!("cgscope-test-{}-{name}", std::process::id());
        let directory = cgroup_v2_root()?.join(directory);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Its path from the root of the hierarchy, by which the daemon knows it.
    pub fn id(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        format!("/{}", name.to_string_lossy())
    }

    /// The kernel's id.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cgroup_id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.directory)?.ino())
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn add(&self, pid: u32) -> Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move process {pid} to {}", self.id()))
    }

    /// Removes it once it is empty.
    ///
    /// # Errors
    /// When it is not within 2 s.
    pub fn remove(self) -> Result<()> {
        let directory = self.directory.clone();
        wait_until("the cgroup to be empty", Duration::from_secs(2), || {
            Ok(fs::remove_dir(&directory).ok())
        })
    }
}

impl Drop for PlainCgroup {
    fn drop(&mut self) {
        if !self.directory.exists() {
            return;
        }
        // Fails only where the file is missing (before 5.14): then it has to be empty already.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        let gone = wait_until("the cgroup to go", Duration::from_secs(2), || {
            Ok(fs::remove_dir(&self.directory).ok())
        });
        if let Err(error) = gone {
            eprintln!("cgroup left behind: {}: {error:#}", self.directory.display());
        }
    }
}
