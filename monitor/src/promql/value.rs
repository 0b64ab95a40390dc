//! What expressions come to: label sets, samples, and lines of values over the steps of a query.
//!
//! Contract: labels are sorted by name and none is empty. A line has one place for each step; `None` is no value there.

use std::{fmt, sync::Arc};

use super::error::{PromqlError, Result};

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";

/// Bits of the value that ends a series: the same NaN that Prometheus writes.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that says that a series is no more.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// Whether a value says that its series is no more.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// Names and values, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Arc<str>, Arc<str>)>);

impl Labels {
    /// From pairs in any order; the last of one name counts, and empty values are no labels.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }

    /// The value of a label; empty without it.
    pub fn get(&self, name: &str) -> &str {
        self.place(name).map_or("", |at| &self.0[at].1)
    }

    /// Sets a label, or removes it when the value is empty.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        match (self.place(&name), value.is_empty()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => self.0[at].1 = value,
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, (name, value)),
        }
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.place(name) {
            self.0.remove(at);
        }
    }

    /// Without the metric's name.
    pub fn without_name(mut self) -> Self {
        self.remove(NAME);
        self
    }

    /// Only these.
    pub fn only(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(n, _)| names.iter().any(|m| **m == **n)).cloned().collect())
    }

    /// All but these and the metric's name.
    pub fn except(&self, names: &[String]) -> Self {
        let is_out = |n: &str| n == NAME || names.iter().any(|m| m == n);
        Self(self.0.iter().filter(|(n, _)| !is_out(n)).cloned().collect())
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

impl fmt::Display for Labels {
    /// `name{label="value"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(NAME))?;
        let mut before = "{";
        for (name, value) in self.iter().filter(|(name, _)| *name != NAME) {
            write!(f, "{before}{name}={value:?}")?;
            before = ", ";
        }
        f.write_str(if before == "{" { "{}" } else { "}" })
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, ms since the epoch.
    pub at_ms: i64,
    /// What.
    pub value: f64,
}

/// A series as it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, with the metric's name.
    pub labels: Labels,
    /// Its samples in the order of time, [`STALE`] where it ended.
    pub samples: Vec<Sample>,
}

/// The instants a query is evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first, ms.
    pub start_ms: i64,
    /// Time between two, ms; of any value but 0 for one.
    pub step_ms: i64,
    /// How many.
    pub count: usize,
}

impl Grid {
    /// One instant.
    pub fn instant(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 1, count: 1 }
    }

    /// The `i`th instant.
    pub fn at_ms(&self, i: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(i as i64))
    }

    /// All of them.
    pub fn instants(&self) -> impl Iterator<Item = i64> {
        let grid = *self;
        (0..self.count).map(move |i| grid.at_ms(i))
    }

    /// The last.
    pub fn end_ms(&self) -> i64 {
        self.at_ms(self.count.saturating_sub(1))
    }
}

/// A series over the steps of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its labels.
    pub labels: Labels,
    /// A value for each step.
    pub values: Vec<Option<f64>>,
}

/// What an expression comes to over the steps of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number for each step.
    Scalar(Vec<f64>),
    /// Lines.
    Vector(Vec<Line>),
    /// A text.
    Text(String),
}

/// Lines of equal labels become one; two values in one step are an error.
pub fn merge_equal(mut lines: Vec<Line>) -> Result<Vec<Line>> {
    use std::collections::hash_map::{Entry, HashMap};
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(lines.len());
    let mut merged: Vec<Line> = Vec::with_capacity(lines.len());
    for line in lines.drain(..) {
        match places.entry(line.labels.clone()) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(line);
            }
            Entry::Occupied(place) => {
                for (into, value) in merged[*place.get()].values.iter_mut().zip(line.values) {
                    match (&into, value) {
                        (_, None) => {}
                        (None, value) => *into = value,
                        (Some(_), Some(_)) => {
                            return Err(PromqlError::execution(
                                "vector cannot contain metrics with the same labelset",
                            ));
                        }
                    }
                }
            }
        }
    }
    Ok(merged)
}

/// A number as Prometheus writes it.
pub fn format_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}
