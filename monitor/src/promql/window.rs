//! Functions of the samples of one series in a window of time: rates and their kin, and everything over time.

use super::{
    math::{Mean, Sum, Variance, quantile, sum},
    value::Sample,
};

/// A window and where it is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The samples in it, oldest first; at least one.
    pub samples: &'a [Sample],
    /// Where it begins; a sample at that instant is not in it, ms.
    pub start_ms: i64,
    /// Where it ends, ms.
    pub end_ms: i64,
    /// The instant of evaluation, ms.
    pub at_ms: i64,
    /// Numbers beside the window, in the order of the arguments.
    pub args: [f64; 2],
}

/// A function of a window; `None` is no value.
pub type OfWindow = fn(&Window<'_>) -> Option<f64>;

/// The function of a name.
pub fn of_name(name: &str) -> Option<OfWindow> {
    let function: OfWindow = match name {
        "rate" => |w| extrapolated(w, true).map(|growth| growth / seconds(w.end_ms - w.start_ms)),
        "increase" => |w| extrapolated(w, true),
        "delta" => |w| extrapolated(w, false),
        "irate" => |w| last_two(w).map(|(growth, over)| growth / over),
        "idelta" => idelta,
        "deriv" => |w| regression(w, w.samples[0].at_ms).map(|(slope, _)| slope),
        "predict_linear" => |w| regression(w, w.at_ms).map(|(slope, now)| slope * w.args[0] + now),
        "resets" => |w| Some(pairs(w).filter(|(a, b)| b < a).count() as f64),
        "changes" => |w| {
            let is_change = |(a, b): &(f64, f64)| a != b && !(a.is_nan() && b.is_nan());
            Some(pairs(w).filter(is_change).count() as f64)
        },
        "avg_over_time" => |w| {
            let mut mean = Mean::of(w.samples[0].value);
            w.samples[1..].iter().for_each(|sample| mean.add(sample.value));
            Some(mean.value())
        },
        "sum_over_time" => |w| Some(sum(values(w))),
        "count_over_time" => |w| Some(w.samples.len() as f64),
        "min_over_time" => |w| extreme(w, |new, old| new < old).map(|s| s.value),
        "max_over_time" => |w| extreme(w, |new, old| new > old).map(|s| s.value),
        // Of several the latest.
        "ts_of_min_over_time" => |w| extreme(w, |new, old| new <= old).map(time),
        "ts_of_max_over_time" => |w| extreme(w, |new, old| new >= old).map(time),
        "last_over_time" => |w| w.samples.last().map(|s| s.value),
        "first_over_time" => |w| w.samples.first().map(|s| s.value),
        "ts_of_last_over_time" => |w| w.samples.last().copied().map(time),
        "ts_of_first_over_time" => |w| w.samples.first().copied().map(time),
        "present_over_time" => |_| Some(1.0),
        "stdvar_over_time" => |w| Some(variance(w)),
        "stddev_over_time" => |w| Some(variance(w).sqrt()),
        "mad_over_time" => mad,
        "quantile_over_time" => |w| Some(quantile(w.args[0], &mut values(w).collect::<Vec<f64>>())),
        "double_exponential_smoothing" => smoothed,
        _ => return None,
    };
    Some(function)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

fn time(sample: Sample) -> f64 {
    seconds(sample.at_ms)
}

fn values(w: &Window<'_>) -> impl Iterator<Item = f64> {
    w.samples.iter().map(|sample| sample.value)
}

fn pairs(w: &Window<'_>) -> impl Iterator<Item = (f64, f64)> {
    w.samples.windows(2).map(|pair| (pair[0].value, pair[1].value))
}

/// The change over the samples, stretched to the whole window where its ends are near, as Prometheus does.
fn extrapolated(w: &Window<'_>, is_counter: bool) -> Option<f64> {
    let (first, last) = (w.samples.first()?, w.samples.last()?);
    if w.samples.len() < 2 {
        return None;
    }
    let mut growth = last.value - first.value;
    if is_counter {
        // What a reset took away.
        growth += pairs(w).filter(|(a, b)| b < a).map(|(a, _)| a).sum::<f64>();
    }
    let sampled = seconds(last.at_ms - first.at_ms);
    let average = sampled / (w.samples.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut before = seconds(first.at_ms - w.start_ms);
    if before >= threshold {
        before = average / 2.0;
    }
    if is_counter && growth > 0.0 && first.value >= 0.0 {
        // A counter was never below zero.
        before = before.min(sampled * (first.value / growth));
    }
    let mut after = seconds(w.end_ms - last.at_ms);
    if after >= threshold {
        after = average / 2.0;
    }
    Some(growth * ((sampled + before + after) / sampled))
}

/// The growth between the last two samples, and the time between them, s.
fn last_two(w: &Window<'_>) -> Option<(f64, f64)> {
    let [.., a, b] = w.samples else { return None };
    let growth = if b.value < a.value { b.value } else { b.value - a.value };
    (b.at_ms > a.at_ms).then(|| (growth, seconds(b.at_ms - a.at_ms)))
}

fn idelta(w: &Window<'_>) -> Option<f64> {
    let [.., a, b] = w.samples else { return None };
    (b.at_ms > a.at_ms).then_some(b.value - a.value)
}

/// Slope per second, and value at `origin_ms`, of the straight line nearest to the samples.
fn regression(w: &Window<'_>, origin_ms: i64) -> Option<(f64, f64)> {
    if w.samples.len() < 2 {
        return None;
    }
    let first = w.samples[0].value;
    if values(w).all(|value| value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut x_sum, mut y_sum, mut xy, mut xx) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for sample in w.samples {
        let x = seconds(sample.at_ms - origin_ms);
        x_sum.add(x);
        y_sum.add(sample.value);
        xy.add(x * sample.value);
        xx.add(x * x);
    }
    let n = w.samples.len() as f64;
    let (x_sum, y_sum) = (x_sum.value(), y_sum.value());
    let slope = (xy.value() - x_sum * y_sum / n) / (xx.value() - x_sum * x_sum / n);
    Some((slope, y_sum / n - slope * x_sum / n))
}

/// The sample whose value wins; NaN never does against a number.
fn extreme(w: &Window<'_>, wins: fn(f64, f64) -> bool) -> Option<Sample> {
    w.samples
        .iter()
        .copied()
        .reduce(|old, new| if wins(new.value, old.value) || old.value.is_nan() { new } else { old })
}

fn variance(w: &Window<'_>) -> f64 {
    let mut variance = Variance::default();
    values(w).for_each(|value| variance.add(value));
    variance.value()
}

/// The median of the distances from the median.
fn mad(w: &Window<'_>) -> Option<f64> {
    let mut all: Vec<f64> = values(w).collect();
    if all.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut all);
    all.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut all))
}

/// Holt's linear smoothing: level by the first argument, trend by the second.
fn smoothed(w: &Window<'_>) -> Option<f64> {
    let [level_factor, trend_factor] = w.args;
    let (first, second) = (w.samples.first()?.value, w.samples.get(1)?.value);
    let (mut before, mut level, mut trend) = (0.0, first, second - first);
    for (i, sample) in w.samples.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let smoothed = level_factor * sample.value + (1.0 - level_factor) * (level + trend);
        (before, level) = (level, smoothed);
    }
    Some(level)
}
