//! What is counted of memory, held against `/proc/PID`, the cgroup's own files, the kernel's event trace, and known reads.

mod cache;
mod faults;
mod file;
mod kills;
mod limits;
mod stalls;
mod user;

use std::time::Duration;

/// For a fixture's truth.
const PATIENCE: Duration = Duration::from_secs(60);
/// The families that these tests do not look at.
const ALONE: [&str; 8] =
    ["--disable", "sched", "--disable", "process", "--disable", "profile", "--disable", "tcp"];
