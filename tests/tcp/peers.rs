//! A server and a client in containers of their own, each with its truth, and what cgscope says of them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{
    Container, ContainerOptions, Daemon, Scrape, Subject, fixture_path, scratch_dir, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, wire};

pub const PORT: &str = "7000";

/// Two containers on a wire.
pub struct Peers {
    pub server: Container,
    pub client: Container,
    gate: TempDir,
}

impl Peers {
    /// Starts both; the client waits until [`Self::begin`].
    pub fn start(server: &[&str], client: &[&str]) -> Result<Self> {
        Self::start_at(PORT, server, client)
    }

    /// The same at another port.
    pub fn start_at(port: &str, server: &[&str], client: &[&str]) -> Result<Self> {
        let gate = TempDir::with_prefix_in("gate-", scratch_dir())?;
        let fixed = ["net_peer", "--seconds", "300"];
        // Another run may have replaced the image by one without it.
        let options = ContainerOptions::new()
            .bind(gate.path(), "/gate")
            .bind(&fixture_path("net_peer")?, "/bin/net_peer");
        let server = options.run("server", &[&fixed[..], &["--listen", port], server].concat())?;
        let gated = ["--gate", "/gate/open", "--port", port];
        let client = options.run("client", &[&fixed[..], &gated, client].concat())?;
        wire::connect(&client, &server)?;
        Ok(Self { server, client, gate })
    }

    /// Lets the client begin.
    pub fn begin(&self) -> Result<()> {
        Ok(fs::write(self.gate.path().join("open"), "")?)
    }

    /// Lets the client run to its end, and gives its truth.
    pub fn run(&self) -> Result<Value> {
        self.begin()?;
        self.client.wait_truth(PATIENCE)
    }
}

/// A number of a truth.
pub fn number(truth: &Value, name: &str) -> Result<u64> {
    truth[name].as_u64().with_context(|| format!("{name} in {truth}"))
}

/// What of a container's series is looked at here.
pub fn counter(subject: &Subject, name: &str, labels: &[(&str, &str)]) -> u64 {
    subject.sum(&format!("cgscope_{name}"), labels) as u64
}

/// Reads until `is_there` holds of the newest tick, or for 10 s; then whatever there is, for the assertion to say what is wrong.
pub fn read_until(daemon: &Daemon, is_there: impl Fn(&Scrape) -> bool) -> Result<Scrape> {
    let patience = Duration::from_secs(10);
    let mut last = Scrape::default();
    let found = wait_until("the series", patience, || {
        last = Scrape::parse(&daemon.text("/metrics")?)?;
        Ok(is_there(&last).then_some(()))
    });
    found.or_else(|error| if last.is_empty() { Err(error) } else { Ok(()) })?;
    Ok(last)
}
