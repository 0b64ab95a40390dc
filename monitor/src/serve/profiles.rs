//! `/api/v1/profiles`: recordings that were kept (`keep=true`), in any format, and the difference of two.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    Json,
    extract::State,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    backend::BackendError,
    error::ApiError,
    flamegraph::{DRAWING_POLICY, Drawing, drawn, failed, format},
    kept::Kept,
    openapi::values,
    params::{NoParams, Params, Segment},
    routes::Served,
};
use crate::profile::{
    Confidence, Diff, DiffError, DiffFormat, Format, Level, ProfileKind, Recording, Scale,
};

/// The recordings that are kept, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileList {
    /// The recordings.
    pub profiles: Vec<ProfileEntry>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileEntry {
    /// Its id.
    pub id: String,
    /// What was recorded.
    pub kind: ProfileKind,
    /// Of whom, for people.
    pub scope: String,
    /// The whole id of the container, if it is of one.
    pub container: Option<String>,
    /// When it began, ns since the epoch.
    pub started_at_ns: u64,
    /// Its length, ns.
    pub duration_ns: u64,
    /// Samples, or waits, that arrived.
    pub sample_count: u64,
    /// How far to trust it.
    #[schema(value_type = Level)]
    pub confidence: String,
}

/// A recording in a format.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProfileParams {
    /// In which format.
    #[param(inline, value_type = Option<values::KeptFormat>)]
    pub format: Option<String>,
}

/// A recording held against another.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffParams {
    /// The id of the earlier one.
    pub base: String,
    /// In which format.
    #[param(inline, value_type = Option<values::DifferenceFormat>)]
    pub format: Option<String>,
    /// Whether weights are compared as they are; else as shares of their totals.
    #[serde(default)]
    #[param(default = false)]
    pub absolute: bool,
}

/// The difference of two recordings in a format.
#[derive(Debug)]
pub(super) struct DrawnDifference(Response);

impl IntoResponse for DrawnDifference {
    fn into_response(self) -> Response {
        self.0
    }
}

impl From<&Arc<Kept>> for ProfileEntry {
    fn from(kept: &Arc<Kept>) -> Self {
        let profile = &kept.profile;
        let confidence = Confidence::of(profile);
        let since_epoch = profile.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: kept.id.clone(),
            kind: profile.kind,
            scope: profile.scope.clone(),
            container: kept.container.clone(),
            started_at_ns: since_epoch.as_nanos() as u64,
            duration_ns: profile.duration_ns,
            sample_count: confidence.sample_count,
            confidence: Level::name(confidence.level).to_owned(),
        }
    }
}

pub(super) async fn list(State(served): State<Served>, _: Params<NoParams>) -> Json<ProfileList> {
    Json(ProfileList { profiles: served.kept.list().iter().map(ProfileEntry::from).collect() })
}

pub(super) async fn one(
    State(served): State<Served>,
    Segment(id): Segment,
    Params(params): Params<ProfileParams>,
) -> Result<Drawing, ApiError> {
    let format = params.format.as_deref().map_or(Ok(Format::Json), |name| format(Some(name)))?;
    Ok(drawn(find(&served, &id)?, format).await?)
}

pub(super) async fn diff(
    State(served): State<Served>,
    Segment(id): Segment,
    Params(params): Params<DiffParams>,
) -> Result<DrawnDifference, ApiError> {
    let (format, media_type) = match params.format.as_deref() {
        None | Some("json") => (DiffFormat::Json, Format::Json.media_type()),
        Some("svg") => (DiffFormat::Svg, Format::Svg.media_type()),
        Some("folded") => (DiffFormat::Folded, Format::Folded.media_type()),
        Some(name) => {
            return Err(ApiError(BackendError::Invalid {
                what: format!("{name:?} is no format of a difference"),
                remedy: "ask for one of json, svg, folded".to_owned(),
            }));
        }
    };
    let (base, other) = (find(&served, &params.base)?, find(&served, &id)?);
    let scale = if params.absolute { Scale::Absolute } else { Scale::Total };
    let work = tokio::task::spawn_blocking(move || compare(&base, &other, scale, format));
    let body = work.await.map_err(|error| failed(&error))??;
    let headers = [(CONTENT_TYPE, media_type), (CONTENT_SECURITY_POLICY, DRAWING_POLICY)];
    Ok(DrawnDifference((headers, body).into_response()))
}

fn compare(
    base: &Kept,
    other: &Kept,
    scale: Scale,
    format: DiffFormat,
) -> Result<Vec<u8>, BackendError> {
    let read = |kept: &Kept| {
        let json = kept.profile.render(Format::Json).map_err(|error| failed(&error))?;
        Recording::read(&kept.profile.scope, &json).map_err(|error| failed(&error))
    };
    let diff = Diff::between(&read(base)?, &read(other)?, scale);
    let diff = diff.map_err(|error| match error {
        DiffError::Units { .. } | DiffError::Empty(_) => BackendError::Invalid {
            what: error.to_string(),
            remedy: "compare two recordings of one type that both saw something".to_owned(),
        },
        DiffError::Svg(_) | DiffError::Json(_) => failed(&error),
    })?;
    diff.render(format).map_err(|error| failed(&error))
}

fn find(served: &Served, id: &str) -> Result<Arc<Kept>, BackendError> {
    served.kept.find(id).ok_or_else(|| BackendError::NotFound {
        what: "a recording that is kept",
        query: id.to_owned(),
        nearest: vec![],
    })
}
