//! What the host as a whole does, from procfs: CPU time by mode, load, memory and what is done for it, interrupts, pressure.
//!
//! Contract: each source has its own interval and health, and one that fails never stops the others. A value that cannot be
//! read is no sample; one that is not due yet is repeated. Time is integer nanoseconds, converted exactly.

mod disks;
mod file;
mod interfaces;
mod loadavg;
mod meminfo;
mod metrics;
mod pressure;
mod processes;
mod reader;
mod softirqs;
mod source;
mod stat;
#[cfg(test)]
mod tests;
mod vmstat;

pub use metrics::DESCRIPTORS;
pub use reader::{Host, SOURCE_NAMES};
pub use source::{Health, SourceStatus};
pub use stat::clock_ticks_hz;
