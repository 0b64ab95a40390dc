//! What pushing does and loses, as metrics of cgscope itself.

use std::{borrow::Cow, sync::atomic::Ordering};

use super::queue::{Counts, GivenUp};
use crate::metric::{Descriptor, Sample, Subject, Value, descriptor};

descriptor!(
    static SENT,
    "cgscope_own_push_samples_total",
    "pushed",
    Count,
    Counter,
    Own,
    &["protocol"],
    "queues of what is pushed",
    "5.8",
    "Samples that a receiver has taken, by what they are pushed with: values of series for remote_write and otlp, stack samples for profiles."
);
descriptor!(
    static WAITING,
    "cgscope_own_push_waiting",
    "to be pushed",
    Count,
    Gauge,
    Own,
    &["protocol"],
    "queues of what is pushed",
    "5.8",
    "Samples that wait to be pushed, because their receiver is away or slow."
);
descriptor!(
    static RETRIES,
    "cgscope_own_push_retries_total",
    "push retries",
    Count,
    Counter,
    Own,
    &["protocol"],
    "queues of what is pushed",
    "5.8",
    "Attempts to push that failed and were made again."
);
descriptor!(
    static DROPPED,
    "cgscope_own_push_dropped_total",
    "not pushed",
    Count,
    Counter,
    Own,
    &["protocol", "reason"],
    "queues of what is pushed",
    "5.8",
    "Samples that were given up: their receiver was away for too long (queue_full) or refused them (refused)."
);

/// What is measured of pushing.
pub static DESCRIPTORS: &[&Descriptor] = &[&SENT, &WAITING, &RETRIES, &DROPPED];

/// Says what was not sent at the end: there is nobody left to count it.
pub fn tell_unsent(protocol: &str, samples: u64) {
    if samples > 0 {
        tracing::warn!("{samples} samples that waited to be pushed by {protocol} were not");
    }
}

/// Appends what was counted so far of one protocol.
pub fn collect(protocol: &'static str, counts: &Counts, samples: &mut Vec<Sample>) {
    let mut push = |metric, labels: &[&'static str], value| {
        let labels = labels.iter().copied().map(Cow::Borrowed).collect();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    let of = &[protocol];
    push(&SENT, of, Value::Counter(counts.sent.load(Ordering::Relaxed)));
    push(&WAITING, of, Value::Gauge(counts.waiting.load(Ordering::Relaxed) as f64));
    push(&RETRIES, of, Value::Counter(counts.retries.load(Ordering::Relaxed)));
    for why in GivenUp::ALL {
        let count = counts.given_up[why as usize].load(Ordering::Relaxed);
        push(&DROPPED, &[protocol, why.name()], Value::Counter(count));
    }
}
