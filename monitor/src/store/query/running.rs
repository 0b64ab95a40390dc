//! What a series gained, instant by instant, as the totals and ends that a scraper would have seen.

use crate::metric::{EXPOSED_BOUNDS, exposed_bound_of};
use crate::store::{
    frame::Instant,
    point::{Gain, Points, Summary},
    snapshot::Segment,
    tier::STEP_MS,
};

/// Instants that lie this much further apart than what they cover have a gap between them, ms.
const SLACK_MS: i64 = 1_500;
/// How long a value counts when a gap follows, ms: as long as it took to come, within these.
const LEAST_LAST_MS: i64 = 1_000;
const MOST_LAST_MS: i64 = 600_000;

/// A measurement on the time axis: what lies in it, and when its value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When its value counts: its instant; of a coarser point 1 ms before its end.
    pub at_ms: i64,
    /// Where what it covers begins.
    pub begin_ms: i64,
}

impl Stamp {
    /// Of an instant in a segment; `None` when it lies outside.
    pub fn of(instant: &Instant, segment: Segment) -> Option<Self> {
        if !(segment.from_ms..segment.to_ms).contains(&instant.at_ms) {
            return None;
        }
        let at_ms = i64::try_from(instant.at_ms).ok()?;
        let covered_ms = i64::try_from(instant.covered_ms).ok()?;
        Some(match segment.tier {
            0 => Self { at_ms, begin_ms: at_ms.saturating_sub(covered_ms) },
            tier => Self { at_ms: at_ms.saturating_add(STEP_MS[tier] as i64 - 1), begin_ms: at_ms },
        })
    }
}

/// Every instant that was measured, and where series end between them.
#[derive(Debug, Default)]
pub struct Axis {
    stamps: Vec<Stamp>,
}

impl Axis {
    /// Of all instants, in any order.
    pub fn new(mut stamps: Vec<Stamp>) -> Self {
        stamps.sort_unstable();
        stamps.dedup_by_key(|stamp| stamp.at_ms);
        Self { stamps }
    }

    /// Where a series ends that was there at `at_ms` and next at `next_ms`; `None` when it went on.
    pub fn end_between(&self, at_ms: i64, next_ms: Option<i64>) -> Option<i64> {
        let place = self.stamps.binary_search_by_key(&at_ms, |stamp| stamp.at_ms).ok()?;
        let (here, next) = (self.stamps[place], self.stamps.get(place + 1)?);
        if next.begin_ms > here.at_ms + SLACK_MS {
            let lasts_ms = (here.at_ms - here.begin_ms).clamp(LEAST_LAST_MS, MOST_LAST_MS);
            return Some((here.at_ms + lasts_ms).min(next.at_ms - 1));
        }
        (next_ms != Some(next.at_ms)).then_some(next.at_ms)
    }
}

/// The columns of a distribution: the cumulative counts of its bounds, then their sum, ns.
pub const COLUMNS: usize = EXPOSED_BOUNDS + 1;

/// The points of one series while it is read.
#[derive(Debug)]
pub enum Growth {
    /// What a counter grew by.
    Counter(Vec<(Stamp, u64)>),
    /// What a gauge was.
    Gauge(Vec<(Stamp, f64)>),
    /// What a distribution gained, by columns.
    Distribution(Vec<(Stamp, Box<[u64; COLUMNS]>)>),
}

impl Growth {
    /// None yet, of what `points` are.
    pub fn none(kind: crate::metric::Kind) -> Self {
        use crate::metric::Kind;
        match kind {
            Kind::Counter => Self::Counter(vec![]),
            Kind::Gauge => Self::Gauge(vec![]),
            Kind::Distribution => Self::Distribution(vec![]),
        }
    }

    /// Adds the points of a piece; `stamp` is `None` for those that do not count. Returns how many were added.
    pub fn add(&mut self, points: Points, stamp: impl Fn(u32) -> Option<Stamp>) -> usize {
        let before = self.len();
        match (&mut *self, points) {
            (Self::Counter(all), Points::Counter(points)) => {
                all.extend(points.iter().filter_map(|(at, point)| Some((stamp(*at)?, point.sum))));
            }
            (Self::Gauge(all), Points::Gauge(points)) => {
                let mean = |point: &Summary<f64>| point.sum / point.count as f64;
                all.extend(
                    points.iter().filter_map(|(at, point)| Some((stamp(*at)?, mean(point)))),
                );
            }
            (Self::Distribution(all), Points::Distribution(points)) => {
                all.extend(
                    points.iter().filter_map(|(at, gain)| Some((stamp(*at)?, columns(gain)))),
                );
            }
            // Of another kind than it is now.
            _ => {}
        }
        self.len() - before
    }

    fn len(&self) -> usize {
        match self {
            Self::Counter(points) => points.len(),
            Self::Gauge(points) => points.len(),
            Self::Distribution(points) => points.len(),
        }
    }

    /// In the order of time; pieces need not come so after the clock was set back.
    pub fn sort(&mut self) {
        match self {
            Self::Counter(points) => points.sort_by_key(|(stamp, _)| *stamp),
            Self::Gauge(points) => points.sort_by_key(|(stamp, _)| *stamp),
            Self::Distribution(points) => points.sort_by_key(|(stamp, _)| *stamp),
        }
    }

    /// The values over time of a counter or gauge, or of one column of a distribution.
    pub fn values(&self, column: usize) -> Vec<(Stamp, f64)> {
        match self {
            Self::Counter(points) => totals(points.iter().map(|(stamp, n)| (*stamp, *n))),
            Self::Gauge(points) => points.clone(),
            Self::Distribution(points) => {
                totals(points.iter().map(|(stamp, columns)| (*stamp, columns[column])))
            }
        }
    }

    /// Whether its values count up.
    pub fn is_running(&self) -> bool {
        !matches!(self, Self::Gauge(_))
    }
}

fn totals(growth: impl Iterator<Item = (Stamp, u64)>) -> Vec<(Stamp, f64)> {
    let mut total = 0u64;
    let add = |(stamp, n): (Stamp, u64)| {
        total = total.saturating_add(n);
        (stamp, total as f64)
    };
    growth.map(add).collect()
}

fn columns(gain: &Gain) -> Box<[u64; COLUMNS]> {
    let mut columns = Box::new([0u64; COLUMNS]);
    for &(bucket, n) in &gain.buckets {
        let bound = exposed_bound_of(usize::from(bucket)).min(EXPOSED_BOUNDS - 1);
        columns[bound] = columns[bound].saturating_add(n);
    }
    for bound in 1..EXPOSED_BOUNDS {
        columns[bound] = columns[bound].saturating_add(columns[bound - 1]);
    }
    columns[EXPOSED_BOUNDS] = gain.sum_ns;
    columns
}
