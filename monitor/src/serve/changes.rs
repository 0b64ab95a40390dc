//! `/api/v1/changes`: limits of containers that were changed while the daemon ran.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    api::{in_unit, unit_name},
    error::ApiError,
    openapi::values,
    params::{ChangesParams, Params},
    routes::Served,
    subject,
};
use crate::{
    container::{ContainerId, limits::Change},
    metric::WallTimeNs,
};

/// Changed limits, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeList {
    /// The changes.
    pub changes: Vec<LimitChange>,
}

/// One limit that became another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitChange {
    /// When it was noticed: up to five seconds after it was made, later for a container that does nothing.
    pub at: WallTimeNs,
    /// Whose limit it is.
    pub container: ContainerId,
    /// What its owner was called then.
    pub name: String,
    /// The metric that shows it.
    pub metric: String,
    /// Its heading, short.
    pub title: String,
    /// Its unit.
    #[schema(value_type = values::MetricUnit)]
    pub unit: String,
    /// What it was; `null` for no limit.
    pub old: Option<f64>,
    /// What it is; `null` for no limit.
    pub new: Option<f64>,
}

impl From<Change> for LimitChange {
    fn from(change: Change) -> Self {
        let Change { at, container, name, metric, old, new } = change;
        let limit = |kept: Option<u64>| kept.map(|kept| in_unit(metric.unit, kept as f64));
        Self {
            at,
            container,
            name: name.as_ref().to_owned(),
            metric: metric.name.to_owned(),
            title: metric.title.to_owned(),
            unit: unit_name(metric.unit).to_owned(),
            old: limit(old),
            new: limit(new),
        }
    }
}

pub(super) async fn list(
    State(served): State<Served>,
    Params(params): Params<ChangesParams>,
) -> Result<Json<ChangeList>, ApiError> {
    let only = params.container.as_deref();
    let only = only.map(|query| subject::find(&*served.backend, query)).transpose()?;
    let mut changes = served.backend.changes();
    changes.retain(|change| only.as_ref().is_none_or(|only| only.id == change.container));
    Ok(Json(ChangeList { changes: changes.into_iter().map(LimitChange::from).collect() }))
}
