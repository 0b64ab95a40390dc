//! The workloads in `tests/fixtures`: compiled once per run, run in a container or directly on the host.
//!
//! Static, because their containers hold nothing else; with frame pointers, because stack tests rely on them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{run_checked, wait_until};
use crate::json_lines::JsonLines;
use crate::paths::{scratch_dir, workspace_root};

pub(crate) const COMPILER_FLAGS: [&str; 10] = [
    "-std=gnu17",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-static",
    "-pthread",
    "-fno-omit-frame-pointer",
    "-mno-omit-leaf-frame-pointer",
];

/// The directory with one executable per `tests/fixtures/*.c`, up to date.
pub(crate) fn fixtures_dir() -> Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(dir) = BUILT.get() {
        return Ok(dir);
    }
    let dir = scratch_dir().join("fixtures");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for source in sources()? {
        compile(&source, &dir)?;
    }
    Ok(BUILT.get_or_init(|| dir))
}

/// The executable of the fixture `name`.
///
/// # Errors
/// When it does not compile or there is no such fixture.
pub fn fixture_path(name: &str) -> Result<PathBuf> {
    let path = fixtures_dir()?.join(name);
    ensure!(path.is_file(), "there is no fixture {name}: tests/fixtures/{name}.c is missing");
    Ok(path)
}

/// One C file per fixture, sorted.
pub(crate) fn sources() -> Result<Vec<PathBuf>> {
    let mut sources = inputs()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    Ok(sources)
}

/// Every file the fixtures are made of, sorted.
pub(crate) fn inputs() -> Result<Vec<PathBuf>> {
    let dir = workspace_root().join("tests/fixtures");
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        inputs.push(entry?.path());
    }
    ensure!(!inputs.is_empty(), "{} holds no fixture", dir.display());
    inputs.sort();
    Ok(inputs)
}

/// Compiles `source` into `dir` unless the executable is newer than it and the shared header.
fn compile(source: &Path, dir: &Path) -> Result<()> {
    let name = source.file_stem().context("a fixture has a name")?;
    let executable = dir.join(name);
    let header = source.with_file_name("fixture.h");
    let changed_at = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    if let Ok(built) = changed_at(&executable)
        && built > changed_at(source)?
        && built > changed_at(&header)?
    {
        return Ok(());
    }
    // Under another name first: two test runs of one workspace must not meet in a half-written file.
    let fresh = executable.with_extension(std::process::id().to_string());
    run_checked(Command::new("gcc").args(COMPILER_FLAGS).arg(source).arg("-o").arg(&fresh))
        .context("the fixtures need gcc and a static libc (apt install gcc libc6-dev)")?;
    fs::rename(&fresh, &executable)
        .with_context(|| format!("cannot place {}", executable.display()))
}

/// A fixture running on the host, outside any container. Dropping it kills it.
pub struct FixtureProcess {
    child: Child,
    stdout_path: PathBuf,
}

impl FixtureProcess {
    /// Starts `command[0]` with the arguments that follow and waits until it says that its load runs.
    ///
    /// # Errors
    /// When there is no such fixture, or it is not ready within 10 s.
    pub fn start(command: &[&str]) -> Result<Self> {
        let (name, arguments) = command.split_first().context("a fixture's name is missing")?;
        let stdout_path = tempfile::NamedTempFile::with_prefix_in(name, scratch_dir())?
            .into_temp_path()
            .keep()
            .context("cannot keep the file for a fixture's output")?;
        let child = Command::new(fixture_path(name)?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout_path)?)
            .spawn()
            .with_context(|| format!("cannot start fixture {name}"))?;
        let mut process = Self { child, stdout_path };
        process.wait_event("ready", Duration::from_secs(10))?;
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and returns the truth it printed.
    ///
    /// # Errors
    /// When it has not ended within `patience`, or ended without a truth.
    pub fn wait_truth(mut self, patience: Duration) -> Result<Value> {
        self.wait_event("truth", patience)
    }

    /// Asks it to stop (SIGTERM) and returns the truth it printed.
    ///
    /// # Errors
    /// When it does not print one within 10 s.
    pub fn stop(mut self) -> Result<Value> {
        // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        self.wait_event("truth", Duration::from_secs(10))
    }

    fn wait_event(&mut self, name: &str, patience: Duration) -> Result<Value> {
        wait_until(&format!("a fixture's {name} line"), patience, || {
            let ended = self.child.try_wait()?;
            let lines = JsonLines::parse(&fs::read_to_string(&self.stdout_path)?);
            match (lines.event(name), ended) {
                (Some(event), _) => Ok(Some(event.clone())),
                (None, Some(status)) => bail!("the fixture ended with {status} and no {name} line"),
                (None, None) => Ok(None),
            }
        })
    }
}

impl Drop for FixtureProcess {
    fn drop(&mut self) {
        // The process may have ended already, and the file may be gone: both are what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.stdout_path);
    }
}
