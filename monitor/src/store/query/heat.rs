//! A distribution over time: the buckets of each step, as heat maps draw them.

use std::collections::HashSet;

use super::{
    ask::{Grid, Query},
    cell::{Gains, add},
    error::QueryError,
    evaluate::{check_size, one_kind},
    labels::select,
};
use crate::{
    metric::Kind,
    store::{
        id::SeriesId,
        point::{Gain, Points},
        reading::Read,
        snapshot::Snapshot,
        tier::STEP_MS,
    },
};

/// Several distributions merged, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// The first instant, ms.
    pub start_ms: u64,
    /// The end, not in it, ms.
    pub end_ms: u64,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// The coarsest points it was made from, ms.
    pub resolution_ms: u64,
    /// How many series were merged: those with a point in the range.
    pub merged: usize,
    /// What each step gained; `None` where nothing was measured.
    pub steps: Gains,
}

/// All series that a question means, merged; what it says of functions and groups is not looked at.
///
/// # Errors
/// [`QueryError`]; also for what is no distribution.
pub fn heat(snapshot: &Snapshot, query: &Query) -> Result<Heat, QueryError> {
    let grid = Grid::of(query)?;
    let selected = select(snapshot, Some(&query.metric), &query.matchers)?;
    check_size(query, &grid, selected.len())?;
    let (kind, _) = one_kind(&selected);
    if !selected.is_empty() && kind != Kind::Distribution {
        let what = format!("{} is a {kind}, which has no buckets", query.metric);
        return Err(QueryError::invalid(what, "ask /api/v1/query for it"));
    }
    let segments = snapshot.segments(grid.tier, grid.start_ms, grid.end_ms())?;
    let reading = snapshot.reading(&segments)?;
    let mut step_at: Vec<Vec<Option<usize>>> = vec![];
    for (segment, instants) in reading.stretches() {
        let is_in = |at_ms: &u64| (segment.from_ms..segment.to_ms).contains(at_ms);
        let step_of = |at_ms: u64| Some(at_ms).filter(is_in).and_then(|at_ms| grid.step_of(at_ms));
        step_at.push(instants.iter().map(|instant| step_of(instant.at_ms)).collect());
    }
    let mut steps: Gains = vec![None; grid.steps as usize];
    let ids: Vec<SeriesId> = selected.iter().map(|(row, _)| row.id).collect();
    let mut merged = HashSet::new();
    reading.read(&ids, &mut |read| {
        let Read::Points { id, stretch, points: Points::Distribution(points) } = read else {
            return;
        };
        for (at, point) in points {
            let place = step_at.get(stretch).and_then(|steps| steps.get(at as usize));
            if let Some(step) = place.copied().flatten() {
                merged.insert(id);
                add(&mut steps[step], point, Gain::merge);
            }
        }
    })?;
    let coarsest = segments.iter().map(|segment| STEP_MS[segment.tier]).max();
    Ok(Heat {
        start_ms: grid.start_ms,
        end_ms: grid.end_ms(),
        step_ms: grid.step_ms,
        resolution_ms: coarsest.unwrap_or(STEP_MS[grid.tier]),
        merged: merged.len(),
        steps,
    })
}

#[cfg(test)]
#[path = "heat_tests.rs"]
mod tests;
