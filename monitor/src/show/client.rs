//! Asks the API: of the daemon over HTTP, or of an engine of its own without a socket.
//!
//! Contract: both give the same bytes for the same question, so whoever shows them need not know.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{
    arguments::ConnectArguments,
    failure::{Failure, RUNTIME},
    program::Engine,
};
use crate::serve::{Backend, EngineOptions, InProcess, api::ErrorBody, runtime_file};

/// The largest answer: the flame graph of a busy host takes some megabytes.
const MAX_ANSWER_BYTES: u64 = 512 << 20;
/// How long an answer may take beyond the window it is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who answers.
pub enum Client {
    /// A daemon.
    Remote {
        agent: Box<ureq::Agent>,
        /// `http://ADDRESS`.
        base: String,
    },
    /// An engine of this process.
    Local(InProcess),
}

impl Client {
    /// The daemon that was named or is found, or else an engine of its own.
    ///
    /// # Errors
    /// Why the engine cannot start.
    pub fn connect(
        arguments: &ConnectArguments,
        engine: Engine,
        options: EngineOptions,
    ) -> Result<Self, Failure> {
        match Self::daemon(arguments) {
            Some(client) => Ok(client),
            None => {
                let frequency_hz = options.frequency_hz;
                Self::local((engine.start)(&options)?, frequency_hz)
            }
        }
    }

    /// The daemon that was named or is found.
    pub fn daemon(arguments: &ConnectArguments) -> Option<Self> {
        if arguments.standalone {
            return None;
        }
        let found = || find(&arguments.state.state_dir);
        arguments.address.map(|address| address.to_string()).or_else(found).map(Self::remote)
    }

    fn remote(address: String) -> Self {
        let config = ureq::Agent::config_builder()
            // A status is an answer here, and the daemon is not behind anybody's proxy.
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(5)))
            .build();
        Self::Remote { agent: Box::new(config.into()), base: format!("http://{address}") }
    }

    /// An engine that runs already.
    pub fn local(backend: Arc<dyn Backend>, frequency_hz: u32) -> Result<Self, Failure> {
        let failed = |error| Failure::new(RUNTIME, format!("cannot start threads: {error}"), "");
        InProcess::new(backend, frequency_hz).map(Self::Local).map_err(failed)
    }

    /// What the API answers to `GET path`, as it is; `span` is the length of the window it is over.
    ///
    /// # Errors
    /// What the API says, or that it cannot be reached.
    pub fn bytes(&self, path: &str, span: Duration) -> Result<Vec<u8>, Failure> {
        let (is_success, body) = match self {
            Self::Remote { agent, base } => ask_daemon(agent, base, path, span + PATIENCE)?,
            Self::Local(api) => api.get(path, MAX_ANSWER_BYTES as usize).map_err(|error| {
                Failure::new(RUNTIME, format!("cannot ask for {path}: {error}"), "")
            })?,
        };
        if is_success {
            return Ok(body);
        }
        Err(refused(path, &body))
    }

    /// Hands over what the API answers to `GET path` as it comes; `span` is how long it takes to come.
    ///
    /// # Errors
    /// As [`Self::bytes`], and what `take` says.
    pub fn each_part(
        &self,
        path: &str,
        span: Duration,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut refusal = vec![];
        let is_success = match self {
            Self::Remote { agent, base } => {
                ask_daemon_in_parts(agent, base, path, span + PATIENCE, &mut refusal, take)?
            }
            Self::Local(api) => {
                let mut outcome = Ok(());
                let answer = api.get_in_parts(path, &mut |is_success, part| {
                    if is_success {
                        outcome = take(part);
                    } else {
                        refusal.extend_from_slice(part);
                    }
                    outcome.is_ok()
                });
                outcome?;
                answer.map_err(|error| {
                    Failure::new(RUNTIME, format!("cannot ask for {path}: {error}"), "")
                })?
            }
        };
        if is_success { Ok(()) } else { Err(refused(path, &refusal)) }
    }

    /// What the API answers to `GET path`.
    ///
    /// # Errors
    /// As [`Self::bytes`], and that the answer is not understood.
    pub fn get<T: DeserializeOwned>(&self, path: &str, span: Duration) -> Result<T, Failure> {
        serde_json::from_slice(&self.bytes(path, span)?).map_err(|_| strange(path))
    }
}

fn refused(path: &str, body: &[u8]) -> Failure {
    serde_json::from_slice::<ErrorBody>(body).map_or_else(|_| strange(path), Failure::from)
}

fn strange(path: &str) -> Failure {
    Failure::new(
        RUNTIME,
        format!("the answer to {path} is not understood"),
        "use the daemon and the command of one version",
    )
}

fn find(directory: &Path) -> Option<String> {
    runtime_file::find(directory).map(|running| running.address.to_string())
}

fn ask_daemon(
    agent: &ureq::Agent,
    base: &str,
    path: &str,
    patience: Duration,
) -> Result<(bool, Vec<u8>), Failure> {
    let unreachable = |error: ureq::Error| unreachable(base, &error);
    let request = agent.get(format!("{base}{path}"));
    let mut answer =
        request.config().timeout_global(Some(patience)).build().call().map_err(unreachable)?;
    let is_success = answer.status().is_success();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
    Ok((is_success, body.map_err(unreachable)?))
}

/// Whether it succeeds; what it says if not is added to `refusal`.
fn ask_daemon_in_parts(
    agent: &ureq::Agent,
    base: &str,
    path: &str,
    patience: Duration,
    refusal: &mut Vec<u8>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let request = agent.get(format!("{base}{path}"));
    let answer = request.config().timeout_global(Some(patience)).build().call();
    let mut answer = answer.map_err(|error| unreachable(base, &error))?;
    if !answer.status().is_success() {
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        refusal.extend(body.map_err(|error| unreachable(base, &error))?);
        return Ok(false);
    }
    let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut part = vec![0; 64 << 10];
    loop {
        match body.read(&mut part) {
            Ok(0) => return Ok(true),
            Ok(length) => take(&part[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreachable(base, &error.into())),
        }
    }
}

fn unreachable(base: &str, error: &ureq::Error) -> Failure {
    let remedy = "see whether `cgscope run` still runs, or use --standalone";
    Failure::new(RUNTIME, format!("cannot ask the daemon at {base}: {error}"), remedy)
}

/// A path of the API with its parameters, each part encoded.
pub fn path(segments: &[&str], query: &[(&str, String)]) -> String {
    let mut path = String::from("/api/v1");
    for segment in segments {
        path.push('/');
        encode(&mut path, segment);
    }
    for (i, (name, value)) in query.iter().enumerate() {
        path.push(if i == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        encode(&mut path, value);
    }
    path
}

fn encode(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_carry_any_name() {
        let path = path(
            &["containers", "/system.slice/a b.service", "latency"],
            &[("duration", "1s".to_owned()), ("x", "ä&=?#%".to_owned())],
        );
        assert_eq!(
            path,
            "/api/v1/containers/%2Fsystem.slice%2Fa%20b.service/latency?duration=1s&x=%C3%A4%26%3D%3F%23%25"
        );
    }
}
