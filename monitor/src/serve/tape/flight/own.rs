//! How much the flight recorder holds, as metrics of cgscope itself.
//!
//! Contract: the recorder sets it, the tick reads it; either may come first.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::metric::{Descriptor, Sample, Subject, Value, WallTimeNs, descriptor};

descriptor!(
    static BYTES,
    "cgscope_own_flight_bytes",
    "flight recorder",
    Bytes,
    Gauge,
    Own,
    &["kind"],
    "the flight recorder",
    "5.8",
    "Memory of the flight recorder: what it holds now (held) and what it was given (limit). It may take as much again while it is made \
     a file."
);
descriptor!(
    static SPAN,
    "cgscope_own_flight_span_seconds",
    "flight recorder's span",
    Seconds,
    Gauge,
    Own,
    &[],
    "the flight recorder",
    "5.8",
    "How far back the measurements go that the flight recorder holds."
);

/// What is measured of the flight recorder.
pub static DESCRIPTORS: &[&Descriptor] = &[&BYTES, &SPAN];

/// How much a flight recorder may hold, and holds.
#[derive(Debug)]
pub struct FlightUse {
    max_bytes: usize,
    held_bytes: AtomicU64,
    from: Mutex<Option<WallTimeNs>>,
}

impl FlightUse {
    /// Nothing is held yet.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, held_bytes: AtomicU64::new(0), from: Mutex::new(None) }
    }

    /// How much it may hold.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Notes how much is held, and when the first measurement in it was made.
    pub(super) fn note(&self, held_bytes: usize, from: Option<WallTimeNs>) {
        self.held_bytes.store(held_bytes as u64, Ordering::Relaxed);
        *self.from.lock().unwrap_or_else(PoisonError::into_inner) = from;
    }

    /// Appends what is known now.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        let mut push = |metric, labels: &[&'static str], value| {
            let labels = labels.iter().map(|label| (*label).into()).collect();
            samples.push(Sample { metric, subject: Subject::Host, labels, value });
        };
        let held_bytes = self.held_bytes.load(Ordering::Relaxed);
        push(&BYTES, &["held"], Value::Gauge(held_bytes as f64));
        push(&BYTES, &["limit"], Value::Gauge(self.max_bytes as f64));
        let from = *self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let span_ns = from.map_or(0, |from| WallTimeNs::now().0.saturating_sub(from.0));
        push(&SPAN, &[], Value::Gauge(span_ns as f64));
    }
}
