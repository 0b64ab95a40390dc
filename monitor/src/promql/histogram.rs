//! Distributions as buckets: series of one name and the label `le`, each with what lies at or below its bound.

use std::collections::HashMap;

use super::{
    engine::Engine,
    error::Result,
    value::{Grid, Labels, Line, merge_equal},
};

/// The label of the bound.
const BOUND: &str = "le";

/// Relative differences below this are errors of floats.
const SMALL: f64 = 1e-12;

/// One bucket: its upper bound, and what lies at or below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The bound.
    pub upper: f64,
    /// The count.
    pub count: f64,
}

/// A line for each distribution, made of its buckets at each step.
///
/// # Errors
/// When the query takes too long.
pub fn each(
    engine: &mut Engine<'_>,
    lines: Vec<Line>,
    grid: &Grid,
    of_buckets: impl Fn(usize, &[Bucket]) -> f64,
) -> Result<Vec<Line>> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut distributions: Vec<(Labels, Vec<(f64, Line)>)> = vec![];
    for line in lines {
        let Ok(upper) = line.labels.get(BOUND).parse::<f64>() else {
            let shown = line.labels.get(BOUND);
            engine.notes.warn(format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {shown:?}"
            ));
            continue;
        };
        let labels = line.labels.except(&[BOUND.to_owned()]);
        let place = *places.entry(labels.clone()).or_insert(distributions.len());
        match distributions.get_mut(place) {
            Some((_, buckets)) => buckets.push((upper, line)),
            None => distributions.push((labels, vec![(upper, line)])),
        }
    }
    let mut result = vec![];
    for (labels, mut buckets) in distributions {
        engine.check_time()?;
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut here = Vec::with_capacity(buckets.len());
        let mut values = Vec::with_capacity(grid.count);
        for i in 0..grid.count {
            here.clear();
            for (upper, line) in &buckets {
                let Some(count) = line.values[i] else { continue };
                match here.last_mut() {
                    Some(Bucket { upper: last, count: total }) if *last == *upper => {
                        *total += count;
                    }
                    _ => here.push(Bucket { upper: *upper, count }),
                }
            }
            values.push(if here.is_empty() {
                None
            } else {
                if make_monotonic(&mut here) {
                    engine
                        .notes
                        .inform("input to histogram_quantile needed to be fixed for monotonicity");
                }
                Some(of_buckets(i, &here))
            });
        }
        result.push(Line { labels, values });
    }
    merge_equal(result)
}

/// Counts must not fall from one bound to the next. Whether they did by more than floats err.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut is_changed = false;
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        let is_near = (bucket.count - before).abs() <= SMALL * before.abs().max(bucket.count.abs());
        if is_near || bucket.count < before {
            is_changed |= !is_near;
            bucket.count = before;
        }
        before = bucket.count;
    }
    is_changed
}

/// The value below which the share `q` lies, interpolated in its bucket.
pub fn quantile(q: f64, buckets: &[Bucket]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let [rest @ .., last] = buckets else { return f64::NAN };
    if last.upper != f64::INFINITY || rest.is_empty() || last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    let rank = q * last.count;
    let at = rest.partition_point(|bucket| bucket.count < rank);
    if at == rest.len() {
        return rest[at - 1].upper;
    }
    if at == 0 && rest[0].upper <= 0.0 {
        return rest[0].upper;
    }
    let (start, below) = match at.checked_sub(1) {
        Some(before) => (rest[before].upper, rest[before].count),
        None => (0.0, 0.0),
    };
    start + (rest[at].upper - start) * ((rank - below) / (rest[at].count - below))
}

/// The share that lies between two values, interpolated in their buckets.
pub fn fraction(low: f64, high: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.upper == f64::INFINITY) else {
        return f64::NAN;
    };
    if last.count == 0.0 || last.count.is_nan() || low.is_nan() || high.is_nan() {
        return f64::NAN;
    }
    if low >= high {
        return 0.0;
    }
    (below(high, buckets) - below(low, buckets)) / last.count
}

/// How many lie below a value.
fn below(value: f64, buckets: &[Bucket]) -> f64 {
    let (mut start, mut count) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        if value < bucket.upper {
            // The first bucket begins at 0 unless it lies below; what is beyond the last bound is nowhere.
            let from = if start.is_infinite() && bucket.upper > 0.0 { 0.0 } else { start };
            if from.is_infinite() || bucket.upper.is_infinite() || value <= from {
                return count;
            }
            return count + (bucket.count - count) * (value - from) / (bucket.upper - from);
        }
        (start, count) = (bucket.upper, bucket.count);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKETS: [Bucket; 3] = [
        Bucket { upper: 1.0, count: 10.0 },
        Bucket { upper: 2.0, count: 30.0 },
        Bucket { upper: f64::INFINITY, count: 40.0 },
    ];

    #[test]
    fn quantiles_and_shares() {
        assert_eq!(quantile(0.25, &BUCKETS), 1.0);
        assert_eq!(quantile(0.5, &BUCKETS), 1.5);
        assert_eq!(quantile(1.0, &BUCKETS), 2.0, "beyond the last bound nothing is known");
        assert!(quantile(0.5, &BUCKETS[..2]).is_nan(), "without the infinite bound");
        assert_eq!(fraction(0.0, 1.5, &BUCKETS), 0.5);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &BUCKETS), 1.0);
        assert_eq!(fraction(2.0, 1.0, &BUCKETS), 0.0);
    }
}
