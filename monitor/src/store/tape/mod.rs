//! A tape: all that was measured for a while in one file, to be looked at elsewhere.
//!
//! A head with the version, then sections. Each has a mark by which it is found again behind damage, a number by which a missing one
//! is noticed, and checksums of its head and its body. A section of ticks is about ten seconds and can be read without the
//! others, but for the descriptions of metrics, which come before the first and again at the end.
//!
//! Contract: what is whole is read, what is not is counted ([`Losses`]), and nothing of a damaged section is believed. A file of a later
//! version is refused; a section of a kind that this version does not know is left out and counted.

mod describe;
mod history;
mod read;
mod section;
mod ticks;
mod write;

#[cfg(test)]
mod tests;

pub use history::TapeHistory;
pub use read::{Losses, Tape, TapeError};
pub use section::{SectionKind, VERSION, renumber};
pub use write::TapeWriter;
