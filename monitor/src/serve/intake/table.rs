//! The series that stand.
//!
//! Contract: a counter is shown from 0 at its first post on, as all counters are from when their subject was first seen; one that falls has begun
//! anew, and what was counted before stays.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    measurement::{Measurement, Refusal, Refused},
    names::Names,
};
use crate::{
    container::ContainerId,
    metric::{Descriptor, Kind, LabelValues, Sample, Subject, Unit, Value},
};

/// How long a value stands without another one: as long as Prometheus looks back.
const STANDS: Duration = Duration::from_mins(5);
/// One container may have a part of all series.
const CONTAINERS_PART: usize = 4;

/// Of one metric the series of one container follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    metric: &'static str,
    container: Arc<str>,
    labels: LabelValues,
}

#[derive(Debug)]
struct Series {
    metric: &'static Descriptor,
    value: Standing,
    posted: Instant,
}

#[derive(Debug)]
enum Standing {
    Gauge(f64),
    /// What was posted last, and what it grew by since the first.
    Counter {
        last: u64,
        total: u64,
    },
}

/// All of them.
#[derive(Debug)]
pub struct Table {
    names: Names,
    series: BTreeMap<Key, Series>,
    max_series: usize,
}

impl Table {
    /// Of at most `max_series`.
    pub fn new(max_series: usize) -> Self {
        Self { names: Names::default(), series: BTreeMap::new(), max_series }
    }

    /// Takes all of a post, or nothing of it.
    pub fn post(
        &mut self,
        container: &ContainerId,
        measurements: &[Measurement],
        now: Instant,
    ) -> Result<(), Refused> {
        let container: Arc<str> = container.as_str().into();
        let mut posted = Vec::with_capacity(measurements.len());
        for measurement in measurements {
            let metric = self.names.descriptor(measurement)?;
            let labels = measurement.labels.iter().map(|(_, value)| Cow::Owned(value.clone()));
            let container = Arc::clone(&container);
            let key = Key { metric: metric.name, container, labels: labels.collect() };
            posted.push((key, metric, kept(metric.unit, measurement.value)));
        }
        self.expire(now);
        self.check_room(&container, posted.iter().map(|(key, ..)| key))?;
        for (key, metric, value) in posted {
            let series = self.series.entry(key).or_insert_with(|| Series::new(metric, value, now));
            series.post(value, now);
        }
        Ok(())
    }

    fn check_room<'a>(
        &self,
        container: &Arc<str>,
        keys: impl Iterator<Item = &'a Key>,
    ) -> Result<(), Refused> {
        let new: BTreeSet<&Key> = keys.filter(|key| !self.series.contains_key(*key)).collect();
        let of_all = self.series.len() + new.len();
        let of_container = self.series.keys().filter(|key| key.container == *container).count();
        let of_container = of_container + new.len();
        let part = self.max_series / CONTAINERS_PART;
        if !new.is_empty() && (of_all > self.max_series || of_container > part) {
            let what =
                format!("it would be {of_container} series of this container, {of_all} of all");
            let remedy = format!(
                "there may be {part} and {}: give labels fewer values, or run with a larger --intake-series",
                self.max_series
            );
            return Err(Refused::new(Refusal::Limit, what, remedy));
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        self.series.retain(|_, series| now.saturating_duration_since(series.posted) < STANDS);
    }

    /// Appends what stands; how many series that is.
    pub fn collect(&mut self, now: Instant, samples: &mut Vec<Sample>) -> usize {
        self.expire(now);
        samples.extend(self.series.iter().map(|(key, series)| Sample {
            metric: series.metric,
            subject: Subject::Container(Arc::clone(&key.container)),
            labels: key.labels.clone(),
            value: match series.value {
                Standing::Gauge(value) => Value::Gauge(value),
                Standing::Counter { total, .. } => Value::Counter(total),
            },
        }));
        self.series.len()
    }
}

/// As it is kept inside: times are nanoseconds.
fn kept(unit: Unit, value: f64) -> f64 {
    if unit == Unit::Seconds { value * 1e9 } else { value }
}

impl Series {
    fn new(metric: &'static Descriptor, value: f64, now: Instant) -> Self {
        let value = match metric.kind {
            Kind::Counter => Standing::Counter { last: value.round() as u64, total: 0 },
            _ => Standing::Gauge(value),
        };
        Self { metric, value, posted: now }
    }

    fn post(&mut self, value: f64, now: Instant) {
        self.posted = now;
        match &mut self.value {
            Standing::Gauge(standing) => *standing = value,
            Standing::Counter { last, total } => {
                let value = value.round() as u64;
                // One that falls began anew at 0.
                *total += value.checked_sub(*last).unwrap_or(value);
                *last = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, labels: &[(&str, &str)], value: f64) -> Measurement {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let kind = super::super::text::kind_by_name(name);
        let (name, help) = (name.to_owned(), String::new());
        Measurement { name, kind, help, labels, value }.checked().unwrap()
    }

    fn values(table: &mut Table, now: Instant) -> Vec<(String, Vec<String>, Value)> {
        let mut samples = vec![];
        table.collect(now, &mut samples);
        let of = |sample: Sample| {
            let Subject::Container(id) = sample.subject else { panic!("whose?") };
            let labels = sample.labels.iter().map(ToString::to_string).collect();
            (format!("{id} {}", sample.metric.name), labels, sample.value)
        };
        samples.into_iter().map(of).collect()
    }

    #[test]
    fn gauges_stand_and_counters_grow_from_their_first_post() {
        let (mut table, now) = (Table::new(100), Instant::now());
        let (a, b) = (ContainerId::from("a"), ContainerId::from("b"));
        let depth = |value| one("depth", &[("queue", "mail")], value);
        let busy = |value| one("busy_seconds_total", &[], value);
        table.post(&a, &[depth(3.0), busy(10.5)], now).unwrap();
        table.post(&b, &[depth(7.0)], now).unwrap();
        table.post(&a, &[busy(11.0)], now).unwrap();
        table.post(&a, &[busy(0.25)], now).unwrap();
        assert_eq!(
            values(&mut table, now),
            [
                ("a busy_seconds_total".into(), vec![], Value::Counter(750_000_000)),
                ("a depth".into(), vec!["mail".into()], Value::Gauge(3.0)),
                ("b depth".into(), vec!["mail".into()], Value::Gauge(7.0)),
            ]
        );
        table.post(&b, &[depth(8.0)], now + STANDS / 2).unwrap();
        let left = values(&mut table, now + STANDS);
        assert_eq!(left, [("b depth".into(), vec!["mail".into()], Value::Gauge(8.0))]);
    }

    #[test]
    fn a_post_is_taken_whole_or_not_at_all() {
        let (mut table, now) = (Table::new(8), Instant::now());
        let (a, b) = (ContainerId::from("a"), ContainerId::from("b"));
        table.post(&a, &[one("depth", &[("queue", "0")], 1.0)], now).unwrap();
        let other_labels = [one("width", &[], 1.0), one("depth", &[("line", "0")], 1.0)];
        assert_eq!(table.post(&a, &other_labels, now).unwrap_err().why, Refusal::Conflict);
        let third = [one("depth", &[("queue", "1")], 1.0), one("depth", &[("queue", "2")], 1.0)];
        assert_eq!(table.post(&a, &third, now).unwrap_err().why, Refusal::Limit);
        assert_eq!(values(&mut table, now).len(), 1);
        table.post(&a, &third[..1], now).unwrap();
        // What is there already needs no room, and others have theirs.
        table.post(&a, &third[..1], now).unwrap();
        table.post(&b, &third, now).unwrap();
        assert_eq!(values(&mut table, now).len(), 4);
    }

    #[test]
    fn names_are_bounded() {
        let (mut table, now, a) = (Table::new(10_000), Instant::now(), ContainerId::from("a"));
        let refused = (0..600)
            .filter(|i| table.post(&a, &[one(&format!("metric_{i}"), &[], 1.0)], now).is_err());
        assert_eq!(refused.count(), 600 - 512);
    }
}
