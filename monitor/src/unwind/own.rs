//! What unwind tables take, and what became of them, as metrics of cgscope itself.

use std::borrow::Cow;

use super::UnwindStats;
use crate::metric::{Descriptor, Kind, Sample, Scope, Subject, Unit, Value};

macro_rules! descriptor {
    ($static:ident, $name:literal, $title:literal, $unit:ident, $kind:ident, $labels:expr, $help:literal) => {
        static $static: Descriptor = Descriptor {
            name: $name,
            help: $help,
            title: $title,
            unit: Unit::$unit,
            kind: Kind::$kind,
            scope: Scope::Own,
            labels: $labels,
            source: "unwinder",
            kernel_floor: "5.17",
        };
    };
}

descriptor!(
    BYTES,
    "cgscope_own_unwind_bytes",
    "unwind tables",
    Bytes,
    Gauge,
    &["kind"],
    "Unwind tables in kernel memory (used), the room there is for them (limit), and copies of them on disk (disk)."
);
descriptor!(
    TABLES,
    "cgscope_own_unwind_tables",
    "tables",
    Count,
    Gauge,
    &[],
    "Files whose unwind tables are in kernel memory."
);
descriptor!(
    PROCESSES,
    "cgscope_own_unwind_processes",
    "processes",
    Count,
    Gauge,
    &[],
    "Processes whose stacks can be walked by tables now; 0 while nobody records."
);
descriptor!(
    OUTCOMES,
    "cgscope_own_unwind_table_outcomes_total",
    "tables",
    Count,
    Counter,
    &["outcome"],
    "What became of tables: compiled from .eh_frame, read from disk instead (read), found damaged or of another version on disk \
     (damaged), not written there (not_written), dropped to make room for others (evicted), or left out for want of room (refused)."
);

/// What is measured of unwind tables.
pub static DESCRIPTORS: &[&Descriptor] = &[&BYTES, &TABLES, &PROCESSES, &OUTCOMES];

/// Appends what is held and happened so far.
pub fn collect(stats: &UnwindStats, samples: &mut Vec<Sample>) {
    let mut push = |metric, label: Option<&'static str>, value| {
        let labels = label.map(Cow::Borrowed).into_iter().collect();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    let gauge = |value: u64| Value::Gauge(value as f64);
    push(&BYTES, Some("used"), gauge(stats.used_bytes));
    push(&BYTES, Some("limit"), gauge(stats.limit_bytes));
    push(&BYTES, Some("disk"), gauge(stats.cache_bytes));
    push(&TABLES, None, gauge(stats.tables));
    push(&PROCESSES, None, gauge(stats.processes));
    let outcomes = [
        ("compiled", stats.compiled),
        ("read", stats.cache_read),
        ("damaged", stats.cache_damaged),
        ("not_written", stats.cache_not_written),
        ("evicted", stats.evicted),
        ("refused", stats.refused),
    ];
    for (outcome, count) in outcomes {
        push(&OUTCOMES, Some(outcome), Value::Counter(count));
    }
}
