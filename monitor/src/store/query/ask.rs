//! What is asked.

use std::str::FromStr;

use super::error::QueryError;
use crate::{
    metric::Kind,
    store::tier::{STEP_MS, TIERS},
};

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The metric's name.
    pub metric: String,
    /// Which of its series; all must agree.
    pub matchers: Vec<Matcher>,
    /// The first instant, ms since the epoch.
    pub start_ms: u64,
    /// The end, not in it.
    pub end_ms: u64,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// What to make of the measurements of a step; `None` takes what suits the metric.
    pub function: Option<Function>,
    /// Labels by which series are taken together; `None` leaves each by itself, none at all makes one of them all.
    pub by: Option<Vec<String>>,
    /// How they are taken together; `None` takes what suits the function.
    pub aggregate: Option<Aggregate>,
    /// How much one question may take.
    pub limits: Limits,
}

/// How much one question may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the range.
    pub steps: u64,
    /// Series that are read.
    pub series: usize,
    /// Steps times series.
    pub cells: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 11_000, series: 5_000, cells: 1_000_000 }
    }
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// Its value; of `container` also the container's id or the beginning of it.
    pub value: String,
    /// Whether the label must differ from it instead.
    pub is_not: bool,
}

impl FromStr for Matcher {
    type Err = QueryError;

    /// `label=value` or `label!=value`.
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let wrong = || {
            let what = format!("{text:?} is no condition");
            QueryError::invalid(what, "write label=value or label!=value")
        };
        let (label, value) = text.split_once('=').ok_or_else(wrong)?;
        let (label, is_not) = match label.strip_suffix('!') {
            Some(label) => (label, true),
            None => (label, false),
        };
        if label.is_empty() || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(wrong());
        }
        Ok(Self { label: label.to_owned(), value: value.to_owned(), is_not })
    }
}

/// What to make of the measurements of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// Growth, or values of a distribution, per second that was measured.
    Rate,
    /// Growth, or values of a distribution.
    Increase,
    /// Mean of a gauge, or of the values of a distribution.
    Mean,
    /// The smallest: of a counter, growth from one measurement to the next.
    Min,
    /// The largest.
    Max,
    /// Measurements; of a distribution, values.
    Count,
    /// The value below which this share of a distribution lies.
    Quantile(f64),
}

impl Function {
    /// All of them, with the quantile that is meant when none is said.
    pub const ALL: [Self; 7] = [
        Self::Rate,
        Self::Increase,
        Self::Mean,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Quantile(0.99),
    ];

    /// What suits a kind of metric.
    pub fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Rate,
            Kind::Gauge => Self::Mean,
            Kind::Distribution => Self::Quantile(0.99),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Increase => "increase",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Quantile(_) => "quantile",
        }
    }

    /// By its name; `q` is the share of a quantile.
    ///
    /// # Errors
    /// [`QueryError::Invalid`].
    pub fn parse(name: &str, q: Option<f64>) -> Result<Self, QueryError> {
        let function = match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "quantile" => Self::Quantile(q.unwrap_or(0.99)),
            _ => {
                let what = format!("there is no function {name:?}");
                let remedy = "name one of rate, increase, mean, min, max, count, quantile";
                return Err(QueryError::invalid(what, remedy));
            }
        };
        match (function, q) {
            (Self::Quantile(q), _) if !(0.0..=1.0).contains(&q) => Err(QueryError::invalid(
                format!("there is no quantile {q}"),
                "give q from 0 to 1, like 0.99",
            )),
            (Self::Quantile(_), _) | (_, None) => Ok(function),
            (_, Some(_)) => {
                Err(QueryError::invalid(format!("{name} takes no q"), "ask for fn=quantile"))
            }
        }
    }

    /// Whether it can be asked of a kind of metric.
    ///
    /// # Errors
    /// [`QueryError::Invalid`].
    pub fn check(self, metric: &str, kind: Kind) -> Result<(), QueryError> {
        let allowed: &[&str] = match kind {
            Kind::Counter => &["rate", "increase", "min", "max", "count"],
            Kind::Gauge => &["mean", "min", "max", "count"],
            Kind::Distribution => &["quantile", "mean", "min", "max", "rate", "increase", "count"],
        };
        if allowed.contains(&self.name()) {
            return Ok(());
        }
        let what = format!("{metric} is a {kind}, which has no {}", self.name());
        Err(QueryError::invalid(what, format!("ask for one of {}", allowed.join(", "))))
    }
}

/// How series are taken together. Distributions are always merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Added.
    Sum,
    /// Their mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sum, Self::Mean, Self::Min, Self::Max];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// What suits a function.
    pub fn default_of(function: Function) -> Self {
        match function {
            Function::Rate | Function::Increase | Function::Count => Self::Sum,
            Function::Mean | Function::Quantile(_) => Self::Mean,
            Function::Min => Self::Min,
            Function::Max => Self::Max,
        }
    }
}

impl FromStr for Aggregate {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let named = Self::ALL.into_iter().find(|aggregate| aggregate.name() == text);
        named.ok_or_else(|| {
            QueryError::invalid(
                format!("series cannot be taken together by {text:?}"),
                "name one of sum, mean, min, max",
            )
        })
    }
}

/// A range in steps, and the tier that gives it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first instant, ms.
    pub start_ms: u64,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// How many.
    pub steps: u64,
    /// The coarsest tier whose points each lie in one step.
    pub tier: usize,
}

impl Grid {
    /// Of a question. With several steps the range begins at a multiple of the step; a single step is as long as was asked, or up
    /// to a 60th longer on either side.
    ///
    /// # Errors
    /// [`QueryError::Invalid`].
    pub fn of(query: &Query) -> Result<Self, QueryError> {
        let &Query { start_ms, end_ms, step_ms, limits, .. } = query;
        let Some(range_ms) = end_ms.checked_sub(start_ms).filter(|range| *range > 0) else {
            return Err(QueryError::invalid(
                "the range ends before it begins",
                "give a start before the end",
            ));
        };
        if step_ms < STEP_MS[0] {
            return Err(QueryError::invalid(
                format!("a step of {step_ms} ms is finer than history"),
                "give a step of 1s or more",
            ));
        }
        let fits = |tier: &usize| {
            let tier_ms = STEP_MS[*tier];
            step_ms.is_multiple_of(tier_ms)
                && (range_ms > step_ms
                    || tier_ms * 60 <= step_ms
                    || start_ms.is_multiple_of(tier_ms))
        };
        let tier = (0..TIERS).rev().find(fits).unwrap_or(0);
        let tier_ms = STEP_MS[tier];
        if range_ms <= step_ms {
            // Outwards on both sides, so that nothing that was asked for is left out.
            let start_ms = start_ms / tier_ms * tier_ms;
            let step_ms = (end_ms - start_ms).div_ceil(tier_ms).saturating_mul(tier_ms);
            return Ok(Self { start_ms, step_ms, steps: 1, tier });
        }
        let start_ms = start_ms / step_ms * step_ms;
        let steps = (end_ms - start_ms).div_ceil(step_ms);
        if steps > limits.steps {
            return Err(QueryError::invalid(
                format!("the range has {steps} steps, and {} are the most", limits.steps),
                format!("give a step of {} s or more", (range_ms / limits.steps).div_ceil(1_000)),
            ));
        }
        Ok(Self { start_ms, step_ms, steps, tier })
    }

    /// The end, not in it, ms.
    pub fn end_ms(&self) -> u64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(self.steps))
    }

    /// The step of an instant.
    pub fn step_of(&self, at_ms: u64) -> Option<usize> {
        let step = at_ms.checked_sub(self.start_ms)? / self.step_ms;
        (step < self.steps).then_some(step as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(start_ms: u64, end_ms: u64, step_ms: u64) -> Result<Grid, QueryError> {
        Grid::of(&Query {
            metric: String::new(),
            matchers: vec![],
            start_ms,
            end_ms,
            step_ms,
            function: None,
            by: None,
            aggregate: None,
            limits: Limits::default(),
        })
    }

    #[test]
    fn the_coarsest_tier_that_is_exact() {
        let tier = |start, end, step| {
            grid(start, end, step).map(|g| (g.start_ms, g.steps, g.tier)).unwrap()
        };
        assert_eq!(tier(12_345, 72_345, 1_000), (12_000, 61, 0));
        assert_eq!(tier(12_345, 72_345, 15_000), (0, 5, 0), "15 s are no whole points of 10 s");
        assert_eq!(tier(12_345, 72_345, 10_000), (10_000, 7, 1));
        assert_eq!(tier(0, 86_400_000, 60_000), (0, 1_440, 2));
        assert_eq!(tier(0, 86_400_000, 3_600_000), (0, 24, 3));
        // One window: a day to ten minutes, an hour to a minute, a minute to a second.
        assert_eq!(tier(1_234_567, 1_234_567 + 86_400_000, 86_400_000), (1_200_000, 1, 3));
        assert_eq!(tier(1_234_567, 1_234_567 + 3_600_000, 3_600_000), (1_200_000, 1, 2));
        assert_eq!(tier(1_234_567, 1_234_567 + 60_000, 60_000), (1_234_000, 1, 0));
    }

    #[test]
    fn senseless_ranges_are_refused() {
        for (start, end, step) in [
            (5, 5, 1_000),
            (6, 5, 1_000),
            (0, 9_000, 999),
            (0, 12_000_000, 1_000),
            (0, u64::MAX, 1_000),
        ] {
            assert!(grid(start, end, step).is_err(), "{start} {end} {step}");
        }
        assert!(grid(0, u64::MAX, u64::MAX).is_ok());
        assert!(grid(u64::MAX - 1, u64::MAX, u64::MAX).is_ok());
    }

    #[test]
    fn conditions() {
        let matcher = |text: &str| text.parse::<Matcher>().map(|m| (m.label, m.value, m.is_not));
        assert_eq!(matcher("state=a=b").unwrap(), ("state".into(), "a=b".into(), false));
        assert_eq!(matcher("state!=").unwrap(), ("state".into(), String::new(), true));
        for wrong in ["", "state", "=x", "!=x", "a b=x", "é=x"] {
            assert!(matcher(wrong).is_err(), "{wrong}");
        }
    }
}
