//! Which samples a query needs: one selection for each selector, whatever stands around it.

use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};

use super::{
    limits::Options,
    source::{Condition, Selection},
    value::Grid,
};

/// A selector of a query, by its place in memory: the tree does not move while the query lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(usize);

impl Key {
    /// Of a selector.
    pub fn of(selector: &VectorSelector) -> Self {
        Self(std::ptr::from_ref(selector) as usize)
    }
}

/// A selection, and what for.
#[derive(Debug)]
pub struct Step {
    /// Whose.
    pub key: Key,
    /// What is needed.
    pub selection: Selection,
    /// Whether it is a range, which has no ends of series.
    pub is_range: bool,
}

/// The length of time of a duration, ms, within what instants can hold.
pub fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// How far back a selector looks from where it stands, ms.
pub fn offset_ms(offset: Option<&Offset>) -> i64 {
    match offset {
        None => 0,
        Some(Offset::Pos(duration)) => ms(*duration),
        Some(Offset::Neg(duration)) => -ms(*duration),
    }
}

/// The instant that a selector is fixed to, ms; `None` when it is not.
pub fn fixed_ms(at: Option<&AtModifier>, query: &Grid) -> Option<i64> {
    Some(match at? {
        AtModifier::Start => query.start_ms,
        AtModifier::End => query.end_ms(),
        AtModifier::At(time) => match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        },
    })
}

/// Everything a query needs.
pub fn plan(expr: &Expr, query: &Grid, options: &Options) -> Vec<Step> {
    let mut planner = Planner { query, options, steps: vec![] };
    let step_ms = if query.count > 1 { query.step_ms } else { 0 };
    planner.walk(expr, Span { first_ms: query.start_ms, last_ms: query.end_ms(), step_ms });
    let mut steps = planner.steps;
    let first = steps.iter().map(|step| step.selection.after_ms).min().unwrap_or(0);
    steps.iter_mut().for_each(|step| step.selection.query_after_ms = first);
    steps
}

/// The instants that an expression is evaluated at.
#[derive(Clone, Copy)]
struct Span {
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
}

struct Planner<'a> {
    query: &'a Grid,
    options: &'a Options,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn walk(&mut self, expr: &Expr, span: Span) {
        match expr {
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.walk(param, span);
                }
                self.walk(&aggregate.expr, span);
            }
            Expr::Unary(unary) => self.walk(&unary.expr, span),
            Expr::Binary(binary) => {
                self.walk(&binary.lhs, span);
                self.walk(&binary.rhs, span);
            }
            Expr::Paren(paren) => self.walk(&paren.expr, span),
            Expr::Subquery(subquery) => {
                let range_ms = ms(subquery.range);
                let outer = self.moved(span, subquery.at.as_ref(), subquery.offset.as_ref());
                let step_ms = subquery.step.map_or(self.options.subquery_step_ms, ms);
                let first_ms = outer.first_ms.saturating_sub(range_ms);
                self.walk(&subquery.expr, Span { first_ms, last_ms: outer.last_ms, step_ms });
            }
            Expr::VectorSelector(selector) => {
                self.add(selector, span, self.options.lookback_ms, false);
            }
            Expr::MatrixSelector(selector) => {
                self.add(&selector.vs, span, ms(selector.range), true);
            }
            Expr::Call(call) => call.args.args.iter().for_each(|arg| self.walk(arg, span)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn moved(&self, span: Span, at: Option<&AtModifier>, offset: Option<&Offset>) -> Span {
        let back_ms = offset_ms(offset);
        let (first_ms, last_ms, step_ms) = match fixed_ms(at, self.query) {
            Some(fixed) => (fixed, fixed, 0),
            None => (span.first_ms, span.last_ms, span.step_ms),
        };
        let (first_ms, last_ms) =
            (first_ms.saturating_sub(back_ms), last_ms.saturating_sub(back_ms));
        Span { first_ms, last_ms, step_ms }
    }

    fn add(&mut self, selector: &VectorSelector, span: Span, window_ms: i64, is_range: bool) {
        let span = self.moved(span, selector.at.as_ref(), selector.offset.as_ref());
        self.steps.push(Step {
            key: Key::of(selector),
            selection: Selection {
                condition: Condition::of(selector.name.as_deref(), &selector.matchers),
                after_ms: span.first_ms.saturating_sub(window_ms),
                until_ms: span.last_ms,
                step_ms: span.step_ms,
                window_ms,
                query_after_ms: 0,
            },
            is_range,
        });
    }
}
