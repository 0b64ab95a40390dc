//! Aggregations: several series become one by their labels, or the largest or smallest of them are kept.

use std::collections::hash_map::{Entry, HashMap};

use promql_parser::parser::{AggregateExpr, LabelModifier, token};

use super::{
    call,
    engine::Engine,
    error::{PromqlError, Result},
    math::{Mean, Sum, Variance, quantile},
    order::{ascending, descending},
    rename::is_label_name,
    value::{Grid, Labels, Line, format_number, merge_equal},
};

/// Evaluates an aggregation.
pub fn eval(engine: &mut Engine<'_>, aggregate: &AggregateExpr, grid: &Grid) -> Result<Vec<Line>> {
    let op = aggregate.op.id();
    let param = || {
        let missing = || PromqlError::bad_data("a parameter of the aggregation is missing");
        aggregate.param.as_deref().ok_or_else(missing)
    };
    match op {
        token::T_COUNT_VALUES => {
            let label = call::text(param()?)?;
            if !is_label_name(&label) {
                return Err(PromqlError::execution(format!("invalid label name {label:?}")));
            }
            let lines = engine.vector(&aggregate.expr, grid)?;
            count_values(engine, &lines, aggregate.modifier.as_ref(), &label, grid)
        }
        token::T_TOPK | token::T_BOTTOMK | token::T_LIMITK => {
            let counts = counts(&engine.scalar(param()?, grid)?)?;
            let lines = engine.vector(&aggregate.expr, grid)?;
            let groups = Groups::of(&lines, aggregate.modifier.as_ref());
            kept(engine, op, lines, &groups, &counts)
        }
        token::T_LIMIT_RATIO => {
            if engine.scalar(param()?, grid)?.iter().any(|ratio| ratio.is_nan()) {
                return Err(PromqlError::execution("Ratio value is NaN"));
            }
            Err(PromqlError::bad_data("limit_ratio is not supported"))
        }
        _ => {
            let shares = match op {
                token::T_QUANTILE => engine.scalar(param()?, grid)?,
                _ => vec![],
            };
            shares.iter().for_each(|q| engine.notes.check_quantile(*q));
            let lines = engine.vector(&aggregate.expr, grid)?;
            let groups = Groups::of(&lines, aggregate.modifier.as_ref());
            together(engine, op, &lines, groups, grid, &shares)
        }
    }
}

/// Which lines are taken together.
struct Groups {
    labels: Vec<Labels>,
    /// Of each line.
    of: Vec<usize>,
}

impl Groups {
    fn of(lines: &[Line], modifier: Option<&LabelModifier>) -> Self {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut labels = vec![];
        let of = lines.iter().map(|line| {
            let key = key(&line.labels, modifier);
            *places.entry(key).or_insert_with_key(|key| {
                labels.push(key.clone());
                labels.len() - 1
            })
        });
        let of = of.collect();
        Self { labels, of }
    }
}

fn key(labels: &Labels, modifier: Option<&LabelModifier>) -> Labels {
    match modifier {
        None => Labels::default(),
        Some(LabelModifier::Include(names)) => labels.only(&names.labels),
        Some(LabelModifier::Exclude(names)) => labels.except(&names.labels),
    }
}

/// What the values of a group come to.
#[derive(Clone)]
enum Cell {
    Sum(Sum),
    Mean(Mean),
    Number(f64),
    Variance(Variance),
    All(Vec<f64>),
}

impl Cell {
    fn of(op: token::TokenId, value: f64) -> Self {
        match op {
            token::T_SUM => Self::Sum(Sum::of(value)),
            token::T_AVG => Self::Mean(Mean::of(value)),
            token::T_COUNT | token::T_GROUP => Self::Number(1.0),
            token::T_MIN | token::T_MAX => Self::Number(value),
            token::T_QUANTILE => Self::All(vec![value]),
            _ => {
                let mut variance = Variance::default();
                variance.add(value);
                Self::Variance(variance)
            }
        }
    }

    fn add(&mut self, op: token::TokenId, value: f64) {
        match self {
            Self::Sum(sum) => sum.add(value),
            Self::Mean(mean) => mean.add(value),
            Self::Number(number) => match op {
                token::T_COUNT => *number += 1.0,
                token::T_MIN if value < *number || number.is_nan() => *number = value,
                token::T_MAX if value > *number || number.is_nan() => *number = value,
                _ => {}
            },
            Self::Variance(variance) => variance.add(value),
            Self::All(values) => values.push(value),
        }
    }

    fn value(&mut self, op: token::TokenId, share: f64) -> f64 {
        match self {
            Self::Sum(sum) => sum.value(),
            Self::Mean(mean) => mean.value(),
            Self::Number(number) => *number,
            Self::Variance(variance) if op == token::T_STDDEV => variance.value().sqrt(),
            Self::Variance(variance) => variance.value(),
            Self::All(values) => quantile(share, values),
        }
    }
}

fn together(
    engine: &Engine<'_>,
    op: token::TokenId,
    lines: &[Line],
    groups: Groups,
    grid: &Grid,
    shares: &[f64],
) -> Result<Vec<Line>> {
    let mut members: Vec<Vec<&Line>> = vec![vec![]; groups.labels.len()];
    lines.iter().zip(&groups.of).for_each(|(line, &group)| members[group].push(line));
    let mut result = Vec::with_capacity(groups.labels.len());
    // A group at a time: its cells are larger than the numbers they come to.
    for (labels, members) in groups.labels.into_iter().zip(members) {
        let mut cells: Vec<Option<Cell>> = vec![None; grid.count];
        for line in members {
            engine.check_time()?;
            for (cell, value) in cells.iter_mut().zip(&line.values) {
                match (cell.as_mut(), value) {
                    (_, None) => {}
                    (Some(cell), Some(value)) => cell.add(op, *value),
                    (None, Some(value)) => *cell = Some(Cell::of(op, *value)),
                }
            }
        }
        let share = |i: usize| shares.get(i).copied().unwrap_or(0.0);
        let values = cells.iter_mut().enumerate();
        let values = values.map(|(i, cell)| cell.as_mut().map(|cell| cell.value(op, share(i))));
        result.push(Line { labels, values: values.collect() });
    }
    Ok(result)
}

/// How many to keep at each step.
fn counts(numbers: &[f64]) -> Result<Vec<usize>> {
    let count = |number: &f64| {
        if number.is_nan() {
            return Err(PromqlError::execution("Parameter value is NaN"));
        }
        if number.abs() >= i64::MAX as f64 {
            let shown = format_number(*number);
            return Err(PromqlError::execution(format!("Scalar value {shown} overflows int64")));
        }
        Ok(number.max(0.0) as usize)
    };
    numbers.iter().map(count).collect()
}

fn kept(
    engine: &Engine<'_>,
    op: token::TokenId,
    lines: Vec<Line>,
    groups: &Groups,
    counts: &[usize],
) -> Result<Vec<Line>> {
    let mut members: Vec<Vec<usize>> = vec![vec![]; groups.labels.len()];
    groups.of.iter().enumerate().for_each(|(line, &group)| members[group].push(line));
    let mut result: Vec<Line> = lines
        .iter()
        .map(|line| Line { labels: line.labels.clone(), values: vec![None; line.values.len()] })
        .collect();
    // In the order in which they are first kept: that of the one step of an instant query.
    let mut order = vec![];
    let mut is_kept = vec![false; lines.len()];
    for (i, &count) in counts.iter().enumerate() {
        engine.check_time()?;
        for members in &members {
            let there = members.iter().filter_map(|&at| Some((lines[at].values[i]?, at)));
            let mut there: Vec<(f64, usize)> = there.collect();
            match op {
                token::T_TOPK => there.sort_by(|a, b| descending(a.0, b.0)),
                token::T_BOTTOMK => there.sort_by(|a, b| ascending(a.0, b.0)),
                _ => {}
            }
            for (value, at) in there.into_iter().take(count) {
                if !std::mem::replace(&mut is_kept[at], true) {
                    order.push(at);
                }
                result[at].values[i] = Some(value);
            }
        }
    }
    let mut result: Vec<Option<Line>> = result.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| result[at].take()).collect())
}

fn count_values(
    engine: &Engine<'_>,
    lines: &[Line],
    modifier: Option<&LabelModifier>,
    label: &str,
    grid: &Grid,
) -> Result<Vec<Line>> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut result: Vec<Line> = vec![];
    for line in lines {
        let group = key(&line.labels, modifier);
        for (i, value) in line.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let mut labels = group.clone();
            labels.set(label, format_number(*value));
            let place = match places.entry(labels) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => {
                    // Each value may be a line of its own.
                    engine.check_size(result.len() + 1, grid.count)?;
                    let labels = place.key().clone();
                    result.push(Line { labels, values: vec![None; grid.count] });
                    *place.insert(result.len() - 1)
                }
            };
            let count = &mut result[place].values[i];
            *count = Some(count.unwrap_or(0.0) + 1.0);
        }
    }
    merge_equal(result)
}
