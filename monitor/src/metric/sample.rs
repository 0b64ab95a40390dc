//! One measurement.

use std::{borrow::Cow, sync::Arc};

use super::{Descriptor, Histogram};

/// Whom a sample is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The whole host.
    Host,
    /// A container, by its full id.
    Container(Arc<str>),
}

/// Values of the labels of the descriptor, in its order.
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

/// One measurement, as it is taken.
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

/// One measurement of a [`super::Tick`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRef<'a> {
    /// What was measured.
    pub metric: &'static Descriptor,
    /// For whom.
    pub subject: &'a Subject,
    /// Values of `metric.labels`.
    pub labels: &'a LabelValues,
    /// The measurement.
    pub value: &'a Value,
}

impl SampleRef<'_> {
    /// The same by itself.
    pub fn to_sample(self) -> Sample {
        Sample {
            metric: self.metric,
            subject: self.subject.clone(),
            labels: self.labels.clone(),
            value: self.value.clone(),
        }
    }
}
