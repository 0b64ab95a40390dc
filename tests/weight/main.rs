//! Stacks of events with a weight: how much, whose, and in which function, against what the workload and the kernel counted.
//!
//! Contract: the workload begins after the recording and ends before it, by the clock of both, so that all it does is in the picture.
//! A second one that does the same beside it is not.

mod drawn;
mod events;
mod formats;
mod idle;
mod lock;
mod recording;
mod wakeup;

use std::time::Duration;

use anyhow::Result;
use cgscope_tests::Daemon;

/// For a fixture's truth.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that ticks often, so that waiting for a tick is short.
fn daemon() -> Result<Daemon> {
    Daemon::start(&["--interval", "100ms", "--unwind-table-size", "64M"])
}
