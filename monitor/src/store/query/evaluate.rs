//! From a question to its answer.

use std::collections::{BTreeMap, HashMap};

use super::{
    ask::{Aggregate, Function, Grid, Query},
    cell::{Gains, Scalars, Together, add, distribution, scalar},
    error::QueryError,
    labels::{Labels, select},
};
use crate::{
    metric::{Kind, Unit},
    store::{
        database::SeriesRow,
        id::SeriesId,
        point::{Gain, Points, Summary},
        snapshot::{Segment, Snapshot},
        tier::STEP_MS,
    },
};

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How the metric behaves.
    pub kind: Kind,
    /// What its numbers mean.
    pub unit: Unit,
    /// What was made of the measurements.
    pub function: Function,
    /// The first instant, ms.
    pub start_ms: u64,
    /// The end, not in it, ms.
    pub end_ms: u64,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// How many.
    pub steps: usize,
    /// The coarsest points it was made from, ms.
    pub resolution_ms: u64,
    /// Series, or groups of them, in the order of their labels; those without any value are left out.
    pub series: Vec<AnswerSeries>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerSeries {
    /// Its labels: all of a series, or those it is a group by.
    pub labels: Labels,
    /// How many series it is made of.
    pub merged: usize,
    /// A value for each step; `None` where nothing was measured.
    pub values: Vec<Option<f64>>,
}

/// Answers a question.
///
/// # Errors
/// [`QueryError`].
pub fn evaluate(snapshot: &Snapshot, query: &Query) -> Result<Answer, QueryError> {
    let grid = Grid::of(query)?;
    let selected = select(snapshot, Some(&query.metric), &query.matchers)?;
    check_size(query, &grid, selected.len())?;
    let (kind, unit) = one_kind(&selected);
    let function = query.function.unwrap_or(Function::default_of(kind));
    function.check(&query.metric, kind)?;
    if kind == Kind::Distribution && query.aggregate.is_some() {
        return Err(QueryError::invalid(
            format!(
                "{} is a distribution: its series are merged, not added or averaged",
                query.metric
            ),
            "leave out aggregate",
        ));
    }
    let groups = Groups::of(&selected, query.by.as_deref());
    let segments = snapshot.segments(grid.tier, grid.start_ms, grid.end_ms())?;
    let mut read = Read::new(&grid, &selected, &groups, kind);
    for &segment in &segments {
        read.segment(snapshot, segment)?;
    }
    let coarsest = segments.iter().map(|segment| STEP_MS[segment.tier]).max();
    let aggregate = query.aggregate.unwrap_or(Aggregate::default_of(function));
    Ok(Answer {
        kind,
        unit,
        function,
        start_ms: grid.start_ms,
        end_ms: grid.end_ms(),
        step_ms: grid.step_ms,
        steps: grid.steps as usize,
        resolution_ms: coarsest.unwrap_or(STEP_MS[grid.tier]),
        series: read.finish(groups, function, unit, aggregate),
    })
}

fn check_size(query: &Query, grid: &Grid, series: usize) -> Result<(), QueryError> {
    let limits = query.limits;
    if series > limits.series {
        return Err(QueryError::invalid(
            format!("{series} series are meant, and {} are the most", limits.series),
            "choose fewer with match, like match=container=NAME",
        ));
    }
    let cells = grid.steps.saturating_mul(series as u64);
    if cells > limits.cells {
        return Err(QueryError::invalid(
            format!(
                "{} steps of {series} series are {cells} values, and {} are the most",
                grid.steps, limits.cells
            ),
            "give a longer step or choose fewer series with match",
        ));
    }
    Ok(())
}

/// The kind and unit of the series: of the newest, if a version of cgscope changed them.
fn one_kind(selected: &[(SeriesRow, Labels)]) -> (Kind, Unit) {
    let newest = selected.iter().max_by_key(|(row, _)| row.id.group().ordinal());
    newest.map_or((Kind::Gauge, Unit::Count), |(row, _)| (row.kind(), row.unit))
}

/// Which series are taken together.
struct Groups {
    labels: Vec<Labels>,
    sizes: Vec<usize>,
    /// Of each selected series.
    of: Vec<usize>,
}

impl Groups {
    fn of(selected: &[(SeriesRow, Labels)], by: Option<&[String]>) -> Self {
        let Some(by) = by else {
            return Self {
                labels: selected.iter().map(|(_, labels)| labels.clone()).collect(),
                sizes: vec![1; selected.len()],
                of: (0..selected.len()).collect(),
            };
        };
        let key = |labels: &Labels| -> Labels {
            labels
                .iter()
                .filter(|(l, _)| by.contains(l))
                .map(|(l, v)| (l.clone(), v.clone()))
                .collect()
        };
        let mut places: BTreeMap<Labels, usize> =
            selected.iter().map(|(_, labels)| (key(labels), 0)).collect();
        places.values_mut().zip(0..).for_each(|(place, i)| *place = i);
        let of: Vec<usize> = selected.iter().map(|(_, labels)| places[&key(labels)]).collect();
        let mut sizes = vec![0; places.len()];
        of.iter().for_each(|&place| sizes[place] += 1);
        Self { labels: places.into_keys().collect(), sizes, of }
    }
}

/// The steps while they are filled.
enum Steps {
    /// Of each series.
    Scalars(Vec<Scalars>),
    /// Of each group: distributions are merged at once.
    Gains(Vec<Gains>),
}

struct Read<'a> {
    grid: &'a Grid,
    kind: Kind,
    ids: Vec<SeriesId>,
    place: HashMap<SeriesId, usize>,
    group: Vec<usize>,
    steps: Steps,
    /// Time that was measured in each step, ms.
    covered_ms: Vec<u64>,
}

impl<'a> Read<'a> {
    fn new(grid: &'a Grid, selected: &[(SeriesRow, Labels)], groups: &Groups, kind: Kind) -> Self {
        let ids: Vec<SeriesId> = selected.iter().map(|(row, _)| row.id).collect();
        let steps = grid.steps as usize;
        Self {
            grid,
            kind,
            place: ids.iter().copied().zip(0..).collect(),
            ids,
            group: groups.of.clone(),
            steps: match kind {
                Kind::Distribution => Steps::Gains(vec![vec![None; steps]; groups.labels.len()]),
                _ => Steps::Scalars(vec![vec![None; steps]; selected.len()]),
            },
            covered_ms: vec![0; steps],
        }
    }

    fn segment(&mut self, snapshot: &Snapshot, segment: Segment) -> Result<(), QueryError> {
        let Segment { from_ms, to_ms, .. } = segment;
        let grid = self.grid;
        let step_of = |instant: &crate::store::frame::Instant| {
            grid.step_of(instant.at_ms).filter(|_| (from_ms..to_ms).contains(&instant.at_ms))
        };
        snapshot.instants(segment, &mut |instants| {
            for instant in instants {
                if let Some(step) = step_of(instant) {
                    self.covered_ms[step] += instant.covered_ms;
                }
            }
        })?;
        let (place, group, steps) = (&self.place, &self.group, &mut self.steps);
        // Of the piece: the same for each of its series.
        let (mut number, mut step_by_instant) = (None, vec![]);
        snapshot.read(&self.ids, segment, &mut |id, piece, points| {
            let Some(&series) = place.get(&id) else { return };
            if number.replace(piece.number) != Some(piece.number) {
                step_by_instant.clear();
                step_by_instant.extend(piece.instants.iter().map(step_of));
            }
            let step_at = |at: u32| step_by_instant.get(at as usize).copied().flatten();
            match (&mut *steps, points) {
                (Steps::Scalars(steps), Points::Counter(points)) => {
                    for (at, point) in points {
                        if let Some(step) = step_at(at) {
                            add(&mut steps[series][step], point.floats(), Summary::merge);
                        }
                    }
                }
                (Steps::Scalars(steps), Points::Gauge(points)) => {
                    for (at, point) in points {
                        if let Some(step) = step_at(at) {
                            add(&mut steps[series][step], point, Summary::merge);
                        }
                    }
                }
                (Steps::Gains(steps), Points::Distribution(points)) => {
                    for (at, point) in points {
                        if let Some(step) = step_at(at) {
                            add(&mut steps[group[series]][step], point, Gain::merge);
                        }
                    }
                }
                // Of another kind than the newest series.
                _ => {}
            }
        })?;
        Ok(())
    }

    fn finish(
        self,
        groups: Groups,
        function: Function,
        unit: Unit,
        how: Aggregate,
    ) -> Vec<AnswerSeries> {
        let covered = &self.covered_ms;
        let values: Vec<Vec<Option<f64>>> = match self.steps {
            Steps::Gains(steps) => steps
                .into_iter()
                .map(|steps| {
                    let steps = steps.into_iter().zip(covered);
                    steps.map(|(gain, ms)| distribution(function, unit, &gain?, *ms)).collect()
                })
                .collect(),
            Steps::Scalars(steps) => {
                let value = |step: &Option<Summary<f64>>, ms: &u64| {
                    scalar(function, self.kind, unit, step.as_ref()?, *ms)
                };
                if groups.sizes.iter().all(|&size| size == 1) {
                    // A chart of each is the usual case, and this is half the memory of the general one.
                    let mut values = vec![vec![]; groups.labels.len()];
                    for (series, &group) in steps.into_iter().zip(&groups.of) {
                        values[group] =
                            series.iter().zip(covered).map(|(s, ms)| value(s, ms)).collect();
                    }
                    return lines(groups, values);
                }
                let mut together =
                    vec![vec![Together::default(); covered.len()]; groups.labels.len()];
                for (series, group) in steps.iter().zip(&groups.of) {
                    for ((step, ms), into) in series.iter().zip(covered).zip(&mut together[*group])
                    {
                        if let Some(value) = value(step, ms) {
                            into.add(value);
                        }
                    }
                }
                together.iter().map(|steps| steps.iter().map(|t| t.value(how)).collect()).collect()
            }
        };
        lines(groups, values)
    }
}

/// Those that have a value.
fn lines(groups: Groups, values: Vec<Vec<Option<f64>>>) -> Vec<AnswerSeries> {
    let lines = groups.labels.into_iter().zip(groups.sizes).zip(values);
    lines
        .map(|((labels, merged), values)| AnswerSeries { labels, merged, values })
        .filter(|series| series.values.iter().any(Option::is_some))
        .collect()
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
