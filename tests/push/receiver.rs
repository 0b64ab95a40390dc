//! A receiver of remote write that also answers PromQL, on a free port of 127.0.0.1, in a directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Prometheus,
    VictoriaMetrics,
}

/// A running receiver. Dropping it stops it.
pub struct Receiver {
    program: Program,
    port: u16,
    directory: TempDir,
    child: Child,
}

impl Receiver {
    pub fn start(program: Program) -> Result<Self> {
        let directory = TempDir::with_prefix_in("receiver-", scratch_dir())?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = spawn(program, port, &directory)?;
        let receiver = Self { program, port, directory, child };
        receiver.wait_ready()?;
        Ok(receiver)
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        let path = "/api/v1/write";
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Ends it at once, as if its machine had stopped.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, with what it had stored.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(self.program, self.port, &self.directory)?;
        self.wait_ready()
    }

    /// The answer to a query at an instant: values by the series' container.
    pub fn query(&self, query: &str, at_s: f64) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let mut answer =
            ureq::get(&url).query("query", query).query("time", at_s.to_string()).call()?;
        Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
    }

    fn wait_ready(&self) -> Result<()> {
        let ready = wait_until("the receiver to answer", PATIENCE, || {
            let answer = self.query("vector(1)", 1.0);
            Ok(answer.is_ok_and(|answer| answer["status"] == "success").then_some(()))
        });
        let log = self.directory.path().join("log");
        ready.with_context(|| {
            format!("{:?}: {}", self.program, fs::read_to_string(log).unwrap_or_default())
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: Program, port: u16, directory: &TempDir) -> Result<Child> {
    let path = directory.path();
    let log = File::options().append(true).create(true).open(path.join("log"))?;
    let data = path.join("data");
    let mut command = match program {
        Program::Prometheus => {
            let settings = path.join("prometheus.yml");
            fs::write(&settings, "global: {}\n")?;
            let mut command = Command::new("prometheus");
            command
                .arg(format!("--config.file={}", settings.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--web.enable-remote-write-receiver");
            command
        }
        Program::VictoriaMetrics => {
            let mut command = Command::new("victoria-metrics");
            command
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                // Else it does not look at the last 30 s, in which all of this happens.
                .arg("-search.latencyOffset=0s")
                .arg("-retentionPeriod=1d");
            command
        }
    };
    let found = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    let child = found.with_context(|| format!("{program:?} is missing: cargo xtask setup"))?;
    ensure!(child.id() > 0);
    Ok(child)
}
