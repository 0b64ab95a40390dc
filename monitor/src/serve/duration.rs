//! Lengths of time as people write them: `10s`, `100ms`, `1m30s`, `250us`, `2h`; a bare number is seconds.
//!
//! Contract: [`Span`] prints what it would parse.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time with its text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time; write it like 10s, 100ms or 1m30s")]
pub struct SpanError(String);

/// Units, longest first, in ns.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SpanError(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total_ns = 0u64;
        while !rest.is_empty() {
            let number_end =
                rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_end);
            let unit_end =
                after.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            let is_bare = unit.is_empty() && number_end == text.trim().len();
            let unit = match unit {
                "" if is_bare => "s",
                "µs" => "us",
                "min" => "m",
                unit => unit,
            };
            let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let part_ns = number * *unit_ns as f64;
            if part_ns >= u64::MAX as f64 {
                return Err(wrong());
            }
            total_ns = total_ns.checked_add(part_ns.round() as u64).ok_or_else(wrong)?;
            rest = after;
        }
        Ok(Self(Duration::from_nanos(total_ns)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ns = self.0.as_nanos();
        if rest_ns == 0 {
            return f.write_str("0s");
        }
        for (unit, unit_ns) in UNITS {
            let whole = rest_ns / u128::from(unit_ns);
            if whole > 0 {
                write!(f, "{whole}{unit}")?;
                rest_ns %= u128::from(unit_ns);
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> Option<u128> {
        text.parse::<Span>().ok().map(|span| span.0.as_millis())
    }

    #[test]
    fn as_people_write_it() {
        let cases = [
            ("10s", 10_000),
            ("100ms", 100),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("10", 10_000),
            ("0.1", 100),
            ("2h", 7_200_000),
            ("1min", 60_000),
            ("0", 0),
            (" 3s ", 3_000),
        ];
        for (text, expected) in cases {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time() {
        for text in ["", "s", "10x", "-1s", "1s2", "1..2s", "1e9s", "nan", "99999999999999h", "∞"]
        {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_is_the_same(micros in 0u64..4_000_000_000_000) {
            let span = Span(Duration::from_micros(micros));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Span>();
        }
    }
}
