//! What crosses the boundary between the kernel half and the daemon, and nothing else: records, histogram buckets,
//! drop reasons, tunables, kernel offsets.
//!
//! Contract: every record is `repr(C)` with explicit padding and its size is asserted at compile time, so both sides
//! agree although two compilers build them.
#![no_std]

pub mod block;
pub mod bucket;
pub mod dns;
pub mod drops;
pub mod event;
pub mod files;
pub mod interference;
pub mod irq;
pub mod known;
pub mod line;
pub mod memory;
pub mod offcpu;
pub mod offset;
pub mod outlier;
pub mod path;
pub mod process;
pub mod python;
pub mod sched;
pub mod stack;
pub mod state;
pub mod syscall;
pub mod tcp;
pub mod tunable;
pub mod unwind;
pub mod wakeup;
pub mod walk;
pub mod weight;

#[cfg(feature = "user")]
mod pod;
