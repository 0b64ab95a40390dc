//! `/api/v1/query`, `/api/v1/series` and `/api/v1/labels`: the past.

use axum::{Json, extract::State};

use super::{
    api::unit_name,
    backend::BackendError,
    error::ApiError,
    params::{Params, Segment},
    query_api::{
        AgainstAnswer, LabelValuesAnswer, QueryAnswer, SeriesAnswer, SeriesList, SeriesName,
    },
    query_params::{LabelParams, QueryParams, SeriesParams, matchers},
    routes::Served,
};
use crate::store::{
    Snapshot,
    query::{Compared, QueryError, compare, evaluate, label_values as values_of, list},
};

/// Series in one list, unless the request says fewer.
pub(super) const MAX_LISTED: usize = 10_000;
/// Series in one list of a request that does not say.
pub(super) const DEFAULT_LISTED: usize = 1_000;
const MS_NS: u64 = 1_000_000;

pub async fn query(
    State(served): State<Served>,
    Params(params): Params<QueryParams>,
) -> Result<Json<QueryAnswer>, ApiError> {
    let (query, other) = params.questions(now_ms(&served))?;
    let metric = query.metric.clone();
    let (answer, other) = ask(served, move |snapshot| {
        let other = other.map(|other| evaluate(snapshot, &other)).transpose()?;
        Ok((evaluate(snapshot, &query)?, other))
    })
    .await?;
    let ns = |ms: u64| ms.saturating_mul(MS_NS);
    let against = other.as_ref().map(|other| AgainstAnswer {
        start_ns: ns(other.start_ms),
        end_ns: ns(other.end_ms),
        resolution_ns: ns(other.resolution_ms),
    });
    let line = |series: Compared| SeriesAnswer {
        labels: series.labels,
        merged: series.merged,
        values: series.values,
        against: series.against,
    };
    Ok(Json(QueryAnswer {
        metric,
        kind: answer.kind.to_string(),
        unit: unit_name(answer.unit).to_owned(),
        function: answer.function.name().to_owned(),
        start_ns: ns(answer.start_ms),
        end_ns: ns(answer.end_ms),
        step_ns: ns(answer.step_ms),
        resolution_ns: ns(answer.resolution_ms),
        against,
        series: compare(answer.series, answer.steps, other.map(|other| other.series))
            .into_iter()
            .map(line)
            .collect(),
    }))
}

pub async fn series(
    State(served): State<Served>,
    Params(params): Params<SeriesParams>,
) -> Result<Json<SeriesList>, ApiError> {
    let conditions = matchers(params.matchers.as_deref())?;
    let skip = params.cursor.unwrap_or(0);
    let limit = params.limit.unwrap_or(DEFAULT_LISTED).clamp(1, MAX_LISTED);
    let metric = params.metric;
    let (rows, total) =
        ask(served, move |snapshot| list(snapshot, metric.as_deref(), &conditions, skip, limit))
            .await?;
    let end = skip.saturating_add(rows.len());
    let series = rows.into_iter().map(|(row, labels)| SeriesName {
        kind: row.kind().to_string(),
        unit: unit_name(row.unit).to_owned(),
        metric: row.metric,
        labels,
    });
    Ok(Json(SeriesList { total, cursor: (end < total).then_some(end), series: series.collect() }))
}

pub async fn label_values(
    State(served): State<Served>,
    Segment(label): Segment,
    Params(params): Params<LabelParams>,
) -> Result<Json<LabelValuesAnswer>, ApiError> {
    let conditions = matchers(params.matchers.as_deref())?;
    let metric = params.metric;
    let values =
        ask(served, move |snapshot| values_of(snapshot, &label, metric.as_deref(), &conditions));
    Ok(Json(LabelValuesAnswer { values: values.await?.into_iter().collect() }))
}

/// What `now` means, ms since 1970.
pub(super) fn now_ms(served: &Served) -> u64 {
    served.backend.now().0.0 / 1_000_000
}

/// Asks on a thread that may wait for a disk.
pub(super) async fn ask<T: Send + 'static>(
    served: Served,
    question: impl FnOnce(&Snapshot) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, BackendError> {
    let answer = tokio::task::spawn_blocking(move || Ok(question(&served.backend.history()?)?));
    answer.await.map_err(|error| BackendError::Failed {
        what: format!("the question could not be answered: {error}"),
        remedy: "report it with the question and the version of cgscope".to_owned(),
    })?
}
