//! Parameters of questions about the past, and how they become a [`Query`].

use std::time::Duration;

use serde::Deserialize;
use utoipa::IntoParams;

use super::{backend::BackendError, duration::Span, openapi::values};
use crate::store::query::{Function, Limits, Matcher, Query, QueryError};

/// The range of a question that does not say.
const DEFAULT_RANGE: Duration = Duration::from_secs(3_600);
/// About as many steps as a chart shows, for a question that does not say.
const DEFAULT_STEPS: u64 = 240;
/// Steps that people read easily, s.
const ROUND_STEPS_S: [u64; 12] = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 43_200, 86_400];
/// Conditions of one question.
const MAX_MATCHERS: usize = 32;

/// A question.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QueryParams {
    /// The metric's name.
    pub metric: String,
    /// Conditions on labels, separated by commas: `container=web,state!=sleeping`.
    #[serde(rename = "match")]
    #[param(inline, value_type = Option<values::Conditions>, style = Form, explode = false)]
    pub matchers: Option<String>,
    /// The first instant; an hour before the end when not said.
    #[param(inline, value_type = Option<values::Instant>)]
    pub start: Option<String>,
    /// The end, not in it; now when not said.
    #[param(inline, value_type = Option<values::Instant>)]
    pub end: Option<String>,
    /// Length of a step; `all` is one step, and about 240 make the range when not said.
    #[param(inline, value_type = Option<values::QueryStep>)]
    pub step: Option<String>,
    /// What to make of a step; when not said `rate` of a counter, `mean` of a gauge, `quantile` of a distribution.
    #[serde(rename = "fn")]
    #[param(inline, value_type = Option<values::FunctionName>)]
    pub function: Option<String>,
    /// The share of `fn=quantile`.
    #[param(inline, value_type = Option<values::Share>)]
    pub q: Option<f64>,
    /// Labels to take series together by, separated by commas; empty for all together.
    #[param(inline, value_type = Option<values::Texts>, style = Form, explode = false)]
    pub by: Option<String>,
    /// How they are taken together; what suits the function when not said.
    #[param(inline, value_type = Option<values::AggregateName>)]
    pub aggregate: Option<String>,
    /// Where another range of the same length begins that the answer is held against.
    #[param(inline, value_type = Option<values::Instant>)]
    pub against: Option<String>,
    /// Conditions on labels there, if not the same.
    #[param(inline, value_type = Option<values::Conditions>, style = Form, explode = false)]
    pub against_match: Option<String>,
}

/// A list of series.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    /// Only of this metric.
    pub metric: Option<String>,
    /// Conditions on labels.
    #[serde(rename = "match")]
    #[param(inline, value_type = Option<values::Conditions>, style = Form, explode = false)]
    pub matchers: Option<String>,
    /// The most to list.
    #[param(inline, value_type = Option<values::SeriesLimit>)]
    pub limit: Option<usize>,
    /// Where the list before ended.
    pub cursor: Option<usize>,
}

/// Values of a label.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LabelParams {
    /// Only of this metric.
    pub metric: Option<String>,
    /// Conditions on other labels.
    #[serde(rename = "match")]
    #[param(inline, value_type = Option<values::Conditions>, style = Form, explode = false)]
    pub matchers: Option<String>,
}

impl QueryParams {
    /// As history takes it: the question, and the one it is held against. `now_ms` is what `now` means, ms since 1970.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn questions(mut self, now_ms: u64) -> Result<(Query, Option<Query>), BackendError> {
        let (against, conditions) = (self.against.take(), self.against_match.take());
        let query = self.query(now_ms)?;
        if against.is_none() && conditions.is_none() {
            return Ok((query, None));
        }
        if conditions.is_some() && query.by.is_none() {
            let what = "against_match without by: it is not said which series belong together";
            return Err(invalid(
                what,
                "name the labels they share, like by=state, or by= for one line",
            ));
        }
        let start_ms = against.map_or(Ok(query.start_ms), |text| instant_ms(&text, now_ms))?;
        let matchers = match conditions {
            Some(text) => matchers(Some(&text))?,
            None => query.matchers.clone(),
        };
        let end_ms = start_ms.saturating_add(query.end_ms.saturating_sub(query.start_ms));
        let other = Query { start_ms, end_ms, matchers, ..query.clone() };
        Ok((query, Some(other)))
    }

    fn query(self, now_ms: u64) -> Result<Query, BackendError> {
        let end_ms = self.end.map_or(Ok(now_ms), |text| instant_ms(&text, now_ms))?;
        let start_ms = match self.start {
            Some(text) => instant_ms(&text, now_ms)?,
            None => end_ms.saturating_sub(DEFAULT_RANGE.as_millis() as u64),
        };
        let range_ms = end_ms.saturating_sub(start_ms);
        let step_ms = match self.step.as_deref() {
            Some("all") => range_ms.max(1_000),
            Some(text) => {
                let span: Span = text.parse().map_err(|error| invalid(error, "or all"))?;
                span.0.as_millis() as u64
            }
            None => usual_step_ms(range_ms),
        };
        let function = match self.function {
            Some(name) => Some(Function::parse(&name, self.q)?),
            None => self.q.map(|q| Function::parse("quantile", Some(q))).transpose()?,
        };
        let by = self
            .by
            .map(|by| by.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect());
        let aggregate = self.aggregate.map(|text| text.parse()).transpose()?;
        let matchers = matchers(self.matchers.as_deref())?;
        let limits = Limits::default();
        let metric = self.metric;
        Ok(Query { metric, matchers, start_ms, end_ms, step_ms, function, by, aggregate, limits })
    }
}

/// The conditions in a parameter.
///
/// # Errors
/// What is none.
pub fn matchers(text: Option<&str>) -> Result<Vec<Matcher>, BackendError> {
    let parts = text.unwrap_or_default().split(',').filter(|part| !part.is_empty());
    let matchers: Vec<Matcher> = parts.map(str::parse).collect::<Result<_, QueryError>>()?;
    if matchers.len() > MAX_MATCHERS {
        let what = format!("{} conditions, and {MAX_MATCHERS} are the most", matchers.len());
        return Err(invalid(what, "ask with fewer"));
    }
    Ok(matchers)
}

fn usual_step_ms(range_ms: u64) -> u64 {
    let least_s = (range_ms / 1_000).div_ceil(DEFAULT_STEPS);
    let round = ROUND_STEPS_S.into_iter().find(|step_s| *step_s >= least_s);
    round.unwrap_or_else(|| least_s.div_ceil(86_400) * 86_400) * 1_000
}

/// Seconds since the epoch, `now`, or so long ago: `-1h`.
pub(super) fn instant_ms(text: &str, now_ms: u64) -> Result<u64, BackendError> {
    let wrong = || {
        let shown: String = text.chars().take(100).collect();
        let remedy = "give seconds since 1970, now, or how long ago, like -90m";
        invalid(format!("{shown:?} is no instant"), remedy)
    };
    if text == "now" {
        return Ok(now_ms);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago: Span = ago.parse().map_err(|_| wrong())?;
        return Ok(now_ms.saturating_sub(ago.0.as_millis() as u64));
    }
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    // Up to the year 5138: beyond, numbers are no times any more but mistakes.
    if (0.0..1e11).contains(&seconds) { Ok((seconds * 1e3) as u64) } else { Err(wrong()) }
}

fn invalid(what: impl ToString, remedy: &str) -> BackendError {
    BackendError::Invalid { what: what.to_string(), remedy: remedy.to_owned() }
}

impl From<QueryError> for BackendError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NoMetric { name, nearest } => {
                Self::NotFound { what: "metric", query: name, nearest }
            }
            QueryError::Invalid { what, remedy } => Self::Invalid { what, remedy },
            QueryError::Unreadable(_) => Self::Failed {
                what: error.to_string(),
                remedy: "`cgscope doctor` says more".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        let now = 2_000_000_000_000;
        let at = |text| instant_ms(text, now).ok();
        assert_eq!(at("now"), Some(now));
        assert_eq!(at("-1h30m"), Some(now - 5_400_000));
        assert_eq!(at("1767225600.5"), Some(1_767_225_600_500));
        for wrong in ["", "yesterday", "nan", "inf", "1e300", "--1h", "-", "2026-01-01"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn steps_that_people_read_easily() {
        let step = |seconds: u64| usual_step_ms(seconds * 1_000) / 1_000;
        assert_eq!([step(60), step(3_600), step(86_400), step(30 * 86_400)], [1, 30, 600, 21_600]);
        assert_eq!(step(1_000 * 86_400), 5 * 86_400);
    }
}
