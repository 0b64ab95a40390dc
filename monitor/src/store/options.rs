//! How history is kept.

use std::{path::PathBuf, time::Duration};

use super::tier::{DEFAULT_KEEP, TIERS};

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Where its files are; made if it is not there.
    pub directory: PathBuf,
    /// How long each tier is kept.
    pub keep: [Duration; TIERS],
    /// The most its files may take.
    pub max_bytes: u64,
    /// The most series at a time.
    pub max_series: usize,
    /// Subjects whose id begins so are not kept.
    pub skipped_prefix: Option<&'static str>,
}

impl HistoryOptions {
    /// The most its files take unless it is set: a month of a busy host.
    pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;
    /// The least it can be set to: one sealed piece of a busy host must fit.
    pub const LEAST_MAX_BYTES: u64 = 4 << 20;
    /// Of a host with a thousand containers.
    pub const DEFAULT_MAX_SERIES: usize = 50_000;

    /// As usual, in `directory`.
    pub fn in_directory(directory: PathBuf) -> Self {
        Self {
            directory,
            keep: DEFAULT_KEEP,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_series: Self::DEFAULT_MAX_SERIES,
            skipped_prefix: None,
        }
    }
}
