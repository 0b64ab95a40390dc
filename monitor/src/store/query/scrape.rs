//! History as a scraper of `/metrics` would have seen it: the same names and labels, samples instead of growth.
//!
//! What is exact: between two samples of a counter, a bucket, a sum or a count lies what was measured between their instants;
//! none ever falls. A series that is new begins with a sample of what it was before its first growth: 0. A series that is not
//! measured any more ends at the next instant, and all end where a gap follows, instead of going on for minutes.
//!
//! What is not: totals count from a midnight (UTC), 6 to 30 hours before what is asked for, or from where history begins, not
//! from the start of the daemon; what happened while no daemon ran is in none. Where the finest points are kept no longer, or
//! are too many for the question, a sample is that of 10 s, 1 or 10 minutes, stamped at its end: a gauge's is its mean.

use std::collections::HashMap;

use super::{
    error::QueryError,
    labels::{Labels, labels_of},
    running::{Axis, Growth, Stamp},
};
use crate::{
    metric::{EXPOSED_BOUNDS, Kind, Unit, exposed_bounds_ns},
    store::{
        database::{Named, SeriesRow},
        id::SeriesId,
        reading,
        snapshot::{Segment, Snapshot},
        tier::{STEP_MS, TIERS},
    },
};

/// The label of a metric's name.
pub const NAME: &str = "__name__";
/// The label of a bucket's bound.
const BOUND: &str = "le";

/// Coarser points are taken while there would be more samples than this.
const MANY_SAMPLES: u64 = 500_000;
/// Points that a window must hold at least.
const POINTS_OF_WINDOW: i64 = 4;
const DAY_MS: i64 = 86_400_000;
/// How long before what is asked for totals begin at least.
const LEAST_BEFORE_MS: i64 = 6 * 3_600_000;

/// A label's value by its name, empty when it is not there.
pub type LabelOf<'a> = &'a dyn Fn(&str) -> &'a str;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The one name that can be meant, if it is known.
    pub name: Option<&'a str>,
    /// Whether a series is meant, by its labels and its name under [`NAME`].
    pub is_meant: &'a dyn for<'b> Fn(LabelOf<'b>) -> bool,
    /// Samples later than this, ms.
    pub after_ms: i64,
    /// And not later than this, ms.
    pub until_ms: i64,
    /// How far apart the instants of evaluation are, ms; 0 for one.
    pub step_ms: i64,
    /// How long the windows are that are looked at, ms.
    pub window_ms: i64,
    /// Before this, totals begin, ms: the same for all that are compared.
    pub totals_before_ms: i64,
    /// The most series.
    pub max_series: usize,
    /// The most samples.
    pub max_samples: usize,
}

/// A series as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// Its name and labels.
    pub labels: Labels,
    row: usize,
    column: usize,
}

/// A series with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Scraped {
    /// Its name and labels.
    pub labels: Labels,
    /// Instants, ms, and values; `None` where it ends.
    pub samples: Vec<(i64, Option<f64>)>,
}

/// The series that are meant, as they are published, without samples.
///
/// # Errors
/// More than `max_series`, or that history cannot be read.
pub fn exposed(
    snapshot: &Snapshot,
    name: Option<&str>,
    is_meant: &dyn for<'b> Fn(LabelOf<'b>) -> bool,
    max_series: usize,
) -> Result<Vec<Labels>, QueryError> {
    let (_, exposed) = select(snapshot, name, is_meant, max_series)?;
    Ok(exposed.into_iter().map(|series| series.labels).collect())
}

fn select(
    snapshot: &Snapshot,
    name: Option<&str>,
    is_meant: &dyn for<'b> Fn(LabelOf<'b>) -> bool,
    max_series: usize,
) -> Result<(Vec<SeriesRow>, Vec<Exposed>), QueryError> {
    let rows = match name {
        None => snapshot.series(None)?,
        Some(name) => {
            let mut rows = snapshot.series(Some(name))?;
            for base in ["_bucket", "_sum", "_count"].iter().filter_map(|s| name.strip_suffix(s)) {
                rows.extend(snapshot.series(Some(base))?);
            }
            rows
        }
    };
    let named = snapshot.named()?;
    let bounds = bounds();
    let mut exposed = vec![];
    for (row, series) in rows.iter().enumerate() {
        publish(row, series, &named, &bounds, is_meant, &mut exposed);
        if exposed.len() > max_series {
            return Err(QueryError::invalid(
                format!("more than {max_series} series are meant"),
                "name a metric, or choose fewer by their labels",
            ));
        }
    }
    Ok((rows, exposed))
}

/// Bounds as the exposition writes them.
fn bounds() -> Vec<String> {
    let text = |bound_ns: u64| match bound_ns {
        u64::MAX => "+Inf".to_owned(),
        _ => dtoa::Buffer::new().format(in_unit(Unit::Seconds, bound_ns as f64)).to_owned(),
    };
    exposed_bounds_ns().into_iter().map(text).collect()
}

/// As the exposition has it; dividing gives the nearest float, which multiplying by 1e-9 does not.
fn in_unit(unit: Unit, kept: f64) -> f64 {
    if unit == Unit::Seconds { kept / 1e9 } else { kept }
}

/// Adds what is meant of one stored series.
fn publish(
    row: usize,
    series: &SeriesRow,
    named: &HashMap<String, Named>,
    bounds: &[String],
    is_meant: &dyn for<'b> Fn(LabelOf<'b>) -> bool,
    exposed: &mut Vec<Exposed>,
) {
    let labels = labels_of(series, named);
    let mut add = |name: &str, bound: Option<&str>, column: usize| {
        let label = |wanted: &str| match wanted {
            NAME => name,
            BOUND if bound.is_some() => bound.unwrap_or_default(),
            _ => labels.get(wanted).map_or("", String::as_str),
        };
        if is_meant(&label) {
            let mut labels = labels.clone();
            labels.insert(NAME.to_owned(), name.to_owned());
            if let Some(bound) = bound {
                labels.insert(BOUND.to_owned(), bound.to_owned());
            }
            exposed.push(Exposed { labels, row, column });
        }
    };
    let metric = &series.metric;
    if series.kind() != Kind::Distribution {
        return add(metric, None, 0);
    }
    let name = format!("{metric}_bucket");
    for (column, bound) in bounds.iter().enumerate() {
        add(&name, Some(bound), column);
    }
    add(&format!("{metric}_sum"), None, EXPOSED_BOUNDS);
    add(&format!("{metric}_count"), None, EXPOSED_BOUNDS - 1);
}

/// Reads what is meant.
///
/// # Errors
/// Too many series or samples, or that history cannot be read.
pub fn scrape(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Result<Vec<Scraped>, QueryError> {
    // Known are those of the dead, too: many more than have samples in any one time.
    let known = wanted.max_series.saturating_mul(8);
    let (rows, exposed) = select(snapshot, wanted.name, wanted.is_meant, known)?;
    if exposed.is_empty() || wanted.until_ms < 0 {
        return Ok(vec![]);
    }
    let mut read = Read::new(&rows, &exposed, wanted);
    let tier = tier_of(wanted, exposed.len() as u64);
    for segment in segments(snapshot, wanted, tier, read.is_running())? {
        read.segment(snapshot, segment)?;
    }
    read.finish(&exposed)
}

/// The finest tier that does not give too many samples, but none too coarse for the windows and steps.
fn tier_of(wanted: &Wanted<'_>, series: u64) -> usize {
    let range_ms = wanted.until_ms.saturating_sub(wanted.after_ms).max(0) as u64;
    let mut tier = 0;
    while tier + 1 < TIERS && (range_ms / STEP_MS[tier]).saturating_mul(series) > MANY_SAMPLES {
        let next_ms = STEP_MS[tier + 1] as i64;
        let is_fine = next_ms.saturating_mul(POINTS_OF_WINDOW) <= wanted.window_ms
            && (wanted.step_ms == 0 || next_ms <= wanted.step_ms);
        if !is_fine {
            break;
        }
        tier += 1;
    }
    tier
}

/// What to read: coarsely what totals are made of, then what is asked for, and its last points finely, for a coarser one may
/// not be complete.
fn segments(
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    tier: usize,
    is_running: bool,
) -> Result<Vec<Segment>, QueryError> {
    let coarsest_ms = STEP_MS[TIERS - 1] as i64;
    let ms = |at_ms: i64| at_ms.max(0) as u64;
    let aligned = |at_ms: i64, to_ms: i64| at_ms.div_euclid(to_ms).saturating_mul(to_ms);
    // One point more, for the first in a window to have one before it.
    let begin_ms = aligned(wanted.after_ms.saturating_sub(coarsest_ms), coarsest_ms);
    let last_ms = aligned(wanted.until_ms, STEP_MS[tier] as i64);
    let totals_ms = aligned(wanted.totals_before_ms.saturating_sub(LEAST_BEFORE_MS), DAY_MS);
    let mut segments = vec![];
    let mut add = |tier: usize, from_ms: i64, to_ms: i64| -> Result<(), QueryError> {
        if ms(from_ms) < ms(to_ms) {
            segments.extend(snapshot.segments(tier, ms(from_ms), ms(to_ms))?);
        }
        Ok(())
    };
    if is_running {
        add(TIERS - 1, totals_ms, begin_ms)?;
    }
    add(tier, begin_ms, last_ms)?;
    add(0, last_ms.max(begin_ms), wanted.until_ms.saturating_add(1))?;
    Ok(segments)
}

struct Read<'a> {
    wanted: &'a Wanted<'a>,
    /// Each stored series once.
    ids: Vec<SeriesId>,
    rows: HashMap<SeriesId, usize>,
    /// Of each row that is read.
    growth: HashMap<usize, (Growth, Unit)>,
    /// How many published series are made of each row.
    published: HashMap<usize, usize>,
    stamps: Vec<Stamp>,
    samples: usize,
}

impl<'a> Read<'a> {
    fn new(rows: &[SeriesRow], exposed: &[Exposed], wanted: &'a Wanted<'a>) -> Self {
        let mut published: HashMap<usize, usize> = HashMap::new();
        exposed.iter().for_each(|series| *published.entry(series.row).or_default() += 1);
        let of = |&row: &usize| (row, (Growth::none(rows[row].kind()), rows[row].unit));
        let growth: HashMap<usize, (Growth, Unit)> = published.keys().map(of).collect();
        let ids: Vec<SeriesId> = growth.keys().map(|&row| rows[row].id).collect();
        let rows = growth.keys().map(|&row| (rows[row].id, row)).collect();
        Self { wanted, ids, rows, growth, published, stamps: vec![], samples: 0 }
    }

    fn is_running(&self) -> bool {
        self.growth.values().any(|(growth, _)| growth.is_running())
    }

    fn segment(&mut self, snapshot: &Snapshot, segment: Segment) -> Result<(), QueryError> {
        let reading = snapshot.reading(&[segment])?;
        let instants: Vec<_> = reading.stretches().map(|(_, instants)| instants).collect();
        let stamps = instants.iter().copied().flatten();
        self.stamps.extend(stamps.filter_map(|instant| Stamp::of(instant, segment)));
        let Self { rows, growth, published, samples, wanted, .. } = self;
        reading.read(&self.ids, &mut |read| {
            let reading::Read::Points { id, stretch, points } = read else { return };
            let Some(row) = rows.get(&id) else { return };
            let Some((growth, _)) = growth.get_mut(row) else { return };
            if *samples > wanted.max_samples {
                return;
            }
            let stamp = |at: u32| Stamp::of(instants[stretch].get(at as usize)?, segment);
            *samples += growth.add(points, stamp) * published.get(row).copied().unwrap_or(1);
        })?;
        if *samples > wanted.max_samples {
            return Err(QueryError::invalid(
                format!("more than {} samples are meant", wanted.max_samples),
                "choose fewer series, a shorter time, or a longer window and step",
            ));
        }
        Ok(())
    }

    fn finish(mut self, exposed: &[Exposed]) -> Result<Vec<Scraped>, QueryError> {
        let axis = Axis::new(std::mem::take(&mut self.stamps));
        self.growth.values_mut().for_each(|(growth, _)| growth.sort());
        let mut scraped = vec![];
        for series in exposed {
            let Some((growth, unit)) = self.growth.get(&series.row) else { continue };
            // A column that counts has no unit.
            let is_count = series.labels.contains_key(BOUND)
                || matches!(growth, Growth::Distribution(_)) && series.column < EXPOSED_BOUNDS;
            let unit = if is_count { Unit::Count } else { *unit };
            let samples = self.samples_of(growth, series.column, unit, &axis);
            if !samples.is_empty() {
                scraped.push(Scraped { labels: series.labels.clone(), samples });
            }
        }
        if scraped.len() > self.wanted.max_series {
            return Err(QueryError::invalid(
                format!(
                    "{} series are meant, and {} are the most",
                    scraped.len(),
                    self.wanted.max_series
                ),
                "choose fewer by their labels",
            ));
        }
        Ok(scraped)
    }

    fn samples_of(
        &self,
        growth: &Growth,
        column: usize,
        unit: Unit,
        axis: &Axis,
    ) -> Vec<(i64, Option<f64>)> {
        let values = growth.values(column);
        let Wanted { after_ms, until_ms, .. } = *self.wanted;
        let is_in = |at_ms: i64| at_ms > after_ms && at_ms <= until_ms;
        let mut samples = vec![];
        if let Some((first, _)) = values.first().filter(|_| growth.is_running())
            && first.begin_ms < first.at_ms
            && is_in(first.begin_ms)
        {
            samples.push((first.begin_ms, Some(0.0)));
        }
        for (i, (stamp, value)) in values.iter().enumerate() {
            let next_ms = values.get(i + 1).map(|(next, _)| next.at_ms);
            if is_in(stamp.at_ms) && next_ms != Some(stamp.at_ms) {
                samples.push((stamp.at_ms, Some(in_unit(unit, *value))));
            }
            if let Some(end_ms) = axis.end_between(stamp.at_ms, next_ms).filter(|at| is_in(*at)) {
                samples.push((end_ms, None));
            }
        }
        samples
    }
}

#[cfg(test)]
#[path = "scrape_tests.rs"]
mod tests;
