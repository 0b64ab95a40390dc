//! What is counted of sockets, held against the programs' own count, the kernel's counters of each network namespace, and `TCP_INFO`.
//!
//! Two containers without a network get a wire of their own (a veth pair): nobody else is on it, so every number is exact.

mod bytes;
mod connections;
mod dns;
mod losses;
mod peers;
mod wire;

use std::time::Duration;

/// For a fixture's truth.
const PATIENCE: Duration = Duration::from_secs(60);
/// The families that these tests do not look at.
const ALONE: [&str; 8] =
    ["--disable", "sched", "--disable", "process", "--disable", "profile", "--disable", "block"];
