//! What can go wrong before anything is measured, with the remedy.

use std::io;

use thiserror::Error;

use crate::kernel::btf::BtfError;

/// Why the kernel half does not run.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The kernel's types cannot be had.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Not allowed to load programs.
    #[error(
        "not allowed to {what}: {source}; run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
    )]
    Privilege {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The binary carries no kernel half.
    #[error("this binary was built without its kernel half; build it with `cargo xtask build`")]
    NoObject,
    /// A fact about the machine cannot be read.
    #[error("{what} of this machine cannot be read: {source}")]
    Machine {
        /// Which fact.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A v1 controller that the kernel does not know.
    #[error("this kernel has no cgroup controller {controller:?}; name one of /proc/cgroups")]
    NoController {
        /// As asked.
        controller: String,
    },
    /// The object or a map was refused.
    #[error("the kernel refuses {what}: {reason}")]
    Refused {
        /// The object or map.
        what: String,
        /// What the kernel said, with the verifier's last words.
        reason: String,
    },
    /// A ring size that no ring can have.
    #[error("a ring of {bytes} bytes cannot be: the size must be a power of two of at least 4096")]
    RingSize {
        /// As asked.
        bytes: u32,
    },
}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
