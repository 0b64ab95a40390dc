//! `/api/v1/outliers`: the slowest operations of each second.

use std::{collections::HashMap, sync::Arc};

use axum::{Json, extract::State};
use monitor_common::outlier::OutlierKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    backend::BackendError,
    error::ApiError,
    openapi::values,
    params::{DEFAULT_DURATION, OutlierParams, Params, duration_or},
    routes::Served,
    subject,
};
use crate::{
    collect::{LatestOutliers, Outlier},
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
    /// The kernel stacks in which threads waited for their requests, each once, from the call to where it slept.
    pub stacks: Vec<Vec<String>>,
    /// Kinds that were asked for and are not looked for.
    pub missing: Vec<MissingKind>,
}

/// A kind of operation that is not looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MissingKind {
    /// As in a row.
    #[schema(value_type = values::OutlierKindName)]
    pub kind: String,
    /// What to do about it.
    pub remedy: String,
}

/// One operation that was among the 16 slowest of its kind and second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutlierRow {
    /// When it ended.
    pub at: WallTimeNs,
    /// `block`, a request of a disk; `file`, a call on a file.
    #[schema(value_type = values::OutlierKindName)]
    pub kind: String,
    /// What was done: `read`, `write`, `discard`, `flush`, ...; with a file `open`, `read`, `write`, `sync`.
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
    /// The disk, or the device of the file system; `null` where there is none.
    pub device: Option<String>,
    /// Where a request begins that moves bytes, in sectors of 512 bytes of the whole disk.
    pub sector: Option<u64>,
    /// The path of a file as its process sees it, with `…/` for a beginning that is not known; `null` where nothing is.
    pub file: Option<String>,
    /// The inode of a file.
    pub inode: Option<u64>,
    /// Bytes that were moved.
    pub bytes: u64,
    /// The process that made it; `null` where not known, as before Linux 6.9.
    pub pid: Option<Tgid>,
    /// Its thread.
    pub tid: Option<Tid>,
    /// The name of the thread then.
    pub thread: Option<String>,
    /// In which of [`OutlierList::stacks`] that thread waited for it; `null` where it did not wait, or that is not known.
    pub stack: Option<usize>,
}

impl OutlierRow {
    /// With the place of its stack among those that are told beside it.
    pub fn of(outlier: Outlier, stack: Option<usize>) -> Self {
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
            file: outlier.file.map(String::from),
            inode: outlier.inode,
            bytes: outlier.bytes,
            pid,
            tid,
            thread,
            stack,
        }
    }
}

impl From<(OutlierKind, &str)> for MissingKind {
    fn from((kind, remedy): (OutlierKind, &str)) -> Self {
        Self { kind: kind.name().to_owned(), remedy: remedy.to_owned() }
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
    let LatestOutliers { span, mut outliers, mut missing } = served.backend.outliers(duration);
    missing.retain(|(of, _)| kind.is_none_or(|kind| kind == *of));
    outliers.retain(|outlier| {
        kind.is_none_or(|kind| kind == outlier.kind)
            && only.as_ref().is_none_or(|only| only.id == outlier.container)
    });
    let total = outliers.len();
    outliers.truncate(params.limit.unwrap_or(DEFAULT_LIMIT));
    let (places, stacks) = distinct(&outliers);
    let stacks = match stacks.is_empty() {
        true => vec![],
        false => served.backend.kernel_functions(stacks).await,
    };
    Ok(Json(OutlierList {
        at: served.backend.now().0,
        span_ns: span.as_nanos() as u64,
        total,
        outliers: outliers.into_iter().zip(places).map(|(o, at)| OutlierRow::of(o, at)).collect(),
        stacks,
        missing: missing.into_iter().map(MissingKind::from).collect(),
    }))
}

/// In which of the stacks that there are each waited.
pub fn distinct(outliers: &[Outlier]) -> (Vec<Option<usize>>, Vec<Arc<[u64]>>) {
    let mut stacks = Vec::new();
    let mut known = HashMap::new();
    let places = outliers.iter().map(|outlier| {
        let stack = outlier.stack.as_ref()?;
        Some(*known.entry(Arc::clone(stack)).or_insert_with(|| {
            stacks.push(Arc::clone(stack));
            stacks.len() - 1
        }))
    });
    (places.collect(), stacks)
}

fn kind(name: &str) -> Result<OutlierKind, BackendError> {
    let known = OutlierKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| BackendError::Invalid {
        what: format!("there are no outliers of kind {name:?}"),
        remedy: format!("ask for {}", OutlierKind::ALL.map(OutlierKind::name).join(" or ")),
    })
}
