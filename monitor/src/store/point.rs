//! What happened to a series in an interval: one measurement, or many merged.
//!
//! Contract: merging is exact for counters and distributions (integers), independent of order for all, and a merge of
//! merges equals the merge of the parts. So tiers, pieces, restarts and overlaps need no special case.

use monitor_common::bucket;

use crate::metric::Histogram;

/// Increases of a counter or values of a gauge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary<N> {
    /// Measurements.
    pub count: u64,
    /// Their sum: what a counter grew by.
    pub sum: N,
    /// The smallest.
    pub min: N,
    /// The largest.
    pub max: N,
}

/// Adding and comparing, for integers and floats alike.
pub trait Amount: super::bytes::Number {
    /// The sum; it stays at the largest integer rather than wrapping.
    fn plus(self, other: Self) -> Self;
    /// The smaller.
    fn smaller(self, other: Self) -> Self;
    /// The larger.
    fn larger(self, other: Self) -> Self;
    /// For people.
    fn float(self) -> f64;
}

impl Amount for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
    fn float(self) -> f64 {
        self as f64
    }
}

impl Amount for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
    fn float(self) -> f64 {
        self
    }
}

impl<N: Amount> Summary<N> {
    /// Of one measurement.
    pub fn of(value: N) -> Self {
        Self { count: 1, sum: value, min: value, max: value }
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.plus(other.sum);
        self.min = self.min.smaller(other.min);
        self.max = self.max.larger(other.max);
    }

    /// As floats.
    pub fn floats(&self) -> Summary<f64> {
        Summary {
            count: self.count,
            sum: self.sum.float(),
            min: self.min.float(),
            max: self.max.float(),
        }
    }
}

/// The values that a distribution gained: the buckets that hold something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gain {
    /// Measurements it was merged from.
    pub count: u64,
    /// Sum of the values, ns.
    pub sum_ns: u64,
    /// Bucket and its values, in the order of the buckets.
    pub buckets: Vec<(u8, u64)>,
}

// Buckets are kept as bytes.
const _: () = assert!(bucket::COUNT <= 256);

impl Gain {
    /// What came between two states of a distribution; the later one alone if it began anew.
    pub fn between(now: &Histogram, before: Option<&Histogram>) -> Self {
        let restarted = before
            .is_none_or(|before| before.buckets().any(|(bucket, n)| now.count_in(bucket) < n));
        let of = |before: &Histogram| {
            let gained =
                now.buckets().map(|(bucket, n)| (bucket as u8, n - before.count_in(bucket)));
            gained.filter(|&(_, n)| n > 0).collect()
        };
        match before {
            Some(before) if !restarted => Self {
                count: 1,
                sum_ns: now.sum_ns.saturating_sub(before.sum_ns),
                buckets: of(before),
            },
            _ => {
                let buckets = now.buckets().map(|(bucket, n)| (bucket as u8, n)).collect();
                Self { count: 1, sum_ns: now.sum_ns, buckets }
            }
        }
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        for &(bucket, n) in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(n),
                Err(at) => self.buckets.insert(at, (bucket, n)),
            }
        }
    }

    /// How many values.
    pub fn values(&self) -> u64 {
        self.buckets.iter().map(|&(_, n)| n).fold(0, u64::saturating_add)
    }

    /// As a distribution with all its buckets.
    pub fn histogram(&self) -> Histogram {
        let buckets = self.buckets.iter().map(|&(bucket, n)| (usize::from(bucket), n));
        Histogram::of(buckets, self.sum_ns)
    }
}

/// The points of one series, each with the number of its instant in the piece they are in.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Of a counter.
    Counter(Vec<(u32, Summary<u64>)>),
    /// Of a gauge.
    Gauge(Vec<(u32, Summary<f64>)>),
    /// Of a distribution.
    Distribution(Vec<(u32, Gain)>),
}

impl Points {
    /// None, of a kind.
    pub fn none(kind: crate::metric::Kind) -> Self {
        use crate::metric::Kind;
        match kind {
            Kind::Counter => Self::Counter(vec![]),
            Kind::Gauge => Self::Gauge(vec![]),
            Kind::Distribution => Self::Distribution(vec![]),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Counter(points) => points.len(),
            Self::Gauge(points) => points.len(),
            Self::Distribution(points) => points.len(),
        }
    }

    /// Merges points whose instants `to` sends to the same new one, wherever they are.
    pub fn regroup(self, to: impl Fn(u32) -> u32) -> Self {
        match self {
            Self::Counter(points) => Self::Counter(regroup(points, to, Summary::merge)),
            Self::Gauge(points) => Self::Gauge(regroup(points, to, Summary::merge)),
            Self::Distribution(points) => Self::Distribution(regroup(points, to, Gain::merge)),
        }
    }

    /// Appends points of the same kind; others are left out.
    pub fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(a), Self::Counter(mut b)) => a.append(&mut b),
            (Self::Gauge(a), Self::Gauge(mut b)) => a.append(&mut b),
            (Self::Distribution(a), Self::Distribution(mut b)) => a.append(&mut b),
            _ => {}
        }
    }
}

fn regroup<P>(
    mut points: Vec<(u32, P)>,
    to: impl Fn(u32) -> u32,
    merge: impl Fn(&mut P, &P),
) -> Vec<(u32, P)> {
    points.iter_mut().for_each(|point| point.0 = to(point.0));
    // Stable, so that sums of floats do not depend on the sort.
    points.sort_by_key(|point| point.0);
    let mut merged: Vec<(u32, P)> = Vec::with_capacity(points.len() / 2 + 1);
    for (at, point) in points {
        match merged.last_mut() {
            Some((last, into)) if *last == at => merge(into, &point),
            _ => merged.push((at, point)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&v| histogram.record(v));
        histogram
    }

    proptest! {
        #[test]
        fn merged_gains_are_the_whole(
            first in prop::collection::vec(0u64..1 << 35, 0..50),
            second in prop::collection::vec(0u64..1 << 35, 0..50),
        ) {
            let early = of(&first);
            let mut late = early.clone();
            late.merge(&of(&second));
            let mut gain = Gain::between(&early, None);
            gain.merge(&Gain::between(&late, Some(&early)));
            prop_assert_eq!(gain.histogram(), late);
            prop_assert_eq!(gain.values(), (first.len() + second.len()) as u64);
        }
    }

    #[test]
    fn a_distribution_that_begins_anew_counts_from_zero() {
        let gain = Gain::between(&of(&[5_000]), Some(&of(&[70_000, 70_000])));
        assert_eq!(gain.histogram(), of(&[5_000]));
    }

    #[test]
    fn points_of_one_instant_merge_wherever_they_are() {
        let points = Points::Counter(
            [(0, 1), (1, 2), (2, 4), (3, 8)].map(|(i, v)| (i, Summary::of(v))).to_vec(),
        );
        let Points::Counter(merged) = points.regroup(|i| (i + 1) % 2) else { unreachable!() };
        let seen: Vec<_> = merged.iter().map(|(i, s)| (*i, s.count, s.sum, s.min, s.max)).collect();
        assert_eq!(seen, [(0, 2, 10, 2, 8), (1, 2, 5, 1, 4)]);
    }
}
