//! What a series, or several, came to in one step.

use super::ask::{Aggregate, Function};
use crate::{
    metric::{Kind, Unit},
    store::point::{Gain, Summary},
};

/// The steps of one series of counters or gauges.
pub type Scalars = Vec<Option<Summary<f64>>>;

/// The steps of one distribution, or of several merged.
pub type Gains = Vec<Option<Gain>>;

/// Adds to a step.
pub fn add<P>(step: &mut Option<P>, point: P, merge: impl Fn(&mut P, &P)) {
    match step {
        Some(step) => merge(step, &point),
        None => *step = Some(point),
    }
}

/// A step of a counter or gauge as a number. `covered_ms` is the time that was measured.
pub fn scalar(
    function: Function,
    kind: Kind,
    unit: Unit,
    step: &Summary<f64>,
    covered_ms: u64,
) -> Option<f64> {
    let factor = unit.exposition_factor();
    match function {
        Function::Rate => (covered_ms > 0).then(|| step.sum * factor / (covered_ms as f64 * 1e-3)),
        Function::Increase => Some(step.sum * factor),
        Function::Mean if kind == Kind::Gauge => Some(step.sum / step.count as f64 * factor),
        Function::Min => Some(step.min * factor),
        Function::Max => Some(step.max * factor),
        Function::Count => Some(step.count as f64),
        Function::Mean | Function::Quantile(_) => None,
    }
}

/// A step of a distribution as a number; `None` without values, except for counts.
pub fn distribution(function: Function, unit: Unit, step: &Gain, covered_ms: u64) -> Option<f64> {
    let factor = unit.exposition_factor();
    let values = || step.values() as f64;
    match function {
        Function::Rate => (covered_ms > 0).then(|| values() / (covered_ms as f64 * 1e-3)),
        Function::Increase | Function::Count => Some(values()),
        Function::Mean => step.histogram().mean_ns().map(|mean| mean * factor),
        Function::Quantile(q) => step.histogram().quantile_ns(q).map(|ns| ns as f64 * factor),
        Function::Min => {
            let (bucket, _) = step.buckets.first()?;
            Some(monitor_common::bucket::lower_bound_ns(usize::from(*bucket)) as f64 * factor)
        }
        Function::Max => step.histogram().max_ns().map(|ns| ns as f64 * factor),
    }
}

/// Several numbers as one; those that are not there do not count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Together {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Together {
    /// Adds one.
    pub fn add(&mut self, value: f64) {
        let is_first = self.count == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.sum += value;
        self.count += 1;
    }

    /// The result.
    pub fn value(&self, how: Aggregate) -> Option<f64> {
        (self.count > 0).then(|| match how {
            Aggregate::Sum => self.sum,
            Aggregate::Mean => self.sum / self.count as f64,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
        })
    }
}
