//! A distribution of latencies in the buckets of `monitor_common::bucket`.
//!
//! Contract: merging and subtracting are exact; a quantile is off by at most one bucket, an eighth of its value.

use monitor_common::bucket::{self, RawHistogram};

/// Counts per bucket and the sum of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Values per bucket, [`bucket::COUNT`] of them.
    pub counts: Box<[u64]>,
    /// Sum of the values, ns.
    pub sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket::COUNT].into_boxed_slice(), sum_ns: 0 }
    }
}

/// Adds one lane of a distribution to the others: its counts wrap, and so does their sum.
pub fn add_lane(sum: &mut RawHistogram, lane: &RawHistogram) {
    sum.sum_ns = sum.sum_ns.wrapping_add(lane.sum_ns);
    sum.counts.iter_mut().zip(lane.counts).for_each(|(a, b)| *a = a.wrapping_add(b));
}

impl Histogram {
    /// Adds one value.
    pub fn record(&mut self, latency_ns: u64) {
        self.counts[bucket::index(latency_ns)] += 1;
        self.sum_ns += latency_ns;
    }

    /// What came between two readings of counts that wrap.
    pub fn between(now: &RawHistogram, before: &RawHistogram) -> Self {
        let counts = now.counts.iter().zip(before.counts);
        Self {
            counts: counts.map(|(now, before)| u64::from(now.wrapping_sub(before))).collect(),
            sum_ns: now.sum_ns.wrapping_sub(before.sum_ns),
        }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&c| c == 0)
    }

    /// Their mean, ns; `None` without values.
    pub fn mean_ns(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_ns as f64 / count as f64)
    }

    /// The value below which the share `q` (0..=1) of the values lie, interpolated in its bucket, ns; `None` without values.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * count as f64).max(f64::MIN_POSITIVE);
        let mut below = 0u64;
        for (i, &n) in self.counts.iter().enumerate().filter(|&(_, &n)| n > 0) {
            if (below + n) as f64 >= rank {
                let low = bucket::lower_bound_ns(i);
                // The last bucket has no upper bound: its lower one is the honest answer.
                let high = if i == bucket::COUNT - 1 { low } else { bucket::upper_bound_ns(i) };
                let share = (rank - below as f64) / n as f64;
                return Some(low + ((high - low) as f64 * share) as u64);
            }
            below += n;
        }
        None
    }

    /// The upper bound of the largest value, ns; `None` without values.
    pub fn max_ns(&self) -> Option<u64> {
        let last = self.counts.iter().rposition(|&n| n > 0)?;
        Some(if last == bucket::COUNT - 1 {
            bucket::lower_bound_ns(last)
        } else {
            bucket::upper_bound_ns(last)
        })
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
        self.sum_ns += other.sum_ns;
    }

    /// What was added since an earlier state of the same distribution.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(a, b)| a.saturating_sub(*b));
        Self { counts: counts.collect(), sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&v| histogram.record(v));
        histogram
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let values: Vec<u64> = (1..=10_000).map(|i| i * 1_000).collect();
        let histogram = of(&values);
        for q in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[((q * values.len() as f64) as usize).min(values.len()) - 1] as f64;
            let got = histogram.quantile_ns(q).unwrap() as f64;
            assert!((got - exact).abs() <= exact / 8.0, "q {q}: {got} against {exact}");
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(of(&[]).quantile_ns(0.5), None);
        assert_eq!(of(&[]).mean_ns(), None);
        assert_eq!(of(&[]).max_ns(), None);
    }

    #[test]
    fn difference_of_two_states_is_what_came_between() {
        let early = of(&[5_000, 70_000]);
        let mut late = early.clone();
        late.merge(&of(&[1_000_000]));
        assert_eq!(late.since(&early), of(&[1_000_000]));
    }
}
