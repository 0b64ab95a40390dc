//! What the kernel half needs to walk stacks of code without frame pointers: tables made of `.eh_frame`, and which process has
//! them where.
//!
//! ```text
//! file -> elf (where its code is) -> compile or disk (rows) -> store (arrays of the kernel half)
//! process -> its mappings -> registrar (which table, and how far it is shifted)
//! mapped, forked, ended, sampled -> service (the thread that looks)
//! ```
//!
//! This is the only folder that names gimli.

mod compile;
mod disk;
mod elf;
mod gap;
mod grace;
mod own;
mod process;
mod range;
mod registrar;
mod rule;
mod rules;
mod service;
mod store;
mod table;
mod trampoline;

#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod walk_tests;

pub use own::{DESCRIPTORS, collect};
pub use service::{Following, UnwindStats, Unwinder};
