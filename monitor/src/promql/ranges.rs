//! Range vectors: the samples of each series in a window before each instant, of a selector or a subquery.

use std::sync::Arc;

use promql_parser::parser::{Expr, SubqueryExpr};

use super::{
    engine::{Engine, samples_of},
    error::{PromqlError, Result},
    plan::{fixed_ms, ms, offset_ms},
    value::{Grid, Line, Series, Value, merge_equal},
    window::Window,
};

/// An expression without the parentheses around it.
pub fn bare(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// Series, and the windows in which they are looked at.
pub struct Windows {
    /// The series; no ends of them are among the samples.
    pub series: Arc<Vec<Series>>,
    range_ms: i64,
    /// Where the window of each instant ends, ms.
    ends_ms: Vec<i64>,
}

/// The windows of a range vector.
pub fn windows(engine: &mut Engine<'_>, expr: &Expr, grid: &Grid) -> Result<Windows> {
    let (at, offset, range) = match bare(expr) {
        Expr::MatrixSelector(matrix) => (&matrix.vs.at, &matrix.vs.offset, matrix.range),
        Expr::Subquery(subquery) => (&subquery.at, &subquery.offset, subquery.range),
        _ => return Err(PromqlError::bad_data("expected a range vector")),
    };
    let (fixed, back_ms) = (fixed_ms(at.as_ref(), &engine.query), offset_ms(offset.as_ref()));
    let end_of = |at_ms: i64| fixed.unwrap_or(at_ms).saturating_sub(back_ms);
    let ends_ms: Vec<i64> = grid.instants().map(end_of).collect();
    let range_ms = ms(range);
    let series = match bare(expr) {
        Expr::MatrixSelector(matrix) => engine.fetched(&matrix.vs),
        Expr::Subquery(subquery) => Arc::new(self::subquery(engine, subquery, &ends_ms)?),
        _ => Arc::default(),
    };
    Ok(Windows { series, range_ms, ends_ms })
}

/// Evaluates a subquery at the multiples of its step that lie in any of the windows.
fn subquery(
    engine: &mut Engine<'_>,
    subquery: &SubqueryExpr,
    ends_ms: &[i64],
) -> Result<Vec<Series>> {
    let step_ms = subquery.step.map_or(engine.options.subquery_step_ms, ms).max(1);
    let (Some(&first), Some(&last)) = (ends_ms.first(), ends_ms.last()) else {
        return Ok(vec![]);
    };
    let after_ms = first.saturating_sub(ms(subquery.range));
    let mut start_ms = after_ms.div_euclid(step_ms).saturating_mul(step_ms);
    if start_ms <= after_ms {
        start_ms = start_ms.saturating_add(step_ms);
    }
    if start_ms > last {
        return Ok(vec![]);
    }
    let count = usize::try_from((last - start_ms) / step_ms).unwrap_or(usize::MAX);
    let most = engine.options.limits.steps.saturating_mul(10);
    if count >= most {
        return Err(PromqlError::bad_data(format!(
            "a subquery of more than {most} steps: give it a longer step"
        )));
    }
    let grid = Grid { start_ms, step_ms, count: count + 1 };
    let lines = match engine.eval(&subquery.expr, &grid)? {
        Value::Vector(lines) => merge_equal(lines)?,
        _ => return Err(PromqlError::bad_data("a subquery of what is no instant vector")),
    };
    Ok(lines.into_iter().map(|line| samples_of(line, &grid)).collect())
}

impl Windows {
    /// Every series cut to its `i`th window.
    pub fn take_all(&mut self, i: usize) -> Vec<Series> {
        let Some(&end_ms) = self.ends_ms.get(i) else { return vec![] };
        let start_ms = end_ms.saturating_sub(self.range_ms);
        let is_in = |at_ms: i64| at_ms > start_ms && at_ms <= end_ms;
        let cut = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().copied().filter(|s| is_in(s.at_ms)).collect(),
        };
        self.series.iter().map(cut).collect()
    }

    /// A line for each series that has values: of each window that holds samples what `of_window` makes of it.
    pub fn lines(
        &self,
        engine: &Engine<'_>,
        grid: &Grid,
        args: &[Vec<f64>],
        keeps_name: bool,
        of_window: impl Fn(&Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Line>> {
        engine.check_size(self.series.len(), grid.count)?;
        let mut lines = Vec::with_capacity(self.series.len());
        for series in self.series.iter() {
            let (mut from, mut to) = (0, 0);
            let mut values = Vec::with_capacity(grid.count);
            for (i, (at_ms, &end_ms)) in grid.instants().zip(&self.ends_ms).enumerate() {
                if i % 256 == 0 {
                    engine.check_time()?;
                }
                let start_ms = end_ms.saturating_sub(self.range_ms);
                while series.samples.get(to).is_some_and(|sample| sample.at_ms <= end_ms) {
                    to += 1;
                }
                while from < to && series.samples[from].at_ms <= start_ms {
                    from += 1;
                }
                let samples = &series.samples[from..to];
                let arg = |n: usize| args.get(n).and_then(|a| a.get(i)).copied().unwrap_or(0.0);
                let window = Window { samples, start_ms, end_ms, at_ms, args: [arg(0), arg(1)] };
                values.push(if samples.is_empty() { None } else { of_window(&window) });
            }
            if values.iter().any(Option::is_some) {
                let labels = series.labels.clone();
                let labels = if keeps_name { labels } else { labels.without_name() };
                lines.push(Line { labels, values });
            }
        }
        merge_equal(lines)
    }
}
