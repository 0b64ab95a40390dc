//! What a tape holds besides measurements, as JSON, and what the API says of a recording.
//!
//! Contract: members are only ever added, each with a default, so that files of earlier versions are read.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    analyze::audit::AuditReport,
    container::{Container, ContainerId, limits::Change},
    kernel::host::SourceStatus,
    metric::{Descriptor, WallTimeNs},
    serve::{
        backend::Backend,
        params::{NoParams, Params},
        report::{DoctorReport, ProbesReport},
        routes::Served,
    },
    store::tape::Losses,
};

/// Of which host a tape is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The host's name.
    pub host: String,
    /// Its kernel's release.
    pub kernel: String,
    /// The version of cgscope that recorded it.
    pub version: String,
    /// When it was asked for.
    pub begun: WallTimeNs,
    /// How long it was to be; 0 where it is of what had happened.
    pub wanted_ns: u64,
    /// How many ticks its recorder had written before the first that is in it.
    pub first_tick: u64,
}

/// What was asked of the daemon at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answers {
    pub probes: ProbesReport,
    pub doctor: DoctorReport,
    pub sources: Vec<SourceStatus>,
    pub audit: AuditReport,
    /// Changed limits, the newest first.
    pub changes: Vec<ChangeRow>,
    /// Kinds of slow operations that were not looked for.
    pub missing_outliers: Vec<String>,
}

/// A limit that became another, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeRow {
    at: WallTimeNs,
    container: ContainerId,
    name: String,
    metric: String,
    old: Option<u64>,
    new: Option<u64>,
}

/// Who there was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contained {
    /// The living and the dead.
    pub containers: Vec<Container>,
    /// Those of which only the directory was left.
    pub leftovers: Vec<ContainerId>,
}

/// That a tape was ended and not cut off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// Ticks that were written.
    pub ticks: u64,
    /// Ticks that were missed.
    pub missed_ticks: u64,
    /// Windows of stacks that were missed.
    pub missed_windows: u64,
    /// Whether the daemon ended before the time was over.
    pub is_early: bool,
}

impl Answers {
    /// What a daemon says now.
    pub fn of(backend: &dyn Backend) -> Self {
        let missing = backend.outliers(Duration::ZERO).missing;
        Self {
            probes: backend.probes(),
            doctor: backend.doctor(),
            sources: backend.sources(),
            audit: backend.audit(),
            changes: backend.changes().into_iter().map(ChangeRow::from).collect(),
            missing_outliers: missing.into_iter().map(|(kind, _)| kind.name().to_owned()).collect(),
        }
    }
}

impl From<Change> for ChangeRow {
    fn from(change: Change) -> Self {
        let Change { at, container, name, metric, old, new } = change;
        let (name, metric) = (name.as_ref().to_owned(), metric.name.to_owned());
        Self { at, container, name, metric, old, new }
    }
}

impl ChangeRow {
    /// With its metric, if that is described.
    pub fn change(self, metrics: &[&'static Descriptor]) -> Option<Change> {
        let Self { at, container, name, metric, old, new } = self;
        let metric = metrics.iter().copied().find(|known| known.name == metric)?;
        Some(Change { at, container, name: name.into(), metric, old, new })
    }
}

impl Contained {
    /// Everybody of now.
    pub fn of(backend: &dyn Backend) -> Self {
        let registry = backend.registry();
        let containers = registry.containers(true, true);
        let leftovers = containers.iter().filter(|container| {
            container.runtime.is_container() && registry.is_leftover(container)
        });
        Self {
            leftovers: leftovers.map(|container| container.id.clone()).collect(),
            containers: containers.iter().map(|container| container.as_ref().clone()).collect(),
        }
    }
}

/// What is replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingReport {
    /// The host it is of.
    pub host: String,
    /// That host's kernel.
    pub kernel: String,
    /// The version of cgscope that recorded it.
    pub version: String,
    /// Its first measurement.
    pub from: WallTimeNs,
    /// Its last one; `now` in questions.
    pub to: WallTimeNs,
    /// How many measurements it holds.
    pub ticks: u64,
    /// How many windows of stack samples it holds.
    pub windows: u64,
    /// The file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// What is missing of it.
    pub lost: Losses,
    /// The same for people; empty if nothing is.
    pub lost_text: String,
}

/// What is replayed, on the live stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordedBrief {
    /// The host it is of.
    pub host: String,
    /// Its first measurement.
    pub from: WallTimeNs,
    /// Its last one.
    pub to: WallTimeNs,
    /// What is missing of it, for people; empty if nothing is.
    pub lost: String,
}

impl From<&RecordingReport> for RecordedBrief {
    fn from(report: &RecordingReport) -> Self {
        let RecordingReport { host, from, to, lost_text, .. } = report.clone();
        Self { host, from, to, lost: lost_text }
    }
}

/// Whether this is a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingAnswer {
    /// What is replayed; `null` from a daemon that measures.
    pub recording: Option<RecordingReport>,
}

/// `/api/v1/recording`.
pub async fn recording(State(served): State<Served>, _: Params<NoParams>) -> Json<RecordingAnswer> {
    Json(RecordingAnswer { recording: served.backend.recording().cloned() })
}
