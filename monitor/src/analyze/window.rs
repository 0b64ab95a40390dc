//! What happened between two ticks, subject by subject: increases, rates and distributions.
//!
//! Contract: a counter that is there at the end only counts from 0 (its subject was born in between); one that is there at
//! the start only is gone with its subject and left out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::metric::{Descriptor, Histogram, LabelValues, Subject, Tick, Value, WallTimeNs};

/// All that changed between two ticks.
#[derive(Clone, Debug)]
pub struct Window {
    /// When it ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span: Duration,
    /// Each subject's part.
    pub subjects: BTreeMap<Subject, SubjectWindow>,
}

/// One subject's part of a window.
#[derive(Clone, Debug, Default)]
pub struct SubjectWindow {
    /// In the order they were collected.
    pub series: Vec<Series>,
}

/// One metric with one set of labels.
#[derive(Clone, Debug)]
pub struct Series {
    /// What was measured.
    pub metric: &'static Descriptor,
    /// Values of `metric.labels`.
    pub labels: LabelValues,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a series in a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A counter: its total at the end and how much it grew; ns for times.
    Counter {
        /// At the end.
        total: u64,
        /// In the window.
        increase: u64,
    },
    /// A gauge at the end; ns for times.
    Gauge(f64),
    /// The values that came in the window.
    Distribution(Arc<Histogram>),
}

impl Window {
    /// From an earlier and a later tick.
    pub fn between(first: &Tick, last: &Tick) -> Self {
        Self::of_some(first, last, |_| true)
    }

    /// From an earlier and a later tick, of one subject alone: what the others did is not even looked up.
    pub fn of_one(first: &Tick, last: &Tick, subject: &Subject) -> Self {
        Self::of_some(first, last, |other| other == subject)
    }

    fn of_some(first: &Tick, last: &Tick, is_wanted: impl Fn(&Subject) -> bool) -> Self {
        let mut before: HashMap<_, _> = first
            .samples()
            .filter(|sample| is_wanted(sample.subject))
            .map(|s| ((s.metric.name, s.subject, s.labels), s.value))
            .collect();
        let mut subjects: BTreeMap<Subject, SubjectWindow> = BTreeMap::new();
        for sample in last.samples().filter(|sample| is_wanted(sample.subject)) {
            let earlier = before.remove(&(sample.metric.name, sample.subject, sample.labels));
            let change = match (sample.value, earlier) {
                (&Value::Counter(total), Some(&Value::Counter(start))) => {
                    Change::Counter { total, increase: total.saturating_sub(start) }
                }
                (&Value::Counter(total), _) => Change::Counter { total, increase: total },
                (&Value::Gauge(value), _) => Change::Gauge(value),
                (Value::Distribution(end), Some(Value::Distribution(start))) => {
                    Change::Distribution(Arc::new(end.since(start)))
                }
                (Value::Distribution(end), _) => Change::Distribution(Arc::clone(end)),
            };
            subjects.entry(sample.subject.clone()).or_default().series.push(Series {
                metric: sample.metric,
                labels: sample.labels.clone(),
                change,
            });
        }
        Self { at: last.at, span: last.taken.since(first.taken), subjects }
    }
}

impl SubjectWindow {
    /// A series by its metric's name and label values.
    pub fn find(&self, name: &str, labels: &[&str]) -> Option<&Series> {
        self.series.iter().find(|s| {
            s.metric.name == name
                && s.labels.len() == labels.len()
                && s.labels.iter().zip(labels).all(|(a, b)| a == b)
        })
    }

    /// How much a counter grew.
    pub fn increase(&self, name: &str, labels: &[&str]) -> Option<u64> {
        match self.find(name, labels)?.change {
            Change::Counter { increase, .. } => Some(increase),
            _ => None,
        }
    }

    /// The values a distribution gained.
    pub fn distribution(&self, name: &str, labels: &[&str]) -> Option<&Histogram> {
        match &self.find(name, labels)?.change {
            Change::Distribution(histogram) => Some(histogram),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Kind, KtimeNs, Sample, Scope, Unit};

    static SWITCHES: Descriptor = Descriptor {
        name: "cgscope_test_switches_total",
        help: "",
        title: "",
        unit: Unit::Count,
        kind: Kind::Counter,
        scope: Scope::Container,
        labels: &[],
        source: "",
        kernel_floor: "",
    };

    fn tick(second: u64, values: &[(&str, u64)]) -> Tick {
        let samples = values.iter().map(|&(subject, value)| Sample {
            metric: &SWITCHES,
            subject: Subject::Container(subject.into()),
            labels: LabelValues::default(),
            value: Value::Counter(value),
        });
        let taken = KtimeNs(second * 1_000_000_000);
        Tick::new(WallTimeNs(second), taken, samples.collect())
    }

    #[test]
    fn growth_by_subject_births_from_zero_deaths_left_out() {
        let window = Window::between(
            &tick(1, &[("a", 5), ("gone", 9)]),
            &tick(3, &[("a", 12), ("born", 4)]),
        );
        let increase = |subject: &str| {
            window.subjects.get(&Subject::Container(subject.into()))?.increase(SWITCHES.name, &[])
        };
        assert_eq!((increase("a"), increase("born"), increase("gone")), (Some(7), Some(4), None));
        assert_eq!(window.span, Duration::from_secs(2));
    }
}
