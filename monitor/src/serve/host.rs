//! `/api/v1/host`, `/api/v1/probes`, `/api/v1/doctor` and `/metrics`.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    api::{HostReport, Measurement},
    backend::BackendError,
    containers::span_ns,
    error::ApiError,
    exposition,
    params::{NoParams, Params, RecentParams, duration_or},
    report::{DoctorReport, ProbesReport},
    routes::Served,
    subject::Names,
    window,
};
use crate::metric::Subject;

pub async fn host(
    State(served): State<Served>,
    Params(params): Params<RecentParams>,
) -> Result<Json<HostReport>, ApiError> {
    let duration = duration_or(params.duration, Duration::ZERO)?;
    let window = window::recent_of(served.backend.live(), &Subject::Host, duration).await?;
    let span_ns = span_ns(&window);
    let part = window.subjects.get(&Subject::Host);
    let metrics = part.iter().flat_map(|part| &part.series);
    let metrics = metrics.map(|series| Measurement::of(series, span_ns)).collect();
    Ok(Json(HostReport { at: window.at, span_ns, metrics }))
}

pub async fn probes(State(served): State<Served>, _: Params<NoParams>) -> Json<ProbesReport> {
    Json(served.backend.probes())
}

pub async fn doctor(State(served): State<Served>, _: Params<NoParams>) -> Json<DoctorReport> {
    Json(served.backend.doctor())
}

/// Every metric, as OpenMetrics has it.
#[derive(Debug)]
pub struct Exposition(String);

impl Exposition {
    /// What it is served as.
    pub const MEDIA_TYPE: &str = exposition::MEDIA_TYPE;
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, Self::MEDIA_TYPE)], self.0).into_response()
    }
}

pub async fn metrics(
    State(served): State<Served>,
    _: Params<NoParams>,
) -> Result<Exposition, ApiError> {
    let names = Names::of(served.backend.registry());
    let tick = served.backend.live().latest();
    // Thousands of series take milliseconds: not on a thread that answers others.
    let text = tokio::task::spawn_blocking(move || exposition::encode(tick, names));
    let text = text.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Exposition(text))
}

fn failed(error: &dyn std::error::Error) -> BackendError {
    BackendError::Failed {
        what: format!("cannot encode the metrics: {error}"),
        remedy: "report it with the version of cgscope".to_owned(),
    }
}
