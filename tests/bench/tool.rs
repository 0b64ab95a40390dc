//! What is attached during a measurement: nothing, one of the peers, or the daemon.

use anyhow::Result;
use cgscope_tests::Daemon;
use cgscope_tests::peer::AttachedPeer;

/// A tool to attach.
#[derive(Debug, Clone, Copy)]
pub enum Tool {
    /// The baseline.
    Nothing,
    /// A tool of libbpf-tools with its arguments, if any: it observes the whole machine, as we do.
    Peer(&'static str),
    /// A script of bpftrace that counts the same, by what a table calls it.
    Script(&'static str, &'static str),
    /// `cgscope run` as a user would start it.
    Cgscope,
    /// The same with a family that is not on by itself.
    With(&'static str),
    /// The same with one family alone.
    Family(&'static str),
}

/// Every family that can be off, to have one alone.
const FAMILIES: [&str; 7] = ["sched", "process", "block", "tcp", "memory", "limits", "profile"];

/// A tool at work. Dropping it detaches it.
pub enum Attached {
    Nothing,
    Peer(AttachedPeer),
    Cgscope(Daemon),
}

impl Tool {
    /// The tool of libbpf-tools called `name`.
    pub fn peer(name: &'static str) -> Self {
        Self::Peer(name)
    }

    /// What a table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Peer(name) | Self::Script(name, _) => name,
            Self::Cgscope => "cgscope",
            Self::With(name) | Self::Family(name) => name,
        }
    }

    /// Attaches it and returns once its programs run.
    pub fn attach(self) -> Result<Attached> {
        Ok(match self {
            Self::Nothing => Attached::Nothing,
            Self::Peer(line) => {
                let words: Vec<&str> = line.split(' ').collect();
                Attached::Peer(AttachedPeer::start(words[0], &words[1..])?)
            }
            Self::Script(_, script) => {
                Attached::Peer(AttachedPeer::start("bpftrace", &["-e", script])?)
            }
            Self::Cgscope => Attached::Cgscope(Daemon::start(&[])?),
            Self::With(family) => Attached::Cgscope(Daemon::start(&["--enable", family])?),
            Self::Family(name) => {
                let others = FAMILIES.into_iter().filter(|family| *family != name);
                let flags: Vec<&str> = others.flat_map(|family| ["--disable", family]).collect();
                Attached::Cgscope(Daemon::start(&flags)?)
            }
        })
    }
}

impl Attached {
    /// The process that holds the programs, if there is one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Peer(peer) => Some(peer.pid()),
            Self::Cgscope(daemon) => Some(daemon.pid()),
        }
    }
}
