//! What `perf` says of the same process at the same time.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::profile::Recording;

/// A recording by perf that runs.
pub struct Perf {
    child: Child,
    path: PathBuf,
}

impl Perf {
    /// Starts it; an error says why it cannot be had.
    pub fn start(pid: u32, directory: &Path) -> Result<Self, String> {
        let path = directory.join(format!(".cgscope-selftest-perf-{pid}"));
        let child = Command::new("perf")
            .args(["record", "--quiet", "-e", "cpu-clock", "-F", "999", "-g"])
            .args(["-p", &pid.to_string(), "-o"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Ok(Self { child, path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("perf is not installed".into())
            }
            Err(error) => Err(format!("perf cannot be started: {error}")),
        }
    }

    /// Ends it and reads what it recorded.
    pub fn end(mut self) -> Result<Recording, String> {
        // SAFETY: plain integers; the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        self.child.wait().map_err(|error| error.to_string())?;
        let script = Command::new("perf")
            .args(["script", "-i"])
            .arg(&self.path)
            .stderr(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        Recording::read("perf", &script.stdout).map_err(|error| error.to_string())
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        // Ended already, or never to be of use.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}
