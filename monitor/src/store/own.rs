//! What history takes and has lost, as metrics of cgscope itself.

use std::{borrow::Cow, sync::atomic::Ordering};

use super::shared::{Refusal, Shared, State};
use crate::metric::{Descriptor, Kind, Sample, Scope, Subject, Unit, Value};

macro_rules! descriptor {
    ($static:ident, $name:literal, $title:literal, $unit:ident, $kind:ident, $labels:expr, $source:literal, $help:literal) => {
        static $static: Descriptor = Descriptor {
            name: $name,
            help: $help,
            title: $title,
            unit: Unit::$unit,
            kind: Kind::$kind,
            scope: Scope::Own,
            labels: $labels,
            source: $source,
            kernel_floor: "5.8",
        };
    };
}

descriptor!(
    BYTES,
    "cgscope_own_history_bytes",
    "history",
    Bytes,
    Gauge,
    &["file"],
    "SQLite page count, file length",
    "What history takes on disk: sealed pieces (database) and the ticks that are not sealed yet (journal)."
);
descriptor!(
    SERIES,
    "cgscope_own_history_series",
    "series",
    Count,
    Gauge,
    &[],
    "history",
    "Series that are being recorded."
);
descriptor!(
    WRITTEN,
    "cgscope_own_history_samples_total",
    "samples",
    Count,
    Counter,
    &[],
    "history",
    "Samples written to disk."
);
descriptor!(
    DROPPED,
    "cgscope_own_history_dropped_total",
    "not kept",
    Count,
    Counter,
    &["reason"],
    "history",
    "Samples that did not become history: the disk was slow (queue_full), there were too many series (series_limit), or nothing \
     could be written for too long (not_written)."
);
descriptor!(
    DAMAGED,
    "cgscope_own_history_damaged_total",
    "damaged",
    Count,
    Counter,
    &[],
    "checksums",
    "Stored chunks that could not be read back."
);
descriptor!(
    IS_WRITING,
    "cgscope_own_history_writing",
    "writing",
    Count,
    Gauge,
    &[],
    "history",
    "1 while history is written to disk, 0 while it is kept in memory because it cannot be."
);

/// What is measured of history.
pub static DESCRIPTORS: &[&Descriptor] =
    &[&BYTES, &SERIES, &WRITTEN, &DROPPED, &DAMAGED, &IS_WRITING];

/// Appends what was counted so far.
pub fn collect(shared: &Shared, samples: &mut Vec<Sample>) {
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
}
