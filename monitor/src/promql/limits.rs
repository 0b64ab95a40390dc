//! How much one query may take, and what it may assume.

use std::time::Duration;

/// How much one query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its text: a list of 500 container ids fits.
    pub text_bytes: usize,
    /// Operators and calls in it: each is a level of the tree at worst.
    pub operators: usize,
    /// Parentheses within parentheses.
    pub nesting: usize,
    /// Regular expressions in it: each may take megabytes when it is compiled.
    pub regexes: usize,
    /// Steps of a range, and of a subquery.
    pub steps: usize,
    /// Series that one selector reads.
    pub series: usize,
    /// Samples that one query reads, all its selectors together.
    pub samples: usize,
    /// Series times steps that one part of it comes to.
    pub cells: usize,
    /// Until it is given up.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 64 << 10,
            operators: 500,
            nesting: 64,
            regexes: 32,
            steps: 11_000,
            series: 20_000,
            // 16 MB, and as much again while they are read.
            samples: 1_000_000,
            // 32 MB.
            cells: 2_000_000,
            time: Duration::from_secs(30),
        }
    }
}

/// How a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How old the last sample of a series may be for it to count, ms.
    pub lookback_ms: i64,
    /// The step of subqueries that do not say, ms.
    pub subquery_step_ms: i64,
    /// How much it may take.
    pub limits: Limits,
}

impl Default for Options {
    /// As Prometheus does unless it is told otherwise.
    fn default() -> Self {
        Self { lookback_ms: 300_000, subquery_step_ms: 60_000, limits: Limits::default() }
    }
}
