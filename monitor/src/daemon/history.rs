//! History's place in the engine: where names come from, and what `doctor` says of it.

use std::{io, sync::Arc};

use crate::{
    container::Registry,
    serve::{
        EngineOptions, PROCESS_PREFIX, names,
        report::{Check, CheckStatus},
    },
    store::{History, HistoryOptions, Names, Refusal, State, profiles::Archive},
};

/// Starts it, unless it is off.
///
/// # Errors
/// That its thread cannot be started.
pub(super) fn start(
    options: &EngineOptions,
    registry: &Arc<Registry>,
) -> io::Result<Option<History>> {
    let Some(options) = &options.history else { return Ok(None) };
    let registry = Arc::clone(registry);
    let names: Names = Box::new(move || names(&registry));
    // A watched process is measured for the one request that asks.
    let options = HistoryOptions { skipped_prefix: Some(PROCESS_PREFIX), ..options.clone() };
    History::start(options, names).map(Some)
}

/// Whether profiles are written, and how many were lost.
pub(super) fn profile_checks(archive: Option<&Archive>) -> Vec<Check> {
    let Some(archive) = archive else { return vec![] };
    let (directory, lost) = (archive.options().directory.display(), archive.lost_windows());
    let mib = archive.bytes() as f64 / f64::from(1 << 20);
    let (status, detail, remedy) = match archive.trouble() {
        None if lost == 0 => (CheckStatus::Ok, format!("{directory}: {mib:.1} MiB"), ""),
        None => (
            CheckStatus::Degraded,
            format!("{directory}: {mib:.1} MiB; {lost} windows of 10 s could not be written"),
            "they are gone; what comes is kept again",
        ),
        Some(why) => (
            CheckStatus::Degraded,
            format!("kept in memory only, since they cannot be written: {why}"),
            "make room or make the directory writable; writing is tried again every 10 s",
        ),
    };
    let remedy = remedy.to_owned();
    let name = "kept profiles".into();
    vec![Check { name, status, detail, remedy, metrics_affected: vec![] }]
}

/// Whether it is written, and each way in which samples were lost.
pub(super) fn checks(history: Option<&History>) -> Vec<Check> {
    let Some(history) = history else { return vec![] };
    let summary = history.summary();
    let (status, detail, remedy) = match history.state() {
        State::Writing => (CheckStatus::Ok, summary, ""),
        State::Memory { reason } => (
            CheckStatus::Degraded,
            format!("kept in memory only, since it cannot be written: {reason}"),
            "make room or make the directory writable; writing is tried again every 5 s",
        ),
    };
    let check = |name: String, status, detail, remedy: &str| Check {
        name,
        status,
        detail,
        remedy: remedy.to_owned(),
        metrics_affected: vec![],
    };
    let mut checks = vec![check("history".into(), status, detail, remedy)];
    checks.extend(history.refused().filter(|(_, count)| *count > 0).map(|(why, count)| {
        let remedy = match why {
            Refusal::QueueFull => "the disk is slow: put --history-dir on another",
            Refusal::SeriesLimit => "too many containers or labels: the newest are not kept",
            Refusal::NotWritten => "make room or make the directory writable",
        };
        let name = format!("history loss {}", why.name());
        check(name, CheckStatus::Degraded, format!("{count} samples since the start"), remedy)
    }));
    checks
}
