//! A distribution in the terminal: a row per power of two, with a bar.
//!
//! Contract: every value is in exactly one row; rows between the first and the last that hold something are drawn though empty.

use super::{number, text::width};
use crate::serve::api::{Bucket, Distribution};

/// Eighths of a cell, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One row: latencies of `low_ns` and more, less than `high_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    low_ns: u64,
    /// `None` for the last, which has no bound.
    high_ns: Option<u64>,
    count: u64,
}

/// Draws the rows of a distribution, `columns` wide.
pub fn draw(distribution: &Distribution, columns: usize) -> String {
    let rows = rows(&distribution.buckets);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let cells: Vec<[String; 4]> = rows.iter().map(|row| cells(row, distribution)).collect();
    let wide = |i: usize| cells.iter().map(|cell| width(&cell[i])).max().unwrap_or(0);
    let (low, high, count, share) = (wide(0), wide(1), wide(2), wide(3));
    let marks = 12;
    let bar = columns.saturating_sub(low + high + count + share + marks + 12).clamp(8, 60);
    let mut text = String::new();
    for (row, [from, to, n, part]) in rows.iter().zip(&cells) {
        let filled = self::bar(row.count, most, bar);
        let gap = " ".repeat(bar - width(&filled));
        let marks = marks_of(row, distribution);
        let line = format!(
            "  {from:>low$} - {to:<high$}  {n:>count$} {part:>share$} │{filled}{gap}│ {marks}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Count, mean and quantiles in one line.
pub fn summary(distribution: &Distribution) -> String {
    let Some(mean_ns) = distribution.mean_ns else { return "nothing measured".to_owned() };
    let known = [
        ("p50", distribution.p50_ns),
        ("p90", distribution.p90_ns),
        ("p99", distribution.p99_ns),
        ("p99.9", distribution.p999_ns),
        ("max", distribution.max_ns),
    ];
    let known =
        known.iter().filter_map(|(name, ns)| Some(format!("{name} {}", number::time((*ns)?))));
    let count = number::count(distribution.count);
    let mean = number::time(mean_ns as u64);
    format!("{count} times, mean {mean}, {}", known.collect::<Vec<_>>().join(", "))
}

fn rows(buckets: &[Bucket]) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![];
    for bucket in buckets {
        let row = row_of(bucket);
        match rows.last_mut() {
            Some(last) if last.low_ns == row.low_ns => {
                last.count += row.count;
                continue;
            }
            _ => {}
        }
        // The powers of two between that hold nothing.
        while let Some(high_ns) = rows.last().and_then(|last| last.high_ns)
            && high_ns < row.low_ns
        {
            rows.push(Row { low_ns: high_ns, high_ns: Some(high_ns * 2), count: 0 });
        }
        rows.push(row);
    }
    rows
}

/// The power of two a bucket lies in; buckets never lie in two.
fn row_of(bucket: &Bucket) -> Row {
    let count = bucket.count;
    match bucket.le_ns {
        None => Row { low_ns: bucket.ge_ns, high_ns: None, count },
        // The first bucket begins at 0 and is a row by itself.
        Some(le_ns) if bucket.ge_ns == 0 => Row { low_ns: 0, high_ns: Some(le_ns), count },
        Some(_) => {
            let low_ns = 1 << bucket.ge_ns.ilog2();
            Row { low_ns, high_ns: Some(low_ns * 2), count }
        }
    }
}

fn cells(row: &Row, distribution: &Distribution) -> [String; 4] {
    let high = row.high_ns.map_or_else(|| "more".to_owned(), number::time);
    let part = row.count as f64 / distribution.count.max(1) as f64;
    [number::time(row.low_ns), high, number::count(row.count), number::share(part)]
}

/// A bar of up to `cells`; what is there is never drawn as nothing.
fn bar(count: u64, most: u64, cells: usize) -> String {
    if count == 0 || most == 0 {
        return String::new();
    }
    let eighths = (count as f64 / most as f64 * (cells * 8) as f64).round() as usize;
    let eighths = eighths.clamp(1, cells * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// The quantiles that lie in a row.
fn marks_of(row: &Row, distribution: &Distribution) -> String {
    let quantiles =
        [("p50", distribution.p50_ns), ("p90", distribution.p90_ns), ("p99", distribution.p99_ns)];
    // A quantile that ends exactly on a bound belongs to the row below it.
    let is_in = |ns: u64| ns > row.low_ns && row.high_ns.is_none_or(|high_ns| ns <= high_ns);
    let here = quantiles.iter().filter(|(_, ns)| ns.is_some_and(is_in));
    here.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Histogram;

    fn distribution(values: &[(u64, usize)]) -> Distribution {
        let mut histogram = Histogram::default();
        for &(ns, times) in values {
            (0..times).for_each(|_| histogram.record(ns));
        }
        Distribution::from(&histogram)
    }

    #[test]
    fn as_it_is_seen() {
        let drawn = draw(&distribution(&[(3_000, 40), (3_900, 20), (17_000, 5), (600, 10)]), 80);
        let expected = "     \
     0ns - 1.02us  10 13.3% │██████▏                              │
  1.02us - 2.05us   0  0.0% │                                     │
  2.05us - 4.10us  60 80.0% │█████████████████████████████████████│ p50 p90
  4.10us - 8.19us   0  0.0% │                                     │
  8.19us - 16.4us   0  0.0% │                                     │
  16.4us - 32.8us   5  6.7% │███▏                                 │ p99
";
        assert_eq!(drawn, expected, "\n{drawn}");
    }

    #[test]
    fn every_value_is_in_one_row() {
        let distribution =
            distribution(&[(0, 3), (1_024, 2), (1 << 33, 4), (1 << 34, 5), (u64::MAX / 64, 6)]);
        let rows = rows(&distribution.buckets);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 20);
        assert_eq!(rows.last().map(|row| (row.high_ns, row.count)), Some((None, 11)));
        for pair in rows.windows(2) {
            assert_eq!(pair[0].high_ns, Some(pair[1].low_ns));
        }
    }

    #[test]
    fn little_is_not_nothing() {
        assert_eq!(bar(1, 1_000_000, 20), "▏");
        assert_eq!(bar(0, 10, 20), "");
        assert_eq!(bar(10, 10, 20), "█".repeat(20));
    }

    #[test]
    fn nothing_is_said() {
        assert_eq!(draw(&distribution(&[]), 80), "");
        assert_eq!(summary(&distribution(&[])), "nothing measured");
        let said = summary(&distribution(&[(2_000_000, 4)]));
        assert!(said.starts_with("4 times, mean 2.00ms, p50 "), "{said}");
    }
}
