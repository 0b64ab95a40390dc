//! A distribution of latencies in the buckets of `monitor_common::bucket`.
//!
//! Contract: merging and subtracting are exact; a quantile is off by at most one bucket, an eighth of its value.

use monitor_common::bucket::{self, RawHistogram};

// Buckets are kept as bytes.
const _: () = assert!(bucket::COUNT <= 256);

/// Counts per bucket and the sum of the values.
///
/// Only buckets that have values take memory: a container's latencies lie in a fifth of all at most, and each tick of the last minutes has
/// its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Those that have values, in rising order.
    buckets: Box<[u8]>,
    /// How many values each of them has.
    counts: Box<[u64]>,
    /// Sum of the values, ns.
    pub sum_ns: u64,
}

/// Adds one lane of a distribution to the others: its counts wrap, and so does their sum.
pub fn add_lane(sum: &mut RawHistogram, lane: &RawHistogram) {
    sum.sum_ns = sum.sum_ns.wrapping_add(lane.sum_ns);
    sum.counts.iter_mut().zip(lane.counts).for_each(|(a, b)| *a = a.wrapping_add(b));
}

impl Histogram {
    /// So many values in each of these buckets; buckets that there are not are left out.
    pub fn of(buckets: impl IntoIterator<Item = (usize, u64)>, sum_ns: u64) -> Self {
        let mut histogram = Self { sum_ns, ..Self::default() };
        histogram.change(|counts| {
            for (bucket, count) in buckets {
                if let Some(known) = counts.get_mut(bucket) {
                    *known += count;
                }
            }
        });
        histogram
    }

    /// Of buckets in rising order; of those without values nothing is kept.
    fn rising(buckets: impl Iterator<Item = (usize, u64)>, sum_ns: u64) -> Self {
        let held = buckets.filter(|&(_, count)| count > 0);
        let (buckets, counts): (Vec<u8>, Vec<u64>) =
            held.map(|(bucket, count)| (bucket as u8, count)).unzip();
        Self { buckets: buckets.into(), counts: counts.into(), sum_ns }
    }

    /// What came between two readings of counts that wrap.
    pub fn between(now: &RawHistogram, before: &RawHistogram) -> Self {
        let counts = now.counts.iter().zip(before.counts).enumerate();
        let gained = counts.map(|(i, (now, before))| (i, u64::from(now.wrapping_sub(before))));
        Self::rising(gained, now.sum_ns.wrapping_sub(before.sum_ns))
    }

    /// Adds one value.
    pub fn record(&mut self, latency_ns: u64) {
        let bucket = bucket::index(latency_ns);
        match self.buckets.binary_search(&(bucket as u8)) {
            Ok(place) => self.counts[place] += 1,
            Err(_) => self.change(|counts| counts[bucket] = 1),
        }
        self.sum_ns += latency_ns;
    }

    /// Changes the counts of all buckets at will.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut [u64; bucket::COUNT]) -> R) -> R {
        let mut counts = [0; bucket::COUNT];
        for (bucket, count) in self.buckets() {
            counts[bucket] = count;
        }
        let result = change(&mut counts);
        *self = Self::rising(counts.into_iter().enumerate(), self.sum_ns);
        result
    }

    /// The buckets that have values, and how many, in rising order.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.buckets.iter().zip(&self.counts).map(|(&bucket, &count)| (usize::from(bucket), count))
    }

    /// How many values a bucket has.
    pub fn count_in(&self, bucket: usize) -> u64 {
        let place = u8::try_from(bucket).ok().and_then(|b| self.buckets.binary_search(&b).ok());
        place.map_or(0, |place| self.counts[place])
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
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
        for (i, n) in self.buckets() {
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
        let last = usize::from(*self.buckets.last()?);
        Some(if last == bucket::COUNT - 1 {
            bucket::lower_bound_ns(last)
        } else {
            bucket::upper_bound_ns(last)
        })
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns += other.sum_ns;
        // Nearly always its buckets are here already.
        let mut others = other.buckets().peekable();
        for (&bucket, count) in self.buckets.iter().zip(&mut self.counts) {
            if let Some((_, more)) = others.next_if(|&(b, _)| b == usize::from(bucket)) {
                *count += more;
            }
        }
        if others.peek().is_some() {
            self.change(|counts| others.for_each(|(bucket, more)| counts[bucket] += more));
        }
    }

    /// What was added since an earlier state of the same distribution.
    pub fn since(&self, earlier: &Self) -> Self {
        let gained = self.buckets().map(|(i, n)| (i, n.saturating_sub(earlier.count_in(i))));
        Self::rising(gained, self.sum_ns.saturating_sub(earlier.sum_ns))
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

    #[test]
    fn only_buckets_with_values_take_memory_whichever_way_they_came() {
        let values = [900, 5_000, 70_000, 5_000];
        let one_by_one = of(&values);
        let mut merged = of(&values[2..]);
        merged.merge(&of(&values[..2]));
        let together = Histogram::of(one_by_one.buckets(), values.iter().sum());
        assert_eq!((&one_by_one, &one_by_one), (&merged, &together));
        assert_eq!((one_by_one.counts.len(), one_by_one.count()), (3, 4));
        assert_eq!(one_by_one.count_in(bucket::index(5_000)), 2);
        assert_eq!((one_by_one.count_in(1), one_by_one.count_in(bucket::COUNT)), (0, 0));
        let rest = one_by_one.since(&of(&[900, 5_000, 5_000]));
        assert_eq!((rest.counts.len(), rest), (1, of(&[70_000])));
        assert_eq!(one_by_one.since(&one_by_one), Histogram::default());
        let mut gone = one_by_one;
        gone.change(|counts| counts.fill(0));
        assert!(gone.is_empty() && gone.buckets.is_empty());
        // One that is between others, and one beyond them.
        let mut among = of(&[900, 70_000]);
        among.merge(&of(&[5_000, 70_000, 1 << 40]));
        assert_eq!(among, of(&[900, 5_000, 70_000, 70_000, 1 << 40]));
    }
}
