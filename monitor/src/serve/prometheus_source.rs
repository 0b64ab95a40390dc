//! History as a source of PromQL.

use super::backend::BackendError;
use crate::{
    promql::{
        Condition, ErrorKind, Labels, Limits, PromqlError, STALE, Sample, Selection, Series, Source,
    },
    store::{
        Snapshot,
        query::{self, QueryError, Scraped, Wanted},
    },
};

/// History at one moment, for one query.
pub struct HistorySource<'a> {
    snapshot: &'a Snapshot,
    limits: Limits,
}

impl<'a> HistorySource<'a> {
    /// Of a look at history.
    pub fn new(snapshot: &'a Snapshot, limits: Limits) -> Self {
        Self { snapshot, limits }
    }

    /// Names and labels of the series that meet a condition; of all without one.
    pub fn series(&self, condition: Option<&Condition>) -> Result<Vec<Labels>, PromqlError> {
        let name = condition.and_then(Condition::exact_name);
        let is_meant = |label: query::LabelOf<'_>| condition.is_none_or(|c| c.is_met_by(label));
        let all = query::exposed(self.snapshot, name, &is_meant, self.limits.series * 8)?;
        Ok(all.into_iter().map(Labels::new).collect())
    }
}

impl Source for HistorySource<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, PromqlError> {
        let condition = &selection.condition;
        let wanted = Wanted {
            name: condition.exact_name(),
            is_meant: &|label| condition.is_met_by(label),
            after_ms: selection.after_ms,
            until_ms: selection.until_ms,
            step_ms: selection.step_ms,
            window_ms: selection.window_ms,
            totals_before_ms: selection.query_after_ms,
            max_series: self.limits.series,
            max_samples: self.limits.samples,
        };
        let scraped = query::scrape(self.snapshot, &wanted)?;
        Ok(scraped.into_iter().map(series).collect())
    }
}

fn series(scraped: Scraped) -> Series {
    let sample =
        |(at_ms, value): (i64, Option<f64>)| Sample { at_ms, value: value.unwrap_or(STALE) };
    Series {
        labels: Labels::new(scraped.labels),
        samples: scraped.samples.into_iter().map(sample).collect(),
    }
}

impl From<QueryError> for PromqlError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid { what, remedy } => {
                Self { kind: ErrorKind::Execution, message: format!("{what}: {remedy}") }
            }
            QueryError::NoMetric { .. } => Self::bad_data(error.to_string()),
            QueryError::Unreadable(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<BackendError> for PromqlError {
    fn from(error: BackendError) -> Self {
        Self::internal(format!("{error}: {}", error.remedy()))
    }
}
