//! `/api/v1/sources`: the files that are read again and again, and how that goes.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    params::{NoParams, Params},
    routes::Served,
};
use crate::{
    kernel::host::{Health, SourceStatus},
    metric::KtimeNs,
};

/// Sources, in the order in which they are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceList {
    /// The sources.
    pub sources: Vec<SourceReport>,
}

/// One file of procfs, or the same files of many cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Least time between two readings, ns; 0 for every tick.
    pub interval_ns: u64,
    /// Sources are read in the order of this number, at the instant of their tick.
    pub priority: u8,
    /// Whether it is wanted.
    pub enabled: bool,
    /// How it is.
    pub health: Health,
    /// How long ago it was last read successfully, ns; `null` if never.
    pub age_ns: Option<u64>,
    /// What the last reading that failed said, with the remedy; `null` once one succeeds.
    pub last_error: Option<String>,
}

impl SourceReport {
    fn of(status: SourceStatus, now: KtimeNs) -> Self {
        let age_ns = status.last_read.map(|at| now.since(at).as_nanos() as u64);
        Self {
            name: status.name,
            interval_ns: status.interval_ns,
            priority: status.priority,
            enabled: status.is_enabled,
            health: status.health,
            age_ns,
            last_error: status.last_error,
        }
    }
}

pub(super) async fn list(State(served): State<Served>, _: Params<NoParams>) -> Json<SourceList> {
    let (_, now) = served.backend.now();
    let sources = served.backend.sources().into_iter();
    Json(SourceList { sources: sources.map(|status| SourceReport::of(status, now)).collect() })
}
