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
        reading::{Read, Reading},
        snapshot::Snapshot,
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
    /// How many series it is made of: those with a point in the range.
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
    let reading = snapshot.reading(&segments)?;
    let mut sum = Sum::new(&grid, &selected, &groups, (function, kind, unit), &reading);
    let ids: Vec<SeriesId> = selected.iter().map(|(row, _)| row.id).collect();
    reading.read(&ids, &mut |read| sum.take(read))?;
    let coarsest = segments.iter().map(|segment| STEP_MS[segment.tier]).max();
    let (values, merged) = sum.finish(query.aggregate.unwrap_or(Aggregate::default_of(function)));
    Ok(Answer {
        kind,
        unit,
        function,
        start_ms: grid.start_ms,
        end_ms: grid.end_ms(),
        step_ms: grid.step_ms,
        steps: grid.steps as usize,
        resolution_ms: coarsest.unwrap_or(STEP_MS[grid.tier]),
        series: lines(groups, merged, values),
    })
}

pub(super) fn check_size(query: &Query, grid: &Grid, series: usize) -> Result<(), QueryError> {
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
pub(super) fn one_kind(selected: &[(SeriesRow, Labels)]) -> (Kind, Unit) {
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

/// Lines while they are made.
enum Lines {
    /// Each of one series.
    Each(Vec<Vec<Option<f64>>>),
    /// Each of several.
    Together(Vec<Vec<Together>>),
    /// Of distributions: merged at once.
    Gains(Vec<Gains>),
}

/// Adds up what is read.
struct Sum<'a> {
    grid: &'a Grid,
    groups: &'a Groups,
    function: Function,
    kind: Kind,
    unit: Unit,
    place: HashMap<SeriesId, usize>,
    /// The step of each instant of each stretch.
    step_at: Vec<Vec<Option<usize>>>,
    /// Time that was measured in each step, ms.
    covered_ms: Vec<u64>,
    /// The steps of the series that are being read, and which of the selected those are.
    open: Vec<(usize, Scalars)>,
    /// Steps to use again.
    spare: Vec<Scalars>,
    /// Which of the selected had a point in a step.
    seen: Vec<bool>,
    lines: Lines,
}

impl<'a> Sum<'a> {
    fn new(
        grid: &'a Grid,
        selected: &[(SeriesRow, Labels)],
        groups: &'a Groups,
        (function, kind, unit): (Function, Kind, Unit),
        reading: &Reading<'_>,
    ) -> Self {
        let steps = grid.steps as usize;
        let mut covered_ms = vec![0; steps];
        let mut step_at = vec![];
        for (segment, instants) in reading.stretches() {
            let is_in = |at_ms: &u64| (segment.from_ms..segment.to_ms).contains(at_ms);
            let step_of =
                |at_ms: u64| Some(at_ms).filter(is_in).and_then(|at_ms| grid.step_of(at_ms));
            let steps: Vec<_> = instants.iter().map(|instant| step_of(instant.at_ms)).collect();
            for (step, instant) in steps.iter().zip(instants) {
                if let Some(step) = step {
                    covered_ms[*step] += instant.covered_ms;
                }
            }
            step_at.push(steps);
        }
        let lines = match kind {
            Kind::Distribution => Lines::Gains(vec![vec![None; steps]; groups.labels.len()]),
            _ if groups.sizes.iter().all(|&size| size == 1) => {
                Lines::Each(vec![vec![]; groups.labels.len()])
            }
            _ => Lines::Together(vec![vec![Together::default(); steps]; groups.labels.len()]),
        };
        Self {
            grid,
            groups,
            function,
            kind,
            unit,
            place: selected.iter().map(|(row, _)| row.id).zip(0..).collect(),
            step_at,
            covered_ms,
            open: vec![],
            spare: vec![],
            seen: vec![false; selected.len()],
            lines,
        }
    }

    fn take(&mut self, read: Read) {
        let Read::Points { id, stretch, points } = read else { return self.close() };
        let (Some(&series), Some(step_at)) = (self.place.get(&id), self.step_at.get(stretch))
        else {
            return;
        };
        let step_at = |at: u32| step_at.get(at as usize).copied().flatten();
        let seen = &mut self.seen[series];
        match points {
            Points::Counter(points) if self.kind != Kind::Distribution => {
                let steps = steps_of(&mut self.open, &mut self.spare, series, self.grid);
                for (at, point) in points {
                    if let Some(step) = step_at(at) {
                        *seen = true;
                        add(&mut steps[step], point.floats(), Summary::merge);
                    }
                }
            }
            Points::Gauge(points) if self.kind != Kind::Distribution => {
                let steps = steps_of(&mut self.open, &mut self.spare, series, self.grid);
                for (at, point) in points {
                    if let Some(step) = step_at(at) {
                        *seen = true;
                        add(&mut steps[step], point, Summary::merge);
                    }
                }
            }
            Points::Distribution(points) => {
                let Lines::Gains(lines) = &mut self.lines else { return };
                let line = &mut lines[self.groups.of[series]];
                for (at, point) in points {
                    if let Some(step) = step_at(at) {
                        *seen = true;
                        add(&mut line[step], point, Gain::merge);
                    }
                }
            }
            // Of another kind than the newest series.
            _ => {}
        }
    }

    /// Makes values of the series that are complete.
    fn close(&mut self) {
        for (series, mut steps) in self.open.drain(..) {
            let line = self.groups.of[series];
            let value = |(step, ms): (&Option<Summary<f64>>, &u64)| {
                scalar(self.function, self.kind, self.unit, step.as_ref()?, *ms)
            };
            let values = steps.iter().zip(&self.covered_ms).map(value);
            match &mut self.lines {
                Lines::Each(lines) => lines[line] = values.collect(),
                Lines::Together(lines) => {
                    for (value, into) in values.zip(&mut lines[line]) {
                        value.into_iter().for_each(|value| into.add(value));
                    }
                }
                Lines::Gains(_) => {}
            }
            steps.fill(None);
            self.spare.push(steps);
        }
    }

    /// The values of each line, and of how many series it came.
    fn finish(self, how: Aggregate) -> (Vec<Vec<Option<f64>>>, Vec<usize>) {
        let mut merged = vec![0; self.groups.labels.len()];
        for (&line, &seen) in self.groups.of.iter().zip(&self.seen) {
            merged[line] += usize::from(seen);
        }
        let values = match self.lines {
            Lines::Each(lines) => lines,
            Lines::Together(lines) => {
                lines.iter().map(|steps| steps.iter().map(|t| t.value(how)).collect()).collect()
            }
            Lines::Gains(lines) => {
                let value = |(gain, ms): (Option<Gain>, &u64)| {
                    distribution(self.function, self.unit, &gain?, *ms)
                };
                lines
                    .into_iter()
                    .map(|steps| steps.into_iter().zip(&self.covered_ms).map(value).collect())
                    .collect()
            }
        };
        (values, merged)
    }
}

/// The open steps of a series.
fn steps_of<'a>(
    open: &'a mut Vec<(usize, Scalars)>,
    spare: &mut Vec<Scalars>,
    series: usize,
    grid: &Grid,
) -> &'a mut Scalars {
    let at = match open.iter().position(|(one, _)| *one == series) {
        Some(at) => at,
        None => {
            let steps = spare.pop().unwrap_or_else(|| vec![None; grid.steps as usize]);
            open.push((series, steps));
            open.len() - 1
        }
    };
    &mut open[at].1
}

/// Those that have a value.
fn lines(groups: Groups, merged: Vec<usize>, values: Vec<Vec<Option<f64>>>) -> Vec<AnswerSeries> {
    let lines = groups.labels.into_iter().zip(merged).zip(values);
    lines
        .map(|((labels, merged), values)| AnswerSeries { labels, merged, values })
        .filter(|series| series.values.iter().any(Option::is_some))
        .collect()
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
