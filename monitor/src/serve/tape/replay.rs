//! A daemon whose measurements come from a tape.

use std::{
    collections::{HashSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use monitor_common::outlier::OutlierKind;

use super::{
    outlier::{TapedOutlier, TapedOutliers},
    told::{Answers, Contained, Ended, Facts, RecordingReport},
};
use crate::{
    analyze::audit::AuditReport,
    collect::LatestOutliers,
    container::{Registry, limits::Change},
    kernel::{host::SourceStatus, ids::Tgid},
    metric::{Descriptor, KtimeNs, Scope, WallTimeNs},
    profile::{KeptWindow, Profile},
    serve::{
        backend::{Backend, BackendError, BoxFuture, PROCESS_PREFIX, ProfileRequest, Watch},
        report::{Check, CheckStatus, DoctorReport, ProbesReport},
        subject::names,
    },
    store::{
        Live, Snapshot,
        profiles::Archive,
        tape::{SectionKind, Tape, TapeError, TapeHistory},
    },
};

/// A recording that is served.
pub struct Replay {
    live: Live,
    registry: Registry,
    history: TapeHistory,
    archive: Option<Arc<Archive>>,
    answers: Answers,
    changes: Vec<Change>,
    outliers: TapedOutliers,
    metrics: Vec<&'static Descriptor>,
    report: RecordingReport,
    /// What `now` means.
    now: (WallTimeNs, KtimeNs),
}

impl Replay {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TapeError`], unless something of it can be shown.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        Self::of(Tape::open(path)?)
    }

    /// Of a tape.
    ///
    /// # Errors
    /// [`TapeError::Empty`] if no measurement of it is whole.
    pub fn of(mut tape: Tape) -> Result<Self, TapeError> {
        let facts: Facts = tape.read(SectionKind::Facts).pop().unwrap_or_default();
        let answers: Answers = tape.read(SectionKind::Answers).pop().unwrap_or_default();
        let contained: Contained = tape.read(SectionKind::Containers).pop().unwrap_or_default();
        let rows: Vec<Vec<TapedOutlier>> = tape.read(SectionKind::Outliers);
        let ended: Ended = tape.read(SectionKind::End).pop().unwrap_or_default();
        let profiles = tape.profiles();
        let mut history = TapeHistory::new(Some(PROCESS_PREFIX));
        let (mut ticks, mut count) = (VecDeque::new(), 0);
        let mut from = None;
        tape.each_tick(facts.first_tick, |tick| {
            history.record(&tick);
            from = from.or(Some(tick.at));
            count += 1;
            if ticks.len() == Live::KEPT_TICKS {
                ticks.pop_front();
            }
            ticks.push_back(Arc::new(tick));
        });
        let lost = tape.lost_mut();
        lost.missed_ticks += ended.missed_ticks;
        lost.missed_windows += ended.missed_windows;
        lost.ticks = lost.ticks.max(ended.ticks.saturating_sub(count));
        let (Some(from), Some(last)) = (from, ticks.back()) else {
            let (path, lost) = (tape.path().to_owned(), tape.lost().text());
            return Err(TapeError::Empty { path, lost });
        };
        let (to, taken) = (last.at, last.taken);
        let metrics = tape.metrics();
        let report = RecordingReport {
            host: facts.host,
            kernel: facts.kernel,
            version: facts.version,
            from,
            to,
            ticks: count,
            windows: profiles.iter().map(|(_, kept)| kept.windows.len() as u64).sum(),
            file: tape.path().display().to_string(),
            bytes: tape.bytes(),
            lost: tape.lost().clone(),
            lost_text: tape.lost().text(),
        };
        let windows = profiles.iter().flat_map(|(_, kept)| &kept.windows);
        let stacks_end_ms = windows.map(KeptWindow::ended_ms).max().unwrap_or(0);
        // The end of a range is not in it, and the last measurement is meant when somebody says `now`.
        let later_ns = stacks_end_ms.saturating_mul(1_000_000).saturating_sub(to.0) + 1_000_000;
        let later_ns = later_ns.min(60_000_000_000);
        let now = (WallTimeNs(to.0 + later_ns), KtimeNs(taken.0 + later_ns));
        let changes = answers.changes.iter().cloned();
        let changes = changes.filter_map(|row| row.change(&metrics)).collect();
        let leftovers: HashSet<_> = contained.leftovers.into_iter().collect();
        let registry = Registry::recorded(contained.containers, leftovers);
        history.set_names(names(&registry));
        let live = Live::over(Arc::new(tape));
        ticks.into_iter().for_each(|tick| live.add_shared(tick));
        Ok(Self {
            live,
            registry,
            history,
            archive: (!profiles.is_empty()).then(|| Arc::new(Archive::of(profiles))),
            answers,
            changes,
            outliers: TapedOutliers::of(rows),
            metrics,
            report,
            now,
        })
    }

    fn refused(&self, what: &str) -> BackendError {
        BackendError::Invalid {
            what: format!("this is a recording of {}: {what}", self.report.host),
            remedy:
                "ask for a time within it, like start=-1m, or ask the daemon of a host that runs"
                    .to_owned(),
        }
    }
}

impl Backend for Replay {
    fn live(&self) -> &Live {
        &self.live
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn probes(&self) -> ProbesReport {
        self.answers.probes.clone()
    }

    fn doctor(&self) -> DoctorReport {
        let RecordingReport { host, ticks, file, lost_text, .. } = &self.report;
        let what = format!("{ticks} measurements of {host}, from {file}");
        let is_whole = lost_text.is_empty();
        let check = Check {
            name: "recording".to_owned(),
            status: if is_whole { CheckStatus::Ok } else { CheckStatus::Degraded },
            detail: if is_whole { what } else { format!("{what}; {lost_text}") },
            remedy: if is_whole {
                String::new()
            } else {
                "record it again, or copy the file again".to_owned()
            },
            metrics_affected: vec![],
        };
        let DoctorReport { kernel, checks } = self.answers.doctor.clone();
        DoctorReport { kernel, checks: std::iter::once(check).chain(checks).collect() }
    }

    fn now(&self) -> (WallTimeNs, KtimeNs) {
        self.now
    }

    fn recording(&self) -> Option<&RecordingReport> {
        Some(&self.report)
    }

    fn history(&self) -> Result<Snapshot, BackendError> {
        Ok(self.history.snapshot())
    }

    fn archive(&self) -> Result<Arc<Archive>, BackendError> {
        self.archive.clone().ok_or_else(|| BackendError::Unsupported {
            what: "flame graphs of the past".to_owned(),
            why: "the recording holds no stacks; `cgscope doctor` says what the host lacked"
                .to_owned(),
        })
    }

    fn sources(&self) -> Vec<SourceStatus> {
        self.answers.sources.clone()
    }

    fn audit(&self) -> AuditReport {
        self.answers.audit.clone()
    }

    fn metrics(&self) -> Vec<&'static Descriptor> {
        let metrics = self.metrics.iter().copied();
        metrics.filter(|metric| metric.scope == Scope::Container).collect()
    }

    fn changes(&self) -> Vec<Change> {
        self.changes.clone()
    }

    fn outliers(&self, span: Duration) -> LatestOutliers {
        let (now, from) = (self.now.0, self.report.from);
        let span = span.min(Duration::from_nanos(now.0.saturating_sub(from.0)));
        let since = WallTimeNs(now.0.saturating_sub(span.as_nanos() as u64));
        let outliers = self.outliers.outliers.iter().filter(|outlier| outlier.at >= since);
        let is_missing = |kind: &OutlierKind| {
            self.answers.missing_outliers.iter().any(|missing| missing == kind.name())
        };
        let missing = OutlierKind::ALL.into_iter().filter(is_missing);
        LatestOutliers {
            span,
            outliers: outliers.cloned().collect(),
            missing: missing
                .map(|kind| (kind, "nobody looked for it when this was recorded"))
                .collect(),
        }
    }

    fn kernel_functions(&self, stacks: Vec<Arc<[u64]>>) -> BoxFuture<Vec<Vec<String>>> {
        let functions = |stack: &Arc<[u64]>| {
            let place = usize::try_from(*stack.first()?).ok()?;
            self.outliers.functions.get(place).cloned()
        };
        let named = stacks.iter().map(|stack| functions(stack).unwrap_or_default()).collect();
        Box::pin(async move { named })
    }

    fn watch(&self, process: Tgid) -> Result<Watch, BackendError> {
        Err(self.refused(&format!("process {process} cannot be measured by itself")))
    }

    fn profile(&self, _: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>> {
        let refused = self.refused("no stacks can be recorded anew");
        Box::pin(async move { Err(refused) })
    }
}
