//! What history takes and has lost, as metrics of cgscope itself.

use std::{borrow::Cow, sync::atomic::Ordering, time::Duration};

use super::{
    profiles::Archive,
    shared::{Refusal, Shared, State},
    tier::TIERS,
};
use crate::metric::{Descriptor, Sample, Subject, Value, descriptor};

descriptor!(
    static BYTES,
    "cgscope_own_history_bytes",
    "history",
    Bytes,
    Gauge,
    Own,
    &["file"],
    "SQLite page count, file length",
    "5.8",
    "What history takes on disk: sealed pieces (database) and the ticks that are not sealed yet (journal)."
);
descriptor!(
    static SERIES,
    "cgscope_own_history_series",
    "series",
    Count,
    Gauge,
    Own,
    &[],
    "history",
    "5.8",
    "Series that are being recorded."
);
descriptor!(
    static WRITTEN,
    "cgscope_own_history_samples_total",
    "samples",
    Count,
    Counter,
    Own,
    &[],
    "history",
    "5.8",
    "Samples written to disk."
);
descriptor!(
    static DROPPED,
    "cgscope_own_history_dropped_total",
    "not kept",
    Count,
    Counter,
    Own,
    &["reason"],
    "history",
    "5.8",
    "Samples that did not become history: the disk was slow (queue_full), there were too many series (series_limit), or nothing \
     could be written for too long (not_written)."
);
descriptor!(
    static DAMAGED,
    "cgscope_own_history_damaged_total",
    "damaged",
    Count,
    Counter,
    Own,
    &[],
    "checksums",
    "5.8",
    "Stored chunks that could not be read back."
);
descriptor!(
    static IS_WRITING,
    "cgscope_own_history_writing",
    "writing",
    Count,
    Gauge,
    Own,
    &[],
    "history",
    "5.8",
    "1 while history is written to disk, 0 while it is kept in memory because it cannot be."
);
descriptor!(
    static LIMIT,
    "cgscope_own_history_limit_bytes",
    "history at most",
    Bytes,
    Gauge,
    Own,
    &[],
    "--history-size",
    "5.8",
    "The most that history may take on disk; the oldest of the finest goes first."
);
descriptor!(
    static RETENTION,
    "cgscope_own_history_retention_seconds",
    "kept for",
    Seconds,
    Gauge,
    Own,
    &["step"],
    "--retention",
    "5.8",
    "How long points are kept, by how far they are apart; less where there is no room for it."
);

descriptor!(
    static PROFILES_BYTES,
    "cgscope_own_profiles_bytes",
    "profiles",
    Bytes,
    Gauge,
    Own,
    &[],
    "file length",
    "5.8",
    "What kept profiles take on disk."
);
descriptor!(
    static PROFILES_WRITTEN,
    "cgscope_own_profiles_windows_total",
    "profile windows",
    Count,
    Counter,
    Own,
    &[],
    "profiles",
    "5.8",
    "Windows of ten seconds of stack samples written to disk."
);
descriptor!(
    static PROFILES_DROPPED,
    "cgscope_own_profiles_dropped_windows_total",
    "profile windows not kept",
    Count,
    Counter,
    Own,
    &[],
    "profiles",
    "5.8",
    "Windows that could not be written until memory had no more room for them."
);

/// What is measured of history and of kept profiles.
pub static DESCRIPTORS: &[&Descriptor] = &[
    &BYTES,
    &SERIES,
    &WRITTEN,
    &DROPPED,
    &DAMAGED,
    &IS_WRITING,
    &LIMIT,
    &RETENTION,
    &PROFILES_BYTES,
    &PROFILES_WRITTEN,
    &PROFILES_DROPPED,
];

/// Appends what was counted of kept profiles.
pub fn collect_profiles(archive: &Archive, samples: &mut Vec<Sample>) {
    let mut push = |metric, value| {
        samples.push(Sample { metric, subject: Subject::Host, labels: Default::default(), value });
    };
    push(&PROFILES_BYTES, Value::Gauge(archive.bytes() as f64));
    push(&PROFILES_WRITTEN, Value::Counter(archive.windows()));
    push(&PROFILES_DROPPED, Value::Counter(archive.lost_windows()));
}

/// How much history is kept: what was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the points of each tier are kept.
    pub keep: [Duration; TIERS],
    /// The most that its files may take.
    pub max_bytes: u64,
}

/// The label `step` of each tier.
const STEPS: [&str; TIERS] = ["1s", "10s", "1m", "10m"];

/// Appends what was counted so far.
pub fn collect(shared: &Shared, limits: Limits, samples: &mut Vec<Sample>) {
    let counts = &shared.counts;
    let mut push = |metric, label: Option<&'static str>, value| {
        let labels = label.map(Cow::Borrowed).into_iter().collect();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    let gauge = |value: u64| Value::Gauge(value as f64);
    push(&BYTES, Some("database"), gauge(counts.database_bytes.load(Ordering::Relaxed)));
    push(&BYTES, Some("journal"), gauge(counts.journal_bytes.load(Ordering::Relaxed)));
    push(&SERIES, None, gauge(counts.series.load(Ordering::Relaxed)));
    push(&WRITTEN, None, Value::Counter(counts.written.load(Ordering::Relaxed)));
    for why in Refusal::ALL {
        let count = counts.refused[why as usize].load(Ordering::Relaxed);
        push(&DROPPED, Some(why.name()), Value::Counter(count));
    }
    push(&DAMAGED, None, Value::Counter(counts.damaged.load(Ordering::Relaxed)));
    let is_writing = matches!(shared.state(), State::Writing);
    push(&IS_WRITING, None, gauge(u64::from(is_writing)));
    push(&LIMIT, None, gauge(limits.max_bytes));
    for (step, keep) in STEPS.into_iter().zip(limits.keep) {
        push(&RETENTION, Some(step), Value::Gauge(keep.as_nanos() as f64));
    }
}
