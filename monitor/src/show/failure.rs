//! Why a command failed, as one line for people and an exit code for scripts.

use std::{fmt, io, process::ExitCode};

use crate::serve::{BackendError, ErrorKind, ServeError, api::ErrorBody, runtime_file::ClaimError};

/// The exit codes, as `--help` tells them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it failed while running
  2  the arguments make no sense
  3  it needs privileges
  4  no such container or process
  5  this kernel lacks something
  6  another daemon runs, or the port is in use";

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The terminal, pipe or file that takes the output refused it.
    Output(io::Error),
    /// Something to tell: what, what to do, and its exit code.
    Told {
        /// What went wrong, with its object.
        what: String,
        /// What to do about it.
        remedy: String,
        /// The exit code.
        code: u8,
    },
}

/// It failed while running.
pub const RUNTIME: u8 = 1;
/// The arguments make no sense.
pub const USAGE: u8 = 2;
/// It needs privileges.
pub const PRIVILEGE: u8 = 3;
/// No such container or process.
pub const NOT_FOUND: u8 = 4;
/// This kernel lacks something.
pub const UNSUPPORTED: u8 = 5;
/// Another daemon runs, or the port is in use.
pub const TAKEN: u8 = 6;

impl Failure {
    /// One with its exit code.
    pub fn new(code: u8, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Told { what: what.into(), remedy: remedy.into(), code }
    }

    /// What the process ends with.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    fn number(&self) -> u8 {
        match self {
            Self::Output(_) => RUNTIME,
            Self::Told { code, .. } => *code,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "error: cannot write the output: {error}"),
            Self::Told { what, remedy, .. } if remedy.is_empty() => write!(f, "error: {what}"),
            Self::Told { what, remedy, .. } => write!(f, "error: {what}; {remedy}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        let code = match body.kind {
            ErrorKind::NotFound => NOT_FOUND,
            ErrorKind::NeedsPrivilege => PRIVILEGE,
            ErrorKind::Unsupported => UNSUPPORTED,
            ErrorKind::Invalid => USAGE,
            ErrorKind::Failed | ErrorKind::Ending => RUNTIME,
        };
        Self::new(code, body.error, body.remedy)
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        ErrorBody::from(&error).into()
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let (code, remedy) = match &error {
            ClaimError::Taken { .. } => {
                (TAKEN, "ask it (`cgscope top`), end it, or give this one its own --state-dir")
            }
            ClaimError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (PRIVILEGE, "run it with sudo, or set --state-dir to a directory of yours")
            }
            ClaimError::Io { .. } => (RUNTIME, "set --state-dir to another directory"),
        };
        Self::new(code, error.to_string(), remedy)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let (code, remedy) = match &error {
            ServeError::InUse { .. } => (TAKEN, "choose another port with --listen 127.0.0.1:PORT"),
            ServeError::Listen { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                (PRIVILEGE, "ports below 1024 need CAP_NET_BIND_SERVICE: use sudo or another port")
            }
            ServeError::Listen { .. } => {
                (RUNTIME, "choose an address of this machine with --listen")
            }
            ServeError::SocketInUse { .. } => (TAKEN, "choose another path with --intake"),
            ServeError::Socket { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                (PRIVILEGE, "run it with sudo, or choose a directory of yours with --intake")
            }
            ServeError::Socket { .. } => (RUNTIME, "choose another path with --intake"),
            ServeError::Broken(_) => (RUNTIME, "start it again"),
        };
        Self::new(code, error.to_string(), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ids::Tgid;

    #[test]
    fn each_error_has_its_exit_code_and_says_what_to_do() {
        let text = || "x".to_owned();
        let cases: Vec<(Failure, u8)> = vec![
            (BackendError::Failed { what: text(), remedy: text() }.into(), 1),
            (BackendError::Ending.into(), 1),
            (BackendError::Invalid { what: text(), remedy: text() }.into(), 2),
            (BackendError::NeedsPrivilege { what: text(), remedy: text() }.into(), 3),
            (
                BackendError::NotFound {
                    what: "container",
                    query: text(),
                    nearest: vec!["web".to_owned()],
                }
                .into(),
                4,
            ),
            (BackendError::ProcessGone(Tgid(7)).into(), 4),
            (BackendError::Unsupported { what: text(), why: text() }.into(), 5),
            (ClaimError::Taken { running: None }.into(), 6),
            (ServeError::InUse { address: ([127, 0, 0, 1], 1).into() }.into(), 6),
        ];
        for (failure, code) in cases {
            assert_eq!(failure.number(), code, "{failure}");
            let line = failure.to_string();
            assert!(line.starts_with("error: ") && line.contains("; "), "{line}");
            assert!(EXIT_CODES.contains(&format!("  {code}  ")));
        }
    }

    #[test]
    fn names_of_others_do_not_reach_the_terminal_raw() {
        let error = BackendError::NotFound {
            what: "container",
            query: "\u{1b}[31m".to_owned(),
            nearest: vec!["we\u{1b}b\u{202e}".to_owned()],
        };
        let line = Failure::from(error).to_string();
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}
