//! What is kept: the last ticks in memory ([`Live`]) and history on disk ([`History`]), in four resolutions.
//!
//! A tick becomes a [`frame`]: what each series gained. Frames go to the [`journal`], one record a second, and stay open in
//! memory. Every ten minutes they are [sealed](seal): a compressed piece of each [`tier`] in one SQLite file, after which the
//! journal is empty. Readers see pieces and open frames as one.

mod bytes;
mod chunk;
mod database;
mod dictionary;
mod frame;
mod history;
mod id;
mod journal;
mod live;
mod options;
mod own;
mod point;
pub mod profiles;
pub mod query;
mod reading;
mod retention;
mod seal;
mod shared;
mod snapshot;
pub mod tape;
pub mod tier;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod writer_tests;

pub use database::Named;
pub use history::History;
pub use live::{Live, OlderTicks};
pub use options::HistoryOptions;
pub use own::DESCRIPTORS;
pub use point::Gain;
pub use shared::{Refusal, State};
pub use snapshot::Snapshot;
pub use writer::{Names, Writer};
