//! The real daemon: `cgscope run` on a free port of 127.0.0.1, in a directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{Output, RUNTIME_DIRECTORY, cli};
use crate::command::wait_until;
use crate::paths::{cgscope_binary, scratch_dir};
use crate::require_root;

/// The first page a daemon serves when its programs are attached.
const READY_PATH: &str = "/api/v1/probes";
const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// How the commands are told which daemon to ask.
const DAEMON_FLAG: &str = "--address";

/// A running daemon. Dropping it stops it.
pub struct Daemon {
    child: Child,
    port: u16,
    directory: TempDir,
    http: ureq::Agent,
}

/// An answer of the daemon, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The `Content-Type` header; empty when there is none.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Daemon {
    /// Starts it with `flags` after `run --listen 127.0.0.1:PORT`, and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer within 20 s; the message holds its log.
    ///
    /// # Panics
    /// When not run as root, or the binary is missing.
    pub fn start(flags: &[&str]) -> Result<Self> {
        Self::start_at(free_port()?, flags)
    }

    /// The same on a port that is given: where an earlier one listened, for those who wait for it to come back.
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_at(port: u16, flags: &[&str]) -> Result<Self> {
        require_root();
        let directory = TempDir::with_prefix_in("daemon-", scratch_dir())?;
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new(cgscope_binary())
            .args(["run", "--listen", &format!("127.0.0.1:{port}")])
            .args(flags)
            // Its own, so that daemons of other tests do not meet it.
            .env(RUNTIME_DIRECTORY, directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start cgscope")?;
        Self::ready(child, port, directory)
    }

    /// Of a process that was just started and writes to `log` in its directory; waits until it answers.
    pub(crate) fn ready(child: Child, port: u16, directory: TempDir) -> Result<Self> {
        let http = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_PATIENCE))
            .build()
            .new_agent();
        let mut daemon = Self { child, port, directory, http };
        let ready = wait_until("the daemon to answer", START_PATIENCE, || daemon.is_ready());
        ready.with_context(|| format!("the daemon's log:\n{}", daemon.log()))?;
        Ok(daemon)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its working directory, where it also says that it runs; no other daemon has it, and it goes with the handle.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written to standard output and error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_else(|e| format!("(no log: {e})"))
    }

    /// Asks for `path`, whatever the status of the answer.
    ///
    /// # Errors
    /// When the daemon does not answer within 30 s.
    pub fn answer(&self, path: &str) -> Result<Answer> {
        let url = self.url() + path;
        let mut response = self.http.get(&url).call().with_context(|| format!("GET {url}"))?;
        let content_type =
            response.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: response.body_mut().read_to_string().with_context(|| format!("GET {url}"))?,
        })
    }

    /// Posts a form, which is encoded already, to `path`, whatever the status of the answer.
    ///
    /// # Errors
    /// When the daemon does not answer within 30 s.
    pub fn post_form(&self, path: &str, form: &str) -> Result<Answer> {
        let url = self.url() + path;
        let request = self.http.post(&url).content_type("application/x-www-form-urlencoded");
        let mut response = request.send(form).with_context(|| format!("POST {url}"))?;
        let content_type =
            response.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: response.body_mut().read_to_string().with_context(|| format!("POST {url}"))?,
        })
    }

    /// The body of `path`.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub fn text(&self, path: &str) -> Result<String> {
        let answer = self.answer(path)?;
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// The JSON at `path`.
    ///
    /// # Errors
    /// When the answer is not 200 or not JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        serde_json::from_str(&text).with_context(|| format!("GET {path} answered {text}"))
    }

    /// Runs a command of the program against this daemon.
    ///
    /// # Errors
    /// When the program cannot be started; its own failure is in the result.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        cli(&[arguments, &[DAEMON_FLAG, &self.address()]].concat())
    }

    /// The JSON that a command prints when run against this daemon with `--json`.
    ///
    /// # Errors
    /// When the command fails or does not print JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Result<Value> {
        self.cli(&[arguments, &["--json"]].concat())?.json()
    }

    /// Ends it without a chance to clean up (SIGKILL).
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGKILL)
    }

    /// Asks it to end (SIGTERM) and returns how it did.
    ///
    /// # Errors
    /// When it has ended already, or is still there after 10 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal, and does not wait for what comes of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tell(&self, number: i32) -> Result<()> {
        // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
        let told = unsafe { libc::kill(self.child.id() as i32, number) };
        if told == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
    }

    /// Sends it a signal and returns how it ended.
    ///
    /// # Errors
    /// When it has ended already, or is still there after 10 s.
    pub fn signal(&mut self, number: i32) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon had ended with {status} already; its log:\n{}", self.log());
        }
        // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
        unsafe { libc::kill(self.child.id() as i32, number) };
        wait_until("the daemon to end", STOP_PATIENCE, || Ok(self.child.try_wait()?))
    }

    fn is_ready(&mut self) -> Result<Option<()>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended with {status}");
        }
        // Not listening yet is an error of the request, and what is waited for.
        Ok(self.answer(READY_PATH).ok().filter(|answer| answer.status == 200).map(drop))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, by the test or by a fault it has reported: nothing to do.
        if matches!(self.child.try_wait(), Ok(None)) && self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port nothing listens on. Another process may take it before the daemon does; then the daemon says so.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot bind to 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
