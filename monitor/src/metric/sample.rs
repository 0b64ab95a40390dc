//! One measurement, and all measurements of one instant.

use std::{borrow::Cow, sync::Arc};

use super::{Descriptor, Histogram, KtimeNs, WallTimeNs};

/// Whom a sample is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The whole host.
    Host,
    /// A container, by its full id.
    Container(Arc<str>),
}

/// Values of the labels of the descriptor, in its order. Most are those of many samples, and of all ticks: see [`super::SharedLabels`].
pub type LabelValues = Arc<[Cow<'static, str>]>;

/// A measured value, cumulative unless it is a gauge.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Since the subject was first seen; nanoseconds for [`super::Unit::Seconds`].
    Counter(u64),
    /// Now; nanoseconds for [`super::Unit::Seconds`].
    Gauge(f64),
    /// All values since the subject was first seen.
    Distribution(Arc<Histogram>),
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was measured.
    pub metric: &'static Descriptor,
    /// For whom.
    pub subject: Subject,
    /// Values of `metric.labels`.
    pub labels: LabelValues,
    /// The measurement.
    pub value: Value,
}

/// All measurements of one instant, in the order of their subjects within a metric.
#[derive(Clone, Debug)]
pub struct Tick {
    /// When, for people.
    pub at: WallTimeNs,
    /// When, for differences.
    pub taken: KtimeNs,
    /// The measurements.
    pub samples: Vec<Sample>,
}
