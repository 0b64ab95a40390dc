//! Two accounts of one thing, read side by side again and again.
//!
//! Contract: the kernel's account at the instant of ours is only known to lie between two bounds, since the two cannot be read at
//! once. What the bounds explain is no error, so two accounts that agree differ by exactly 0.

use std::{collections::VecDeque, time::Duration};

use crate::metric::KtimeNs;

/// Readings closer together than this say nothing new.
pub(super) const SPACING: Duration = Duration::from_secs(10);
/// How far back the comparison reaches, at least, once there is so much.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Both accounts at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: KtimeNs,
    /// What was counted so far.
    pub counted: u64,
    /// What the kernel's account was at that instant at least.
    pub least: u64,
    /// And at most.
    pub most: u64,
}

/// How far both rose in a window, in the unit they are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By our count.
    pub counted: u64,
    /// By the kernel's account, in the middle of what it can have been.
    pub expected: u64,
    /// How much more was counted than the kernel's account allows; negative if less.
    pub error: i64,
    /// How long the window is.
    pub span_ns: u64,
}

/// The readings of the window, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(VecDeque<Reading>);

impl Ledger {
    /// Notes a reading. One account that fell began anew, and the comparison with it.
    pub fn note(&mut self, reading: Reading) {
        if let Some(last) = self.0.back() {
            if reading.counted < last.counted || reading.most < last.least {
                self.0.clear();
            } else if reading.at.since(last.at) + SPACING / 20 < SPACING {
                return;
            }
        }
        while self.0.get(1).is_some_and(|second| reading.at.since(second.at) >= WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(reading);
    }

    /// When the last one was.
    pub fn newest(&self) -> Option<KtimeNs> {
        self.0.back().map(|reading| reading.at)
    }

    /// What the window says; `None` before there are two readings.
    pub fn outcome(&self) -> Option<Outcome> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let span_ns = last.at.0.checked_sub(first.at.0).filter(|&ns| ns > 0)?;
        let counted = last.counted - first.counted;
        let least = last.least.saturating_sub(first.most);
        let most = last.most.saturating_sub(first.least);
        let error = if counted > most {
            (counted - most) as i64
        } else {
            -(least.saturating_sub(counted) as i64)
        };
        Some(Outcome { counted, expected: least + (most - least) / 2, error, span_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, counted: u64, least: u64, most: u64) -> Reading {
        Reading { at: KtimeNs(seconds * 1_000_000_000), counted, least, most }
    }

    fn outcome(readings: &[Reading]) -> Option<Outcome> {
        let mut ledger = Ledger::default();
        readings.iter().for_each(|&reading| ledger.note(reading));
        ledger.outcome()
    }

    #[test]
    fn what_the_instants_of_reading_explain_is_no_error() {
        let found = outcome(&[at(0, 100, 95, 105), at(10, 200, 190, 205)]).unwrap();
        assert_eq!(
            found,
            Outcome { counted: 100, expected: 97, error: 0, span_ns: 10_000_000_000 }
        );
    }

    #[test]
    fn more_and_less_than_the_kernel_allows() {
        let error = |counted| outcome(&[at(0, 0, 0, 0), at(10, counted, 90, 110)]).unwrap().error;
        assert_eq!((error(130), error(100), error(0)), (20, 0, -90));
    }

    #[test]
    fn one_reading_says_nothing_and_those_in_between_change_nothing() {
        assert_eq!(outcome(&[at(0, 5, 5, 5)]), None);
        assert_eq!(outcome(&[at(0, 5, 5, 5), at(3, 7, 9, 9)]), None);
    }

    #[test]
    fn the_window_moves_on() {
        let readings: Vec<_> = (0..20).map(|i| at(i * 10, i, i, i)).collect();
        let found = outcome(&readings).unwrap();
        assert_eq!((found.counted, found.span_ns), (6, 60_000_000_000));
        // What went wrong a while ago is history.
        let mut readings = readings;
        readings[1].counted = 0;
        assert_eq!(outcome(&readings).unwrap().error, 0);
    }

    #[test]
    fn an_account_that_begins_anew_is_not_compared_with_what_was() {
        assert_eq!(outcome(&[at(0, 50, 50, 50), at(10, 3, 60, 60)]), None);
        assert_eq!(outcome(&[at(0, 50, 50, 50), at(10, 60, 3, 3)]), None);
    }
}
