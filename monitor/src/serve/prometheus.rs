//! `/prometheus/api/v1`: Prometheus' HTTP API over history, so that Grafana takes the daemon as a data source.
//!
//! Contract: the same names and labels as `/metrics`. Errors are in Prometheus' shape. Two queries are evaluated at a time;
//! others wait.

use std::collections::BTreeSet;

use axum::extract::State;
use tokio::sync::Semaphore;

use super::{
    backend::BackendError,
    params::Segment,
    prometheus_api::{AllMetadata, BuildInfo, Failure, Metadata, Metric, QueryData, Success},
    prometheus_params::Fields,
    prometheus_source::HistorySource,
    query::now_ms,
    routes::Served,
};
use crate::{
    metric::Kind,
    promql::{self, Answer, Condition, Labels, Limits, Options, PromqlError},
};

/// Queries at a time: each may take up to 100 MB and a CPU.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);

/// The answer of a handler.
type Reply<T> = Result<Success<T>, Failure>;

pub async fn query(State(served): State<Served>, fields: Fields) -> Reply<QueryData> {
    let text = fields.needed("query")?.to_owned();
    let at_ms = fields.time_ms("time")?.unwrap_or(now_ms(&served) as i64);
    let options = options(&fields)?;
    let answer =
        ask(served, options.limits, move |source| promql::instant(source, &text, at_ms, &options));
    answer.await.map(reply)
}

pub async fn query_range(State(served): State<Served>, fields: Fields) -> Reply<QueryData> {
    let text = fields.needed("query")?.to_owned();
    let needed = |name: &str| -> Result<i64, PromqlError> {
        fields.needed(name)?;
        Ok(fields.time_ms(name)?.unwrap_or(0))
    };
    let range = (needed("start")?, needed("end")?);
    fields.needed("step")?;
    let step_ms = fields.span_ms("step")?.unwrap_or(0);
    let options = options(&fields)?;
    let answer = ask(served, options.limits, move |source| {
        promql::range(source, &text, range, step_ms, &options)
    });
    answer.await.map(reply)
}

pub async fn series(State(served): State<Served>, fields: Fields) -> Reply<Vec<Metric>> {
    let (limits, limit) = (fields.limits()?, fields.limit()?);
    let selectors = fields.selectors(&limits)?;
    if selectors.is_empty() {
        return Err(PromqlError::bad_data("no match[] parameter provided").into());
    }
    let all = ask(served, limits, move |source| matching(source, selectors)).await?;
    Ok(Success::new(all.into_iter().take(limit).map(Metric).collect()))
}

pub async fn labels(State(served): State<Served>, fields: Fields) -> Reply<Vec<String>> {
    let (limits, limit) = (fields.limits()?, fields.limit()?);
    let selectors = fields.selectors(&limits)?;
    let names = ask(served, limits, move |source| {
        let mut names = BTreeSet::new();
        for labels in matching(source, selectors)? {
            names.extend(labels.iter().map(|(name, _)| name.to_owned()));
        }
        Ok(names)
    });
    Ok(Success::new(names.await?.into_iter().take(limit).collect()))
}

pub async fn label_values(
    State(served): State<Served>,
    segment: Result<Segment, super::error::ApiError>,
    fields: Fields,
) -> Reply<Vec<String>> {
    let Segment(label) = segment.map_err(|error| PromqlError::bad_data(error.0.to_string()))?;
    let (limits, limit) = (fields.limits()?, fields.limit()?);
    let selectors = fields.selectors(&limits)?;
    let values = ask(served, limits, move |source| {
        let mut values = BTreeSet::new();
        for labels in matching(source, selectors)? {
            let value = labels.get(&label);
            if !value.is_empty() && !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
        Ok(values)
    });
    Ok(Success::new(values.await?.into_iter().take(limit).collect()))
}

pub async fn metadata(State(served): State<Served>, fields: Fields) -> Reply<AllMetadata> {
    let limit = fields.limit()?;
    let wanted = fields.get("metric");
    let latest = served.backend.live().latest();
    let samples = latest.iter().flat_map(|tick| tick.samples());
    let mut all = AllMetadata::new();
    for metric in samples.map(|sample| sample.metric) {
        if wanted.is_some_and(|wanted| wanted != metric.name) {
            continue;
        }
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Distribution => "histogram",
        };
        all.entry(metric.name)
            .or_insert_with(|| vec![Metadata { kind, help: metric.help, unit: "" }]);
    }
    Ok(Success::new(all.into_iter().take(limit).collect()))
}

pub async fn build_info() -> Success<BuildInfo> {
    Success::new(BuildInfo {
        version: "3.0.0",
        revision: concat!("cgscope ", env!("CARGO_PKG_VERSION")),
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}

fn options(fields: &Fields) -> Result<Options, PromqlError> {
    Ok(Options { limits: fields.limits()?, ..Options::default() })
}

fn reply(answer: Answer) -> Success<QueryData> {
    Success::with(answer.outcome.into(), answer.notes)
}

/// The series that meet any of the conditions, each once; all without conditions.
fn matching(
    source: &HistorySource<'_>,
    selectors: Vec<Condition>,
) -> Result<BTreeSet<Labels>, PromqlError> {
    if selectors.is_empty() {
        return Ok(source.series(None)?.into_iter().collect());
    }
    let mut all = BTreeSet::new();
    for selector in &selectors {
        all.extend(source.series(Some(selector))?);
    }
    Ok(all)
}

/// Asks on a thread that may wait for a disk.
async fn ask<T: Send + 'static>(
    served: Served,
    limits: Limits,
    question: impl FnOnce(&HistorySource<'_>) -> Result<T, PromqlError> + Send + 'static,
) -> Result<T, Failure> {
    let permit =
        AT_A_TIME.acquire().await.map_err(|error| Failure::unavailable(error.to_string()))?;
    let answer = tokio::task::spawn_blocking(move || {
        // It is the thread that is at work, not whoever waits for it.
        let _permit = permit;
        let snapshot = served.backend.history().map_err(|error: BackendError| {
            Failure::unavailable(format!("{error}: {}", error.remedy()))
        })?;
        question(&HistorySource::new(&snapshot, limits)).map_err(Failure::from)
    });
    answer.await.map_err(|error| {
        Failure::from(PromqlError::internal(format!("the query could not be answered: {error}")))
    })?
}
