//! A command of the program that is running: its signals, its end, what it holds in the kernel.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::bpf::Objects;
use cgscope_tests::{Captured, scratch_dir, wait_until};
use tempfile::TempDir;

/// Programs of a command that is done with loading: all but those of hooks a kernel may lack.
const LOADED: usize = 8;
/// What the kernel may take to free what nobody holds.
const FREE_PATIENCE: Duration = Duration::from_secs(2);

/// A running command. Dropping it kills it.
pub struct Running {
    child: Child,
    directory: TempDir,
}

impl Running {
    /// Starts `command` with its output in files.
    pub fn start(command: &mut Command) -> Result<Self> {
        let directory = TempDir::with_prefix_in("running-", scratch_dir())?;
        let file = |name: &str| File::create(directory.path().join(name));
        // A shell has what it starts in the background ignore SIGINT, and that is inherited.
        // SAFETY: between fork and exec, one call that may be made there.
        unsafe {
            command.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
                libc::SIG_ERR => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command
            .stdout(file("stdout")?)
            .stderr(file("stderr")?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, directory })
    }

    /// Waits until its programs are attached and returns what it holds.
    pub fn attached(&mut self) -> Result<Objects> {
        wait_until("the programs to be attached", Duration::from_secs(10), || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before: {:?}", self.output(status.code())?);
            }
            let objects = Objects::of(self.child.id())?;
            Ok((objects.links.len() >= LOADED).then_some(objects))
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, number: i32) {
        // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    /// Waits for its end; what it left behind, and how long that took from now.
    pub fn wait(&mut self, patience: Duration) -> Result<(Captured, Duration)> {
        let started = Instant::now();
        let status = wait_until("the command to end", patience, || Ok(self.child.try_wait()?))?;
        Ok((self.output(status.code())?, started.elapsed()))
    }

    fn output(&self, status: Option<i32>) -> Result<Captured> {
        let read = |name: &str| fs::read_to_string(self.directory.path().join(name));
        Ok(Captured { status, stdout: read("stdout")?, stderr: read("stderr")? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until none of `objects` is in the kernel any more.
pub fn assert_gone(objects: &Objects) -> Result<()> {
    ensure!(objects.programs.len() >= LOADED && objects.maps.len() >= LOADED, "{objects:?}");
    let gone = wait_until("the kernel to free them", FREE_PATIENCE, || {
        Ok((objects.remaining()? == Objects::default()).then_some(()))
    });
    gone.with_context(|| format!("left in the kernel: {:?}", objects.remaining()))
}
