//! `/api/v1/outliers`: the slowest operations of each second.

use axum::{Json, extract::State};
use monitor_common::outlier::OutlierKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    backend::BackendError,
    error::ApiError,
    params::{DEFAULT_DURATION, OutlierParams, Params, duration_or},
    routes::Served,
    subject,
};
use crate::{
    collect::Outlier,
    container::ContainerId,
    kernel::ids::{Tgid, Tid},
    metric::WallTimeNs,
};

/// How many are listed when the request does not say.
pub const DEFAULT_LIMIT: usize = 100;

/// Slow operations, the slowest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutlierList {
    /// The end of the time they are of.
    pub at: WallTimeNs,
    /// How long that was: less than was asked for when the daemon has not run so long.
    pub span_ns: u64,
    /// How many there were; more than are listed where `limit` cut.
    pub total: usize,
    /// The operations.
    pub outliers: Vec<OutlierRow>,
}

/// One operation that was among the 16 slowest of its kind and second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutlierRow {
    /// When it ended.
    pub at: WallTimeNs,
    /// `block`, a request of a disk.
    pub kind: String,
    /// What was done: `read`, `write`, `discard`, `flush`, ...
    pub operation: String,
    /// Whose it was.
    pub container: ContainerId,
    /// What its owner is called.
    pub name: String,
    /// How long it took.
    pub latency_ns: u64,
    /// The part of it before its issue to the device; `null` where not known.
    pub queue_ns: Option<u64>,
    /// The part of it in the device; `null` where not known.
    pub service_ns: Option<u64>,
    /// The disk; `null` where there is none.
    pub device: Option<String>,
    /// Where a request begins that moves bytes, in sectors of 512 bytes of the whole disk.
    pub sector: Option<u64>,
    /// Bytes that were moved.
    pub bytes: u64,
    /// The process that made it; `null` where not known, as before Linux 6.9.
    pub pid: Option<Tgid>,
    /// Its thread.
    pub tid: Option<Tid>,
    /// The name of the thread then.
    pub thread: Option<String>,
}

impl From<Outlier> for OutlierRow {
    fn from(outlier: Outlier) -> Self {
        let (pid, tid, thread) = match outlier.thread {
            Some((pid, tid, name)) => (Some(pid), Some(tid), Some(name)),
            None => (None, None, None),
        };
        Self {
            at: outlier.at,
            kind: outlier.kind.name().to_owned(),
            operation: outlier.operation.to_owned(),
            container: outlier.container,
            name: outlier.name,
            latency_ns: outlier.latency_ns,
            queue_ns: outlier.queue_ns,
            service_ns: outlier.service_ns,
            device: outlier.device.map(|device| device.as_ref().to_owned()),
            sector: outlier.sector,
            bytes: outlier.bytes,
            pid,
            tid,
            thread,
        }
    }
}

pub(super) async fn list(
    State(served): State<Served>,
    Params(params): Params<OutlierParams>,
) -> Result<Json<OutlierList>, ApiError> {
    let duration = duration_or(params.duration, DEFAULT_DURATION)?;
    let kind = params.kind.as_deref().map(kind).transpose()?;
    let only = params.container.as_deref();
    let only = only.map(|query| subject::find(&*served.backend, query)).transpose()?;
    let (span, mut outliers) = served.backend.outliers(duration);
    outliers.retain(|outlier| {
        kind.is_none_or(|kind| kind == outlier.kind)
            && only.as_ref().is_none_or(|only| only.id == outlier.container)
    });
    let total = outliers.len();
    outliers.truncate(params.limit.unwrap_or(DEFAULT_LIMIT));
    Ok(Json(OutlierList {
        at: served.backend.now().0,
        span_ns: span.as_nanos() as u64,
        total,
        outliers: outliers.into_iter().map(OutlierRow::from).collect(),
    }))
}

fn kind(name: &str) -> Result<OutlierKind, BackendError> {
    let known = OutlierKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| BackendError::Invalid {
        what: format!("there are no outliers of kind {name:?}"),
        remedy: format!("ask for {}", OutlierKind::ALL.map(OutlierKind::name).join(" or ")),
    })
}
