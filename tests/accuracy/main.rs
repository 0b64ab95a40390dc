//! What the daemon says of a container, held against the kernel's own account of it in the same window.
//!
//! No test asserts an absolute speed: the machine may be busy. Where both accounts are read, the container stands still
//! ([`cgscope_tests::between_stops`]), so that a difference is an error of attribution or counting and not of timing.

mod attribution;
mod audit;
mod close;
mod cpu;
mod interference;
mod stacks;
mod states;
mod switches;

use std::time::Duration;

use anyhow::Result;
use cgscope_tests::Daemon;

/// How long a container is observed.
const WINDOW: Duration = Duration::from_secs(5);

/// A daemon that ticks often, so that waiting for a tick is short.
fn daemon() -> Result<Daemon> {
    Daemon::start(&["--interval", "100ms"])
}
