//! Off-CPU stacks: whose they are, in what they wait and how long, against what the workloads measured and the kernel accounts.
//!
//! Contract: weights are nanoseconds, so they are held against waiting time itself: a thread's wall time less its CPU time and its time on a
//! run queue, both by the kernel's account of it.

mod cost;
mod draw;
mod formats;
mod lasting;
mod recording;
mod shares;
mod wakeup;

use anyhow::Result;
use cgscope_tests::Daemon;

/// A daemon that ticks often, so that waiting for a tick is short.
fn daemon() -> Result<Daemon> {
    Daemon::start(&["--interval", "100ms", "--unwind-table-size", "64M"])
}
