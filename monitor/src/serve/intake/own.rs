//! What taking posts does and refuses, as metrics of cgscope itself.

use crate::metric::{Descriptor, Sample, Subject, Value, descriptor};

descriptor!(
    static SERIES,
    "cgscope_own_intake_series",
    "posted series",
    Count,
    Gauge,
    Own,
    &[],
    "intake of posts",
    "5.8",
    "Series that applications posted in the last five minutes."
);
descriptor!(
    static TAKEN,
    "cgscope_own_intake_values_total",
    "posted values",
    Count,
    Counter,
    Own,
    &[],
    "intake of posts",
    "5.8",
    "Values that applications posted and that were taken."
);
descriptor!(
    static REFUSED,
    "cgscope_own_intake_refused_total",
    "refused posts",
    Count,
    Counter,
    Own,
    &["reason"],
    "intake of posts",
    "5.8",
    "Posts of applications that were refused: they could not be read (invalid), named a metric with other labels than it has (conflict), or \
     were more metrics or series than there may be (limit)."
);

/// What is measured of taking posts.
pub static DESCRIPTORS: &[&Descriptor] = &[&SERIES, &TAKEN, &REFUSED];

/// Appends what was counted so far.
pub fn collect(
    series: usize,
    taken: u64,
    refused: &[(&'static str, u64)],
    samples: &mut Vec<Sample>,
) {
    let mut push = |metric, labels: &[&'static str], value| {
        let labels = labels.iter().map(|label| (*label).into()).collect();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    push(&SERIES, &[], Value::Gauge(series as f64));
    push(&TAKEN, &[], Value::Counter(taken));
    for (reason, count) in refused {
        push(&REFUSED, &[reason], Value::Counter(*count));
    }
}
