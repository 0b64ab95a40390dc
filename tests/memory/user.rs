//! A container that uses memory once it is told to, what cgscope says of it, and the kernel's own account.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{
    Container, ContainerOptions, Daemon, Scrape, fixture_path, scratch_dir, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;

/// A container with `memory_user` at a gate.
pub struct User {
    pub container: Container,
    gate: TempDir,
}

/// Faults of a process since its birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    pub minor: u64,
    pub major: u64,
}

impl Faults {
    pub fn since(self, before: Self) -> Self {
        Self { minor: self.minor - before.minor, major: self.major - before.major }
    }
}

impl User {
    /// Starts it; it waits until [`Self::begin`].
    pub fn start(options: ContainerOptions, name: &str, arguments: &[&str]) -> Result<Self> {
        let gate = TempDir::with_prefix_in("gate-", scratch_dir())?;
        let fixed = ["memory_user", "--seconds", "300", "--gate", "/gate/open"];
        let container = options
            .bind(gate.path(), "/gate")
            // Another run may have replaced the image by one without it.
            .bind(&fixture_path("memory_user")?, "/bin/memory_user")
            .run(name, &[&fixed, arguments].concat())?;
        Ok(Self { container, gate })
    }

    /// Lets it begin.
    pub fn begin(&self) -> Result<()> {
        Ok(fs::write(self.gate.path().join("open"), "")?)
    }

    /// Lets it run to its end, and gives its truth.
    pub fn run(&self) -> Result<Value> {
        self.begin()?;
        self.container.wait_truth(PATIENCE)
    }

    /// A counter of it in a reading.
    pub fn count(&self, scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.value(scrape, name, labels) as u64
    }

    /// A number of it in a reading.
    pub fn value(&self, scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
        scrape.of(self.container.id()).sum(&format!("cgscope_memory_{name}"), labels)
    }

    /// What the kernel says: fields 10 and 12 of `/proc/PID/stat`.
    pub fn kernel_faults(&self) -> Result<Faults> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.container.host_pid()?))?;
        let (_, fields) = stat.rsplit_once(") ").context("a name in brackets")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        Ok(Faults { minor: fields[7].parse()?, major: fields[9].parse()? })
    }

    /// Bytes that it had disks read: `read_bytes` of `/proc/PID/io`.
    pub fn kernel_fetched_bytes(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.container.host_pid()?))?;
        let bytes = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        Ok(bytes.context("read_bytes")?.parse()?)
    }

    /// What cgscope says.
    pub fn faults(&self, scrape: &Scrape) -> Faults {
        let of = |kind| self.count(scrape, "faults_total", &[("kind", kind)]);
        Faults { minor: of("minor"), major: of("major") }
    }

    /// A reading of cgscope, with the kernel's account that is the same before and after it.
    pub fn bracketed(&self, daemon: &Daemon) -> Result<(Scrape, Faults)> {
        wait_until("a process that takes no fault for a tick", PATIENCE, || {
            let before = self.kernel_faults()?;
            let (scrape, _) = daemon.next_tick()?;
            Ok((self.kernel_faults()? == before).then_some((scrape, before)))
        })
    }
}

/// A number of a truth.
pub fn number(truth: &Value, name: &str) -> Result<u64> {
    truth[name].as_u64().with_context(|| format!("{name} in {truth}"))
}

/// Reads until `is_there` holds of the newest tick, or for 10 s; then whatever there is, for the assertion to say what is wrong.
pub fn read_until(daemon: &Daemon, is_there: impl Fn(&Scrape) -> bool) -> Result<Scrape> {
    let mut last = daemon.scrape()?;
    let found = wait_until("the series", Duration::from_secs(10), || {
        last = daemon.scrape()?;
        Ok(is_there(&last).then_some(()))
    });
    found.or_else(|error| if last.is_empty() { Err(error) } else { Ok(()) })?;
    Ok(last)
}
