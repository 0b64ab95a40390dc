//! Evaluates a query: each part of it over all steps at once, on samples that were fetched before.
//!
//! Contract: each selector is fetched once a query. Nothing is evaluated beyond the limits, and no query panics.

use std::{collections::HashMap, sync::Arc, time::Instant};

use promql_parser::parser::{Expr, VectorSelector};

use super::{
    aggregate, binary, call,
    error::{ErrorKind, PromqlError, Result},
    limits::Options,
    note::Notes,
    parse::parse,
    plan::{Key, fixed_ms, offset_ms, plan},
    ranges,
    source::Source,
    value::{Grid, Labels, Line, Sample, Series, Value, is_stale, merge_equal},
};

/// What a query comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// One number.
    Scalar(Sample),
    /// A text, and the instant it was asked at, ms.
    Text(i64, String),
    /// A number for each series.
    Vector(Vec<(Labels, Sample)>),
    /// Several for each series.
    Matrix(Vec<Series>),
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What it comes to.
    pub outcome: Outcome,
    /// What else there is to say.
    pub notes: Notes,
}

/// Evaluates a query at one instant.
///
/// # Errors
/// [`PromqlError`].
pub fn instant(source: &dyn Source, text: &str, at_ms: i64, options: &Options) -> Result<Answer> {
    let expr = parse(text, &options.limits)?;
    let mut engine = Engine::new(source, &expr, Grid::instant(at_ms), options)?;
    let grid = engine.query;
    let outcome = if let Expr::MatrixSelector(_) | Expr::Subquery(_) = ranges::bare(&expr) {
        let mut windows = ranges::windows(&mut engine, &expr, &grid)?;
        let series = windows.take_all(0);
        Outcome::Matrix(sorted(series))
    } else {
        match engine.eval(&expr, &grid)? {
            Value::Scalar(values) => Outcome::Scalar(Sample {
                at_ms,
                value: values.first().copied().unwrap_or(f64::NAN),
            }),
            Value::Text(text) => Outcome::Text(at_ms, text),
            Value::Vector(lines) => {
                let one = |line: Line| {
                    Some((line.labels, Sample { at_ms, value: line.values.first().copied()?? }))
                };
                Outcome::Vector(merge_equal(lines)?.into_iter().filter_map(one).collect())
            }
        }
    };
    Ok(Answer { outcome, notes: engine.notes })
}

/// Evaluates a query at each step of a range, the ends included.
///
/// # Errors
/// [`PromqlError`].
pub fn range(
    source: &dyn Source,
    text: &str,
    (start_ms, end_ms): (i64, i64),
    step_ms: i64,
    options: &Options,
) -> Result<Answer> {
    if step_ms <= 0 {
        return Err(PromqlError::bad_data(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end_ms < start_ms {
        return Err(PromqlError::bad_data("end timestamp must not be before start time"));
    }
    let count = usize::try_from((end_ms - start_ms) / step_ms).unwrap_or(usize::MAX);
    if count >= options.limits.steps {
        return Err(PromqlError::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            options.limits.steps
        )));
    }
    let grid = Grid { start_ms, step_ms, count: count + 1 };
    let expr = parse(text, &options.limits)?;
    let mut engine = Engine::new(source, &expr, grid, options)?;
    engine.is_range = true;
    let wrong = |what: &str| {
        let message = format!(
            "invalid expression type {what:?} for range query, must be Scalar or instant Vector"
        );
        PromqlError::bad_data(message)
    };
    let lines = match ranges::bare(&expr) {
        Expr::MatrixSelector(_) | Expr::Subquery(_) => return Err(wrong("range vector")),
        _ => match engine.eval(&expr, &grid)? {
            Value::Scalar(values) => {
                let values = values.into_iter().map(Some).collect();
                vec![Line { labels: Labels::default(), values }]
            }
            Value::Text(_) => return Err(wrong("string")),
            Value::Vector(lines) => merge_equal(lines)?,
        },
    };
    let series = lines.into_iter().map(|line| samples_of(line, &grid)).collect();
    Ok(Answer { outcome: Outcome::Matrix(sorted(series)), notes: engine.notes })
}

fn sorted(mut series: Vec<Series>) -> Vec<Series> {
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

/// A line as samples.
pub fn samples_of(line: Line, grid: &Grid) -> Series {
    let values = grid.instants().zip(line.values);
    let samples = values.filter_map(|(at_ms, value)| Some(Sample { at_ms, value: value? }));
    Series { labels: line.labels, samples: samples.collect() }
}

/// A query while it is evaluated.
pub struct Engine<'a> {
    /// When the whole query is evaluated.
    pub query: Grid,
    /// Whether it is one over a range.
    pub is_range: bool,
    /// How.
    pub options: &'a Options,
    /// What there is to say beside the answer.
    pub notes: Notes,
    fetched: HashMap<Key, Arc<Vec<Series>>>,
    begun: Instant,
}

impl<'a> Engine<'a> {
    /// Fetches what the query needs.
    fn new(source: &dyn Source, expr: &Expr, query: Grid, options: &'a Options) -> Result<Self> {
        let mut engine = Self {
            query,
            is_range: false,
            options,
            notes: Notes::default(),
            fetched: HashMap::new(),
            begun: Instant::now(),
        };
        let mut samples = 0;
        for step in plan(expr, &query, options) {
            engine.check_time()?;
            let mut series = source.select(&step.selection)?;
            samples += series.iter().map(|series| series.samples.len()).sum::<usize>();
            if series.len() > options.limits.series || samples > options.limits.samples {
                return Err(too_much(format!(
                    "the query reads {} series and {samples} samples: {} and {} are the most",
                    series.len(),
                    options.limits.series,
                    options.limits.samples
                )));
            }
            if step.is_range {
                for series in &mut series {
                    series.samples.retain(|sample| !is_stale(sample.value));
                }
            }
            engine.fetched.insert(step.key, Arc::new(series));
        }
        Ok(engine)
    }

    /// The series of a selector.
    pub fn fetched(&self, selector: &VectorSelector) -> Arc<Vec<Series>> {
        self.fetched.get(&Key::of(selector)).cloned().unwrap_or_default()
    }

    /// Fails when the query has taken too long.
    pub fn check_time(&self) -> Result<()> {
        if self.begun.elapsed() < self.options.limits.time {
            return Ok(());
        }
        let message = format!("query timed out after {:?}", self.options.limits.time);
        Err(PromqlError { kind: ErrorKind::Timeout, message })
    }

    /// Fails when so many lines over so many steps are too much, or the query has taken too long.
    pub fn check_size(&self, lines: usize, steps: usize) -> Result<()> {
        let most = self.options.limits.cells;
        if lines.saturating_mul(steps) > most {
            return Err(too_much(format!(
                "{lines} series over {steps} steps are too much: {most} values are the most. Try a longer step or fewer series"
            )));
        }
        self.check_time()
    }

    /// What an expression comes to at each instant of a grid.
    pub fn eval(&mut self, expr: &Expr, grid: &Grid) -> Result<Value> {
        let value = match expr {
            Expr::NumberLiteral(number) => Value::Scalar(vec![number.val; grid.count]),
            Expr::StringLiteral(text) => Value::Text(text.val.clone()),
            Expr::Paren(paren) => return self.eval(&paren.expr, grid),
            Expr::Unary(unary) => match self.eval(&unary.expr, grid)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Vector(lines) => Value::Vector(map(lines, |v| -v)?),
                Value::Text(_) => return Err(PromqlError::bad_data("a text has no negative")),
            },
            Expr::Binary(operation) => binary::eval(self, operation, grid)?,
            Expr::Aggregate(aggregate) => Value::Vector(aggregate::eval(self, aggregate, grid)?),
            Expr::Call(call) => call::eval(self, call, grid)?,
            Expr::VectorSelector(selector) => Value::Vector(self.select(selector, grid, false)?),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                return Err(PromqlError::bad_data("a range vector where none can be"));
            }
            Expr::Extension(_) => return Err(PromqlError::bad_data("an unknown expression")),
        };
        if let Value::Vector(lines) = &value {
            self.check_size(lines.len(), grid.count)?;
        }
        Ok(value)
    }

    /// The last value, or its time in seconds, of each series at each instant.
    pub fn select(
        &mut self,
        selector: &VectorSelector,
        grid: &Grid,
        is_time: bool,
    ) -> Result<Vec<Line>> {
        let series = self.fetched(selector);
        self.check_size(series.len(), grid.count)?;
        let back_ms = offset_ms(selector.offset.as_ref());
        let fixed = fixed_ms(selector.at.as_ref(), &self.query);
        let mut lines = Vec::with_capacity(series.len());
        for series in series.iter() {
            self.check_time()?;
            let mut next = 0;
            let value_at = |at_ms: i64| {
                let at_ms = fixed.unwrap_or(at_ms).saturating_sub(back_ms);
                while series.samples.get(next).is_some_and(|sample| sample.at_ms <= at_ms) {
                    next += 1;
                }
                let last = series.samples.get(next.checked_sub(1)?)?;
                let is_fresh = at_ms.saturating_sub(last.at_ms) < self.options.lookback_ms;
                let value = if is_time { last.at_ms as f64 / 1e3 } else { last.value };
                (is_fresh && !is_stale(last.value)).then_some(value)
            };
            let values: Vec<Option<f64>> = grid.instants().map(value_at).collect();
            if values.iter().any(Option::is_some) {
                lines.push(Line { labels: series.labels.clone(), values });
            }
        }
        Ok(lines)
    }

    /// A number for each instant.
    pub fn scalar(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>> {
        match self.eval(expr, grid)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(PromqlError::bad_data("expected a scalar")),
        }
    }

    /// Lines.
    pub fn vector(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Line>> {
        match self.eval(expr, grid)? {
            Value::Vector(lines) => Ok(lines),
            _ => Err(PromqlError::bad_data("expected an instant vector")),
        }
    }
}

fn too_much(message: String) -> PromqlError {
    PromqlError { kind: ErrorKind::Execution, message }
}

/// Each value changed, and the metric's name gone.
pub fn map(lines: Vec<Line>, change: impl Fn(f64) -> f64) -> Result<Vec<Line>> {
    merge_equal(
        lines
            .into_iter()
            .map(|line| Line {
                labels: line.labels.without_name(),
                values: line.values.into_iter().map(|value| value.map(&change)).collect(),
            })
            .collect(),
    )
}
