//! Real containers: podman and runc start a fixture in its own cgroups, and dropping the handle removes it.
//!
//! Every container of ours has a label `cgscope-test=<pid>-<start time>` after the process that made it, so that what a
//! crashed run left behind is told from what another run is using, and only the former is removed. Its name begins so too,
//! unless a short one is asked for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{Captured, run_captured, run_checked, wait_until};
use crate::fixture::fixture_path;
use crate::image::{image_name, podman};
use crate::json_lines::JsonLines;
use crate::mounts::{cgroup_v1_root, cgroup_v2_root};
use crate::paths::scratch_dir;
use crate::require_root;
use crate::truth::process_start_ticks;

const NAME_PREFIX: &str = "cgscope-test-";
const LABEL: &str = "cgscope-test";
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long the last lines of an ended container may take to reach its log.
const LOG_DELAY: Duration = Duration::from_millis(500);

/// How a container is to be started.
#[derive(Debug, Clone, Default)]
pub struct ContainerOptions {
    arguments: Vec<String>,
    has_short_name: bool,
}

impl ContainerOptions {
    /// A container without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only on these CPUs, in cpuset notation: `"0"`, `"0-1"`. Needs the cpuset controller; fixtures can also pin
    /// themselves with `--cpu N`.
    #[must_use]
    pub fn cpuset(self, cpus: &str) -> Self {
        self.argument(&format!("--cpuset-cpus={cpus}"))
    }

    /// At most this many CPUs' time in each 100 ms period: `0.5` throttles after 50 ms.
    #[must_use]
    pub fn cpu_quota(self, cpus: f64) -> Self {
        self.argument(&format!("--cpus={cpus}"))
    }

    /// Shows `host` at `inside` in the container, writable.
    #[must_use]
    pub fn bind(self, host: &Path, inside: &str) -> Self {
        self.argument(&format!("--volume={}:{inside}", host.display()))
    }

    /// Named as people name containers, `NAME-PID`: for pages that are looked at. Two of one name cannot be.
    #[must_use]
    pub fn short_name(mut self) -> Self {
        self.has_short_name = true;
        self
    }

    /// Any other option of `podman create`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts `command` in a new container whose name ends in `name`. Where the command is a fixture, its load runs
    /// when this returns.
    ///
    /// # Errors
    /// When podman refuses, or a fixture is not ready within 20 s.
    ///
    /// # Panics
    /// When not run as root.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<Container> {
        require_root();
        remove_leftovers_once()?;
        let program = command.first().context("a container needs a command")?;
        let image = image_name()?;
        let name = if self.has_short_name {
            format!("{name}-{}", std::process::id())
        } else {
            unique_name(name)?
        };
        let log_path = scratch_dir().join(format!("{name}.log"));
        let id = run_checked(
            podman()
                .args(["create", "--name", &name, "--network=none", "--log-driver=k8s-file"])
                .arg(format!("--label={LABEL}={}", maker()?))
                .args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"])
                .arg(format!("--log-opt=path={}", log_path.display()))
                .args(&self.arguments)
                .arg(image)
                .args(command),
        )?;
        let mut container = Container { id, name, log_path, host_pid: None, cgroup_v2_id: None };
        ensure!(container.id.len() == 64, "podman gave no container id but {:?}", container.id);
        container.start()?;
        let pid = container.inspect("{{.State.Pid}}")?;
        // Podman shows 0 for a container that has ended.
        container.host_pid = pid.parse().ok().filter(|&pid| pid != 0);
        if fixture_path(program).is_ok() {
            container.wait_event("ready", START_PATIENCE)?;
        }
        Ok(container)
    }
}

/// A container of ours. Dropping it kills and removes it.
#[derive(Debug)]
pub struct Container {
    id: String,
    name: String,
    log_path: PathBuf,
    host_pid: Option<u32>,
    cgroup_v2_id: Option<u64>,
}

impl Container {
    /// Starts `command` without limits: see [`ContainerOptions::run`].
    ///
    /// # Errors
    /// As [`ContainerOptions::run`].
    pub fn run(name: &str, command: &[&str]) -> Result<Self> {
        ContainerOptions::new().run(name, command)
    }

    /// The full id: 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The full, unique name, as podman and the daemon show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, on the host, of the container's first process.
    ///
    /// # Errors
    /// When the container had ended before podman could tell.
    pub fn host_pid(&self) -> Result<u32> {
        self.host_pid.with_context(|| format!("{} ended too early to have a pid", self.name))
    }

    /// Its directory in the cgroup v2 hierarchy, whether or not it still exists.
    ///
    /// # Errors
    /// When no cgroup2 is mounted.
    pub fn cgroup_v2(&self) -> Result<PathBuf> {
        Ok(self.below(&cgroup_v2_root()?))
    }

    /// The inode of [`Self::cgroup_v2`], which is the kernel's cgroup id. Known beyond the container's end.
    ///
    /// # Errors
    /// When the cgroup was never seen.
    pub fn cgroup_v2_id(&self) -> Result<u64> {
        self.cgroup_v2_id.with_context(|| format!("the cgroup of {} was never seen", self.name))
    }

    /// Its directory in the v1 hierarchy of `controller`.
    ///
    /// # Errors
    /// When this machine has no such hierarchy.
    pub fn cgroup_v1(&self, controller: &str) -> Result<PathBuf> {
        let root = cgroup_v1_root(controller)?
            .with_context(|| format!("no cgroup v1 hierarchy with {controller} is mounted"))?;
        Ok(self.below(&root))
    }

    /// Host process ids of all its processes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pids(&self) -> Result<Vec<u32>> {
        self.numbers_in("cgroup.procs")
    }

    /// Host thread ids of all its threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tids(&self) -> Result<Vec<u32>> {
        self.numbers_in("cgroup.threads")
    }

    /// What it has written to standard output so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn stdout(&self) -> Result<String> {
        let log = fs::read_to_string(&self.log_path)
            .with_context(|| format!("cannot read {}", self.log_path.display()))?;
        Ok(text_of_stream(&log, "stdout"))
    }

    /// Runs a command in the container and waits for it.
    ///
    /// # Errors
    /// When podman cannot be started; the command's own failure is in the result.
    pub fn exec(&self, command: &[&str]) -> Result<Captured> {
        run_captured(podman().args(["exec", &self.name]).args(command))
    }

    /// Waits for the fixture's end and returns its truth.
    ///
    /// # Errors
    /// When it does not come within `patience`.
    pub fn wait_truth(&self, patience: Duration) -> Result<Value> {
        self.wait_event("truth", patience)
    }

    /// Ends the fixture (SIGTERM) and returns its truth.
    ///
    /// # Errors
    /// When the container has ended already, or no truth comes within 10 s.
    pub fn stop(&self) -> Result<Value> {
        run_checked(podman().args(["kill", "--signal", "TERM", &self.name]))?;
        self.wait_truth(Duration::from_secs(10))
    }

    /// Waits for the container's end and returns its exit code.
    ///
    /// # Errors
    /// When it is still running after `patience`.
    pub fn wait_exit(&self, patience: Duration) -> Result<i32> {
        wait_until(&format!("{} to end", self.name), patience, || {
            let state = self.inspect("{{.State.Status}} {{.State.ExitCode}}")?;
            let ended = state.strip_prefix("exited ");
            ended.map(|code| code.parse().context("podman's exit code")).transpose()
        })
    }

    /// Kills all of it at once (SIGKILL). It remains known to podman until the handle is dropped.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&self) -> Result<()> {
        run_checked(podman().args(["kill", "--signal", "KILL", &self.name])).map(drop)
    }

    /// Starts it, and meanwhile looks for its cgroup: a short container's is gone when podman returns.
    fn start(&mut self) -> Result<()> {
        let cgroup = self.cgroup_v2()?;
        let mut starter = podman()
            .args(["start", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start podman")?;
        let status = wait_until(&format!("podman start {}", self.name), START_PATIENCE, || {
            if self.cgroup_v2_id.is_none() {
                self.cgroup_v2_id = fs::metadata(&cgroup).ok().map(|directory| directory.ino());
            }
            Ok(starter.try_wait()?)
        })?;
        ensure!(status.success(), "podman start {} ended with {status}", self.name);
        Ok(())
    }

    fn below(&self, hierarchy: &Path) -> PathBuf {
        hierarchy.join(format!("libpod_parent/libpod-{}", self.id))
    }

    fn numbers_in(&self, file: &str) -> Result<Vec<u32>> {
        let path = self.cgroup_v2()?.join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.lines().map(|line| line.parse().context("a process id")).collect()
    }

    fn inspect(&self, format: &str) -> Result<String> {
        run_checked(podman().args(["inspect", "--format", format, &self.name]))
    }

    fn wait_event(&self, event: &str, patience: Duration) -> Result<Value> {
        let mut ended_at = None;
        let found = wait_until(&format!("the {event} line of {}", self.name), patience, || {
            let line = JsonLines::parse(&self.stdout()?).event(event).cloned();
            if line.is_none() && !self.is_running() {
                let ended_at = *ended_at.get_or_insert_with(Instant::now);
                ensure!(ended_at.elapsed() < LOG_DELAY, "it ended without a {event} line");
            }
            Ok(line)
        });
        found.with_context(|| {
            let log = fs::read_to_string(&self.log_path).unwrap_or_default();
            format!("the log of {}:\n{log}", self.name)
        })
    }

    fn is_running(&self) -> bool {
        self.host_pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("container left behind: {error:#}");
        }
    }
}

fn remove(name: &str) -> Result<()> {
    run_checked(podman().args(["rm", "--force", "--time=0", name]))?;
    let log = scratch_dir().join(format!("{name}.log"));
    if log.exists() {
        fs::remove_file(log)?;
    }
    Ok(())
}

fn unique_name(suffix: &str) -> Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{NAME_PREFIX}{}-{number}-{suffix}", maker()?))
}

/// This process: its id and when it started, because ids come again.
fn maker() -> Result<String> {
    let pid = std::process::id();
    Ok(format!("{pid}-{}", process_start_ticks(pid)?))
}

fn remove_leftovers_once() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = remove_leftovers());
    result
}

/// Removes the containers of test processes that no longer live. The first start of a container does it by itself.
///
/// # Errors
/// When podman cannot list or remove them.
pub fn remove_leftovers() -> Result<()> {
    let filter = format!("label={LABEL}");
    let format = format!("{{{{.Names}}}} {{{{index .Labels \"{LABEL}\"}}}}");
    let rows =
        run_checked(podman().args(["ps", "--all", "--format", &format, "--filter", &filter]))?;
    for (name, maker) in rows.lines().filter_map(|row| row.split_once(' ')) {
        // Without our numbers in it, someone else chose the label.
        if let Some((pid, start_ticks)) = numbers_of(maker)
            && process_start_ticks(pid).ok() != Some(start_ticks)
        {
            remove(name)?;
        }
    }
    Ok(())
}

/// The process id and start time in what [`maker`] wrote.
fn numbers_of(maker: &str) -> Option<(u32, u64)> {
    let (pid, start_ticks) = maker.split_once('-')?;
    Some((pid.parse().ok()?, start_ticks.parse().ok()?))
}

/// The lines of one stream in a log of conmon: `TIME STREAM F|P TEXT`, where `P` is a part of a line.
fn text_of_stream(log: &str, stream: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut fields = line.splitn(4, ' ').skip(1);
        if let (Some(from), Some(tag), Some(part)) = (fields.next(), fields.next(), fields.next())
            && from == stream
        {
            text.push_str(part);
            if tag == "F" {
                text.push('\n');
            }
        }
    }
    text
}
