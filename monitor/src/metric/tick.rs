//! All measurements of one instant.
//!
//! Contract: samples come in the order they were given. What is measured hardly changes from a tick to the next and ticks of minutes are
//! kept, so which series there are is kept once for all ticks that follow each other, subject by subject; a tick has their values.

use std::{ptr, sync::Arc};

use super::{Descriptor, KtimeNs, LabelValues, Sample, SampleRef, Subject, Value, WallTimeNs};

/// All measurements of one instant, in the order of their subjects within a family.
#[derive(Clone, Debug)]
pub struct Tick {
    /// When, for people.
    pub at: WallTimeNs,
    /// When, for differences.
    pub taken: KtimeNs,
    runs: Box<[Run]>,
    /// One for each series of the runs.
    values: Box<[Value]>,
}

/// What is measured of one subject, in a row.
type Run = Arc<[Series]>;

#[derive(Debug)]
struct Series {
    metric: &'static Descriptor,
    subject: Subject,
    labels: LabelValues,
}

impl Tick {
    /// A tick that has no other before it.
    pub fn new(at: WallTimeNs, taken: KtimeNs, samples: Vec<Sample>) -> Self {
        Self::after(None, at, taken, samples)
    }

    /// The tick that follows another, if there was one, with which it shares what is the same.
    pub fn after(
        before: Option<&Self>,
        at: WallTimeNs,
        taken: KtimeNs,
        mut samples: Vec<Sample>,
    ) -> Self {
        let mut earlier = match before {
            Some(before) => Earlier { runs: &before.runs, values: &before.values },
            None => Earlier { runs: &[], values: &[] },
        };
        let mut runs = vec![];
        for samples in samples.chunk_by_mut(|a, b| a.subject == b.subject) {
            let run = earlier.share(samples);
            runs.push(run.unwrap_or_else(|| samples.iter().map(Series::of).collect()));
        }
        let values = samples.into_iter().map(|sample| sample.value).collect();
        Self { at, taken, runs: runs.into(), values }
    }

    /// The measurements.
    pub fn samples(&self) -> impl Iterator<Item = SampleRef<'_>> {
        let series = self.runs.iter().flat_map(|run| run.iter());
        series.zip(&self.values).map(|(series, value)| SampleRef {
            metric: series.metric,
            subject: &series.subject,
            labels: &series.labels,
            value,
        })
    }

    /// How many measurements.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Series {
    fn of(sample: &Sample) -> Self {
        Self {
            metric: sample.metric,
            subject: sample.subject.clone(),
            labels: sample.labels.clone(),
        }
    }

    fn is_of(&self, sample: &Sample) -> bool {
        ptr::eq(self.metric, sample.metric)
            && self.subject == sample.subject
            && self.labels == sample.labels
    }
}

/// What is left of the tick before, while the next one is gone through in the same order.
struct Earlier<'a> {
    runs: &'a [Run],
    values: &'a [Value],
}

impl Earlier<'_> {
    /// The run of the same series, if there was one. What lies before it belongs to those who are gone and is passed; distributions
    /// that did not change become those of then.
    fn share(&mut self, samples: &mut [Sample]) -> Option<Run> {
        let is_same = |run: &Run| {
            run.len() == samples.len()
                && run.iter().zip(&*samples).all(|(s, sample)| s.is_of(sample))
        };
        let at = self.runs.iter().position(is_same)?;
        let passed: usize = self.runs[..at].iter().map(|run| run.len()).sum();
        let (values, left) = self.values[passed..].split_at(samples.len());
        for (sample, value) in samples.iter_mut().zip(values) {
            if matches!(value, Value::Distribution(_)) && sample.value == *value {
                sample.value = value.clone();
            }
        }
        let run = Arc::clone(&self.runs[at]);
        (self.runs, self.values) = (&self.runs[at + 1..], left);
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Histogram, descriptor};

    descriptor!(
        static METRIC,
        "cgscope_test_total",
        "test",
        Count,
        Counter,
        Container,
        &["label"],
        "nothing",
        "5.8",
        "Nothing."
    );

    fn sample(subject: &str, label: &str, value: Value) -> Sample {
        let subject = Subject::Container(subject.into());
        Sample { metric: &METRIC, subject, labels: [label.to_owned().into()].into(), value }
    }

    /// Two counters and two distributions of each subject; the first distribution has as many values as `total`.
    fn samples(subjects: &[&str], total: u64) -> Vec<Sample> {
        let distribution = |count| {
            let mut histogram = Histogram::default();
            (0..count).for_each(|_| histogram.record(1_000));
            Value::Distribution(Arc::new(histogram))
        };
        let of = |subject: &&str| {
            [
                sample(subject, "a", Value::Counter(total)),
                sample(subject, "b", Value::Counter(2 * total)),
                sample(subject, "moves", distribution(total)),
                sample(subject, "rests", distribution(7)),
            ]
        };
        subjects.iter().flat_map(of).collect()
    }

    fn after(before: &Tick, samples: Vec<Sample>) -> Tick {
        let tick = Tick::after(Some(before), WallTimeNs(1), KtimeNs(1), samples.clone());
        assert_eq!(tick.samples().map(SampleRef::to_sample).collect::<Vec<_>>(), samples);
        assert_eq!(tick.len(), samples.len());
        tick
    }

    fn shared(a: &Tick, b: &Tick) -> usize {
        a.runs.iter().filter(|run| b.runs.iter().any(|other| Arc::ptr_eq(run, other))).count()
    }

    #[test]
    fn what_is_the_same_is_kept_once_and_all_comes_back_in_its_order() {
        let first = Tick::new(WallTimeNs(0), KtimeNs(0), samples(&["x", "y", "z"], 1));
        let second = after(&first, samples(&["x", "y", "z"], 2));
        assert_eq!(shared(&first, &second), 3);
        let distribution = |tick: &Tick, at| match tick.samples().nth(at).map(|s| s.value) {
            Some(Value::Distribution(histogram)) => Arc::as_ptr(histogram),
            other => panic!("{other:?}"),
        };
        assert_ne!(distribution(&first, 6), distribution(&second, 6));
        assert_eq!(distribution(&first, 7), distribution(&second, 7));
    }

    #[test]
    fn birth_and_death_cost_the_others_nothing() {
        let first = Tick::new(WallTimeNs(0), KtimeNs(0), samples(&["x", "y", "z"], 1));
        let born = after(&first, samples(&["x", "new", "y", "z"], 2));
        assert_eq!((shared(&first, &born), born.runs.len()), (3, 4));
        let dead = after(&born, samples(&["new", "z"], 3));
        assert_eq!(shared(&born, &dead), 2);
        let none = after(&dead, vec![]);
        assert!(none.is_empty());
        assert_eq!(after(&none, samples(&["x"], 4)).runs.len(), 1);
        // Out of their order they are kept anew.
        let turned = after(&born, samples(&["z", "y", "new", "x"], 3));
        assert_eq!(shared(&born, &turned), 1);
    }
}
