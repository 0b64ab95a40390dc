//! One pair of a cgroup and a disk between two readings, and the totals its differences go to.

use std::{borrow::Cow, sync::Arc, time::Instant};

use monitor_common::block::{BlockOperation, BlockPhase, LatencyClass, PairCounters, PairLatency};

use super::descriptor::Set;
use crate::{
    metric::{
        Descriptor, Sample, Subject, Value,
        lanes::{self, EMPTY, Gained, Lanes, Total},
    },
    probe::BlockPairs,
};

const DISTRIBUTIONS: usize = LatencyClass::COUNT * BlockPhase::COUNT;

/// What a pair was when it was last read.
pub(super) struct Pair {
    /// When its first request was seen.
    pub first_seen: Instant,
    /// To whom it was last counted.
    pub owner: Option<Arc<str>>,
    counters: PairCounters,
    latencies: Lanes<DISTRIBUTIONS>,
}

/// What a pair did between two readings.
pub(super) struct Delta {
    counters: PairCounters,
    latencies: Gained<DISTRIBUTIONS>,
}

impl Pair {
    pub fn new(now: Instant) -> Self {
        let (counters, latencies) = (PairCounters::default(), Lanes::default());
        Self { first_seen: now, owner: None, counters, latencies }
    }

    /// Whether anything was counted since the last reading.
    pub fn has_moved(&self, pairs: &BlockPairs, index: u32, cpus: usize) -> bool {
        read_counters(pairs, index, cpus) != self.counters
    }

    /// Reads it: what is counted while we read is counted the next time, never twice.
    pub fn advance(&mut self, pairs: &BlockPairs, index: u32, cpus: usize, lanes: usize) -> Delta {
        let counters = read_counters(pairs, index, cpus);
        let before = std::mem::replace(&mut self.counters, counters);
        let mut delta = Delta { counters, latencies: Default::default() };
        for i in 0..BlockOperation::COUNT {
            delta.counters.operations[i] -= before.operations[i].min(counters.operations[i]);
            delta.counters.bytes[i] -= before.bytes[i].min(counters.bytes[i]);
        }
        delta.counters.errors -= before.errors.min(counters.errors);

        let first = index as usize * lanes;
        let records = (first..first + lanes).map(|place| pairs.latencies.read(place));
        delta.latencies = self.latencies.advance(records, |record| record.by_class.as_flattened());
        delta
    }
}

fn read_counters(pairs: &BlockPairs, index: u32, cpus: usize) -> PairCounters {
    let mut sums = PairCounters::default();
    for cpu in 0..cpus {
        let record = pairs.counters.read(index as usize * cpus + cpu);
        for i in 0..BlockOperation::COUNT {
            sums.operations[i] += record.operations[i];
            sums.bytes[i] += record.bytes[i];
        }
        sums.errors += record.errors;
    }
    sums
}

/// Zeroes the records of a pair that nobody finds any more.
pub(super) fn zero(pairs: &BlockPairs, index: u32, cpus: usize, lanes: usize) {
    for cpu in 0..cpus {
        pairs.counters.write(index as usize * cpus + cpu, PairCounters::default());
    }
    let empty = PairLatency { by_class: [[EMPTY; BlockPhase::COUNT]; LatencyClass::COUNT] };
    for lane in 0..lanes {
        pairs.latencies.write(index as usize * lanes + lane, empty);
    }
}

/// What an owner did on a disk so far, or a disk for all.
#[derive(Default)]
pub(super) struct Totals {
    counters: PairCounters,
    latencies: Total<DISTRIBUTIONS>,
}

impl Totals {
    pub fn add(&mut self, delta: &Delta) {
        for i in 0..BlockOperation::COUNT {
            self.counters.operations[i] += delta.counters.operations[i];
            self.counters.bytes[i] += delta.counters.bytes[i];
        }
        self.counters.errors += delta.counters.errors;
        lanes::add(&mut self.latencies, &delta.latencies);
    }

    /// How long all requests were queued, ns.
    pub fn queued_ns(&self) -> u64 {
        let of_queue = self.latencies.iter().skip(BlockPhase::Queue as usize);
        of_queue.step_by(BlockPhase::COUNT).flatten().map(|histogram| histogram.sum_ns).sum()
    }

    /// Reads and writes always; other operations once there were any, and latencies that are known.
    pub fn show(&self, set: &Set, subject: &Subject, device: &str, samples: &mut Vec<Sample>) {
        let mut push = |metric: &'static Descriptor, labels: &[&'static str], value| {
            let labels = labels.iter().copied().map(Cow::Borrowed);
            let labels = std::iter::once(Cow::Owned(device.to_owned())).chain(labels).collect();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        for operation in BlockOperation::ALL {
            let i = operation as usize;
            let is_usual = matches!(operation, BlockOperation::Read | BlockOperation::Write);
            if is_usual || self.counters.operations[i] > 0 || self.counters.bytes[i] > 0 {
                let name = operation.name();
                push(set.operations, &[name], Value::Counter(self.counters.operations[i]));
                push(set.bytes, &[name], Value::Counter(self.counters.bytes[i]));
            }
        }
        push(set.errors, &[], Value::Counter(self.counters.errors));
        for (i, histogram) in self.latencies.iter().enumerate() {
            if let Some(histogram) = histogram {
                let class = LatencyClass::NAMES[i / BlockPhase::COUNT];
                let phase = BlockPhase::NAMES[i % BlockPhase::COUNT];
                push(set.latency, &[class, phase], Value::Distribution(Arc::clone(histogram)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{collect::block::descriptor::OF_CONTAINER, metric::Histogram};

    #[test]
    fn what_never_happened_is_not_shown() {
        let mut totals = Totals::default();
        let mut delta = Delta { counters: PairCounters::default(), latencies: Default::default() };
        delta.counters.operations[BlockOperation::Write as usize] = 2;
        delta.counters.bytes[BlockOperation::Write as usize] = 8_192;
        let service =
            LatencyClass::Write as usize * BlockPhase::COUNT + BlockPhase::Service as usize;
        let mut took = Histogram::default();
        [5_000, 9_000].into_iter().for_each(|ns| took.record(ns));
        delta.latencies[service] = Some(took);
        totals.add(&delta);
        totals.add(&delta);
        let mut samples = Vec::new();
        totals.show(&OF_CONTAINER, &Subject::Host, "vda", &mut samples);
        let shown: Vec<(&str, String)> =
            samples.iter().map(|s| (s.metric.title, s.labels.join(" "))).collect();
        assert!(!shown.iter().any(|(_, labels)| labels.contains("discard")), "{shown:?}");
        let writes = samples.iter().find(|s| *s.labels == ["vda", "write"]).unwrap();
        assert_eq!(writes.value, Value::Counter(4));
        let distributions: Vec<_> =
            samples.iter().filter(|s| matches!(s.value, Value::Distribution(_))).collect();
        assert_eq!(distributions.len(), 1);
        assert_eq!(*distributions[0].labels, ["vda", "write", "service"]);
        let Value::Distribution(histogram) = &distributions[0].value else { unreachable!() };
        assert_eq!((histogram.count(), histogram.sum_ns), (4, 28_000));
    }
}
