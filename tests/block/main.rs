//! What is counted of block devices, held against the containers' own truth, the kernel's statistics of the disk, and biolatency.
//!
//! On a loop device with a file system without a journal, both made for the test: nobody else uses it, so every number is exact.

mod audit;
mod contention;
mod counts;
mod latency;
mod locked_file;
mod outliers;
mod owner;
mod series;
mod watch;

use std::time::Duration;

/// For a fixture's truth.
const PATIENCE: Duration = Duration::from_secs(30);
/// The families that these tests do not look at.
const ALONE: [&str; 6] = ["--disable", "sched", "--disable", "process", "--disable", "profile"];
