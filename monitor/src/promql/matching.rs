//! Operators between two vectors: which series belongs to which, and what their results are called.

use std::collections::HashMap;

use promql_parser::parser::{
    BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality as Cardinality, token,
};

use super::{
    binary::Operator,
    engine::Engine,
    error::{PromqlError, Result},
    value::{Grid, Labels, Line, merge_equal},
};

/// Evaluates an operation of two vectors.
pub fn eval(
    engine: &Engine<'_>,
    operator: Operator,
    operation: &BinaryExpr,
    left: Vec<Line>,
    right: Vec<Line>,
    grid: &Grid,
) -> Result<Vec<Line>> {
    let modifier = operation.modifier.clone().unwrap_or_default();
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(PromqlError::bad_data("fill modifiers are not supported"));
    }
    let mut keys = Keys { modifier: &modifier, places: HashMap::new() };
    let left_keys = keys.of(&left);
    let right_keys = keys.of(&right);
    let sides = Sides { left: &left_keys, right: &right_keys, keys: keys.places.len() };
    match operator.id {
        token::T_LAND => Ok(filter(left, &right, &sides, grid, true)),
        token::T_LUNLESS => Ok(filter(left, &right, &sides, grid, false)),
        token::T_LOR => or(left, right, &sides, grid),
        _ => match modifier.card {
            Cardinality::OneToMany(_) => {
                let sides = Sides { left: sides.right, right: sides.left, ..sides };
                joined(engine, operator, &modifier, &right, &left, &sides, grid)
            }
            _ => joined(engine, operator, &modifier, &left, &right, &sides, grid),
        },
    }
}

/// The labels that must agree, numbered.
struct Keys<'a> {
    modifier: &'a BinModifier,
    places: HashMap<Labels, usize>,
}

impl Keys<'_> {
    fn of(&mut self, lines: &[Line]) -> Vec<usize> {
        let key = |labels: &Labels| match &self.modifier.matching {
            None => labels.except(&[]),
            Some(LabelModifier::Include(names)) => labels.only(&names.labels),
            Some(LabelModifier::Exclude(names)) => labels.except(&names.labels),
        };
        let keys: Vec<Labels> = lines.iter().map(|line| key(&line.labels)).collect();
        let place = |key: Labels| {
            let next = self.places.len();
            *self.places.entry(key).or_insert(next)
        };
        keys.into_iter().map(place).collect()
    }
}

/// The keys of the lines of both sides.
struct Sides<'a> {
    left: &'a [usize],
    right: &'a [usize],
    /// How many keys there are.
    keys: usize,
}

impl Sides<'_> {
    /// At which steps each key is among `lines`; `None` when it never is.
    fn there(&self, lines: &[Line], of: &[usize], grid: &Grid) -> Vec<Option<Vec<bool>>> {
        let mut there = vec![None; self.keys];
        for (line, &key) in lines.iter().zip(of) {
            let steps = there[key].get_or_insert_with(|| vec![false; grid.count]);
            steps.iter_mut().zip(&line.values).for_each(|(t, v)| *t |= v.is_some());
        }
        there
    }
}

/// `and`, `unless`.
fn filter(
    mut left: Vec<Line>,
    right: &[Line],
    sides: &Sides<'_>,
    grid: &Grid,
    is_wanted: bool,
) -> Vec<Line> {
    let there = sides.there(right, sides.right, grid);
    for (line, &key) in left.iter_mut().zip(sides.left) {
        for (i, value) in line.values.iter_mut().enumerate() {
            let is_there = there[key].as_ref().is_some_and(|steps| steps[i]);
            if is_there != is_wanted {
                *value = None;
            }
        }
    }
    left.retain(|line| line.values.iter().any(Option::is_some));
    left
}

fn or(left: Vec<Line>, right: Vec<Line>, sides: &Sides<'_>, grid: &Grid) -> Result<Vec<Line>> {
    let there = sides.there(&left, sides.left, grid);
    let mut lines = left;
    for (mut line, &key) in right.into_iter().zip(sides.right) {
        for (i, value) in line.values.iter_mut().enumerate() {
            if there[key].as_ref().is_some_and(|steps| steps[i]) {
                *value = None;
            }
        }
        if line.values.iter().any(Option::is_some) {
            lines.push(line);
        }
    }
    merge_equal(lines)
}

/// Each series of `many` with the one of `one` that has its key.
fn joined(
    engine: &Engine<'_>,
    operator: Operator,
    modifier: &BinModifier,
    many: &[Line],
    one: &[Line],
    sides: &Sides<'_>,
    grid: &Grid,
) -> Result<Vec<Line>> {
    engine.check_size(many.len(), grid.count)?;
    let is_one_to_one = matches!(modifier.card, Cardinality::OneToOne);
    let is_swapped = matches!(modifier.card, Cardinality::OneToMany(_));
    let one_of = only_one(engine, one, sides.right, sides.keys, grid, is_swapped)?;
    let mut lines: Vec<Line> = vec![];
    let mut place_of: HashMap<Labels, usize> = HashMap::new();
    // Of each key the steps at which it was met: one to one, it may be only once.
    let mut met: Vec<Option<Vec<bool>>> = vec![None; sides.keys];
    for (line, &key) in many.iter().zip(sides.left) {
        engine.check_time()?;
        // The series of the other side changes seldom from step to step, and the result's place with it.
        let mut last: Option<(usize, usize)> = None;
        let Some(ones) = &one_of[key] else { continue };
        for (i, (value, other)) in line.values.iter().zip(ones).enumerate() {
            let (Some(value), Some(other)) = (*value, *other) else { continue };
            let Some(other_value) = one[other as usize].values[i] else { continue };
            if is_one_to_one {
                let steps = met[key].get_or_insert_with(|| vec![false; grid.count]);
                if std::mem::replace(&mut steps[i], true) {
                    return Err(PromqlError::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
            }
            let (a, b) = if is_swapped { (other_value, value) } else { (value, other_value) };
            let Some(result) = operator.apply(a, b) else { continue };
            let place = match last {
                Some((before, place)) if before == other as usize => place,
                _ => {
                    let other = &one[other as usize].labels;
                    let labels = result_labels(&line.labels, other, operator, modifier);
                    *place_of.entry(labels).or_insert_with_key(|labels| {
                        let values = vec![None; grid.count];
                        lines.push(Line { labels: labels.clone(), values });
                        lines.len() - 1
                    })
                }
            };
            last = Some((other as usize, place));
            if lines[place].values[i].replace(result).is_some() {
                return Err(PromqlError::execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
        }
    }
    Ok(lines)
}

/// For each key and step the series that has it; two are an error.
fn only_one(
    engine: &Engine<'_>,
    lines: &[Line],
    of: &[usize],
    keys: usize,
    grid: &Grid,
    is_left: bool,
) -> Result<Vec<Option<Vec<Option<u32>>>>> {
    let mut one: Vec<Option<Vec<Option<u32>>>> = vec![None; keys];
    for (at, (line, &key)) in lines.iter().zip(of).enumerate() {
        engine.check_time()?;
        let steps = one[key].get_or_insert_with(|| vec![None; grid.count]);
        for (step, value) in steps.iter_mut().zip(&line.values) {
            if value.is_none() {
                continue;
            }
            if let Some(before) = step.replace(at as u32) {
                let side = if is_left { "left" } else { "right" };
                let (a, b) = (&lines[before as usize].labels, &line.labels);
                return Err(PromqlError::execution(format!(
                    "found duplicate series for the match group on the {side} hand-side of the operation: [{a}, {b}];many-to-many matching not allowed: matching labels must be unique on one side"
                )));
            }
        }
    }
    Ok(one)
}

fn result_labels(
    many: &Labels,
    one: &Labels,
    operator: Operator,
    modifier: &BinModifier,
) -> Labels {
    let mut labels = many.clone();
    if operator.drops_name() {
        labels = labels.without_name();
    }
    match &modifier.card {
        Cardinality::ManyToOne(extra) | Cardinality::OneToMany(extra) => {
            for name in &extra.labels {
                labels.set(name.as_str(), one.get(name));
            }
        }
        _ => match &modifier.matching {
            Some(LabelModifier::Include(names)) => labels = labels.only(&names.labels),
            Some(LabelModifier::Exclude(names)) => {
                names.labels.iter().for_each(|name| labels.remove(name));
            }
            None => {}
        },
    }
    labels
}
