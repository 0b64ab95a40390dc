//! Numbers for people: three significant digits and a unit.

use crate::serve::api::{Measured, Measurement};

/// What stands where nothing is known.
pub const UNKNOWN: &str = "-";

/// A length of time: `512ns`, `1.02us`, `16.4ms`, `2.50s`.
pub fn time(ns: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    if ns < 1_000 {
        return format!("{ns}ns");
    }
    let last = UNITS.len() - 1;
    for (i, (unit, size)) in UNITS.iter().enumerate() {
        let digits = three(ns as f64 / size);
        // 999.9 us is 1.00 ms, not 1000 us.
        if i == last || digits.parse::<f64>().is_ok_and(|number| number < 1_000.0) {
            return format!("{digits}{unit}");
        }
    }
    UNKNOWN.to_owned()
}

/// Seconds as a length of time.
pub fn seconds(seconds: f64) -> String {
    time((seconds * 1e9).max(0.0) as u64)
}

/// A share of 1 in percent: `12.3%`.
pub fn share(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A number with a group mark: `12,345`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Memory or traffic: `512B`, `1.50MiB`.
pub fn bytes(bytes: f64) -> String {
    let mut size = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" {
                format!("{size:.0}B")
            } else {
                format!("{}{unit}", three(size))
            };
        }
        size /= 1024.0;
    }
    format!("{}TiB", three(size))
}

/// Any number, short: `0`, `0.123`, `12.3`, `12.3k`, `4.56M`.
pub fn plain(number: f64) -> String {
    let size = number.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if size < 999.5 => three(number),
        _ if size < 999_500.0 => format!("{}k", three(number / 1e3)),
        _ if size < 999_500_000.0 => format!("{}M", three(number / 1e6)),
        _ => format!("{}G", three(number / 1e9)),
    }
}

/// Any metric in one cell: a counter as its rate, a gauge as it is, a distribution as its p99. Series that differ in
/// their labels add up, and of distributions the longest is shown.
pub fn cell<'a>(series: impl IntoIterator<Item = &'a Measurement>) -> String {
    let mut sum: Option<(f64, &str, bool)> = None;
    let mut longest_ns: Option<u64> = None;
    for one in series {
        match &one.value {
            Measured::Counter { per_second: Some(rate), .. } => {
                sum = Some((sum.map_or(0.0, |s| s.0) + rate, &one.unit, true));
            }
            Measured::Gauge { value } => {
                sum = Some((sum.map_or(0.0, |s| s.0) + value, &one.unit, false));
            }
            Measured::Distribution(distribution) => {
                longest_ns = longest_ns.max(distribution.p99_ns);
            }
            Measured::Counter { per_second: None, .. } => {}
        }
    }
    match (longest_ns, sum) {
        (Some(ns), _) => time(ns),
        (None, Some((number, unit, is_rate))) => {
            let per = if is_rate { "/s" } else { "" };
            match unit {
                "seconds" => format!("{}{per}", seconds(number)),
                "bytes" => format!("{}{per}", bytes(number)),
                "ratio" => format!("{}{per}", share(number)),
                _ => format!("{}{per}", plain(number)),
            }
        }
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// Three significant digits, no exponent.
fn three(number: f64) -> String {
    let size = number.abs();
    let decimals = match size {
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (ns, expected) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00us"),
            (1_024, "1.02us"),
            (16_384, "16.4us"),
            (131_072, "131us"),
            (999_499, "999us"),
            (999_999, "1.00ms"),
            (2_500_000_000, "2.50s"),
            (600_000_000_000, "600s"),
        ] {
            assert_eq!(time(ns), expected, "{ns}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(
            (count(0), count(999), count(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!((plain(0.5), plain(12_345.0)), ("0.500".into(), "12.3k".into()));
        assert_eq!((bytes(0.0), bytes(1_572_864.0)), ("0B".into(), "1.50MiB".into()));
        assert_eq!(share(0.1234), "12.3%");
    }

    #[test]
    fn any_metric_in_a_cell() {
        let one = |unit: &str, value| Measurement {
            name: String::new(),
            title: String::new(),
            unit: unit.to_owned(),
            labels: Default::default(),
            value,
        };
        let rate = |r| Measured::Counter { total: 9.0, per_second: Some(r) };
        assert_eq!(cell(&[one("count", rate(1.0)), one("count", rate(2.0))]), "3.00/s");
        assert_eq!(cell(&[one("seconds", rate(0.25))]), "250ms/s");
        assert_eq!(cell(&[one("bytes", Measured::Gauge { value: 2048.0 })]), "2.00KiB");
        assert_eq!(cell(&[]), UNKNOWN);
    }
}
