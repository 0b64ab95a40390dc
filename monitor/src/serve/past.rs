//! Flame graphs of the past and of what changed, and how much ran when: `/api/v1/flamegraph` with a `start`, `/api/v1/activity`.

use std::{ops::Range, sync::Arc, time::Duration, time::UNIX_EPOCH};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    backend::BackendError, duration::Span, error::ApiError, flamegraph, openapi::values,
    params::Params, query::now_ms, query_params::instant_ms, routes::Served, subject,
};
use crate::{
    kernel::ids::Tgid,
    profile::{
        Diff, DiffFormat, Format, KeptThread, Profile, ProfileKind, Recording, Scale, Weight,
    },
    store::profiles::Archive,
};

/// The longest range that is looked at for one answer.
pub(super) const MAX_RANGE: Duration = Duration::from_secs(7 * 86_400);
/// The range of a question that does not say where it begins.
pub(super) const DEFAULT_RANGE: Duration = Duration::from_secs(600);
/// Steps of one answer about activity: an hour of 100 ms.
pub(super) const MAX_STEPS: u64 = 40_000;
/// The shortest step: samples of 19 Hz are 53 ms apart.
pub(super) const LEAST_STEP: Duration = Duration::from_millis(10);
/// The step of a question that does not say.
pub(super) const DEFAULT_STEP: Duration = Duration::from_millis(100);

/// How much ran when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityParams {
    /// Of what; only `cpu` is kept.
    #[param(inline, value_type = Option<values::ProfileType>)]
    pub r#type: Option<String>,
    /// A container's name or id.
    pub container: Option<String>,
    /// A process.
    #[param(inline, value_type = Option<values::ProcessId>)]
    pub pid: Option<u32>,
    /// The first instant; ten minutes before the end when not said.
    #[param(inline, value_type = Option<values::Instant>)]
    pub start: Option<String>,
    /// The end, not in it; now when not said.
    #[param(inline, value_type = Option<values::Instant>)]
    pub end: Option<String>,
    /// Length of a step.
    #[param(inline, value_type = Option<values::ActivityStep>)]
    pub step: Option<Span>,
}

/// How much ran when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActivityAnswer {
    /// What was sampled.
    #[schema(value_type = values::ProfileTypeName)]
    pub r#type: String,
    /// The first instant, ns since the epoch.
    pub start_ns: u64,
    /// Length of a step.
    pub step_ns: u64,
    /// Sampled time a second: for `cpu` the CPUs in use, as far as samples can tell. `null` where nobody recorded.
    pub values: Vec<Option<f64>>,
}

/// What a flame graph of the past shows.
#[derive(Debug)]
pub struct PastRequest {
    /// Of what.
    pub kind: ProfileKind,
    /// Of whom, as the user says it.
    pub container: Option<String>,
    /// Of which process.
    pub process: Option<Tgid>,
    /// When, ms since 1970.
    pub range: Range<u64>,
}

/// The range that a start, an end and a length say; two of them are enough. `now_ms` is what `now` means, ms since 1970.
///
/// # Errors
/// What is no range, or too long.
pub fn range(
    start: Option<&str>,
    end: Option<&str>,
    duration: Option<Span>,
    now_ms: u64,
) -> Result<Range<u64>, BackendError> {
    let instant = |text: &str| instant_ms(text, now_ms);
    let length_ms = duration.map(|span| span.0.as_millis() as u64);
    let (start_ms, end_ms) = match (start, end, length_ms) {
        (Some(_), Some(_), Some(_)) => {
            return Err(invalid("start, end and duration", "say two of the three"));
        }
        (Some(start), Some(end), None) => (instant(start)?, instant(end)?),
        (Some(start), None, Some(ms)) => {
            let start_ms = instant(start)?;
            (start_ms, start_ms.saturating_add(ms))
        }
        (Some(start), None, None) => (instant(start)?, now_ms),
        (None, end, ms) => {
            let end_ms = end.map_or(Ok(now_ms), instant)?;
            let ms = ms.unwrap_or(DEFAULT_RANGE.as_millis() as u64);
            (end_ms.saturating_sub(ms), end_ms)
        }
    };
    if start_ms >= end_ms {
        return Err(invalid("the range ends before it begins", "let start be before end"));
    }
    if end_ms - start_ms > MAX_RANGE.as_millis() as u64 {
        let what = format!("a range of more than {}", Span(MAX_RANGE));
        return Err(invalid(&what, "ask for a part of it"));
    }
    Ok(start_ms..end_ms)
}

/// That a kind of profile is kept.
///
/// # Errors
/// [`BackendError::Invalid`] for all but what runs.
pub fn kept(kind: ProfileKind) -> Result<(), BackendError> {
    match kind {
        ProfileKind::OnCpu => Ok(()),
        _ => Err(invalid(
            &format!("of the type {} nothing is kept", kind.name()),
            "ask for type=cpu, or record it",
        )),
    }
}

/// The profile of a range. It reads files.
///
/// # Errors
/// That there is no such container, or that files cannot be read.
pub fn profile(served: &Served, request: &PastRequest) -> Result<Profile, BackendError> {
    let archive = served.backend.archive()?;
    let whom = Whom::of(served, request.container.as_deref(), request.process);
    let past = archive.past(request.kind, &request.range, |thread, name| whom.is(thread, name));
    let past = past.map_err(|error| unreadable(&archive, &error))?;
    if past.samples.is_empty() {
        whom.must_exist()?;
    }
    Ok(Profile {
        kind: request.kind,
        started_at: UNIX_EPOCH + Duration::from_millis(past.started_ms),
        duration_ns: past.covered_ms * 1_000_000,
        frequency_hz: past.frequency_hz,
        scope: whom.scope(),
        containers: past.containers,
        samples: past.samples,
        lost: past.lost,
        drawn: Weight::default(),
    })
}

/// What changed between two ranges, drawn.
///
/// # Errors
/// That a side is empty, or that a difference has no such format.
pub fn difference(
    served: &Served,
    before: &PastRequest,
    after: &PastRequest,
    format: Format,
) -> Result<Vec<u8>, BackendError> {
    let format = match format {
        Format::Svg => DiffFormat::Svg,
        Format::Folded => DiffFormat::Folded,
        Format::Json => DiffFormat::Json,
        Format::Pprof | Format::Firefox | Format::Speedscope => {
            let what = format!("a difference cannot be written as {}", format.name());
            return Err(invalid(&what, "ask for svg, folded or json"));
        }
    };
    let side = |name: &str, request: &PastRequest| {
        let json = profile(served, request)?.render(Format::Json);
        let json = json.map_err(|error| flamegraph::failed(&error))?;
        Recording::read(name, &json).map_err(|error| flamegraph::failed(&error))
    };
    let (before, after) = (side("before", before)?, side("after", after)?);
    let diff = Diff::between(&before, &after, Scale::Total);
    let drawn = diff.and_then(|diff| diff.render(format));
    drawn.map_err(|error| invalid(&error.to_string(), "ask for ranges in which it ran"))
}

/// `/api/v1/activity`.
pub async fn activity(
    State(served): State<Served>,
    Params(params): Params<ActivityParams>,
) -> Result<Json<ActivityAnswer>, ApiError> {
    let kind = flamegraph::kind(params.r#type.as_deref())?;
    kept(kind)?;
    let range = range(params.start.as_deref(), params.end.as_deref(), None, now_ms(&served))?;
    let step = params.step.map_or(DEFAULT_STEP, |span| span.0);
    let step_ms = step.as_millis() as u64;
    if step < LEAST_STEP || (range.end - range.start) / step_ms >= MAX_STEPS {
        let what = format!("steps of {}", Span(step));
        let remedy =
            format!("ask for at least {}, and at most {MAX_STEPS} steps", Span(LEAST_STEP));
        return Err(ApiError(invalid(&what, &remedy)));
    }
    let archive = served.backend.archive()?;
    let whom = Whom::of(&served, params.container.as_deref(), params.pid.map(Tgid));
    let seen = tokio::task::spawn_blocking(move || {
        let seen = archive.activity(kind, &range, step_ms, |thread, name| whom.is(thread, name));
        let seen = seen.map_err(|error| unreadable(&archive, &error))?;
        if seen.steps.iter().all(|step| step.is_none_or(|value| value == 0.0)) {
            whom.must_exist()?;
        }
        Ok::<_, BackendError>(seen)
    });
    let seen = seen.await.map_err(|error| flamegraph::failed(&error))??;
    Ok(Json(ActivityAnswer {
        r#type: kind.name().to_owned(),
        start_ns: seen.start_ms * 1_000_000,
        step_ns: seen.step_ms * 1_000_000,
        values: seen.steps,
    }))
}

/// Whose samples are wanted. A container that nobody remembers is looked for by the name it had.
struct Whom {
    query: Option<String>,
    id: Option<Arc<str>>,
    name: Option<String>,
    unknown: Option<BackendError>,
    process: Option<Tgid>,
}

impl Whom {
    fn of(served: &Served, container: Option<&str>, process: Option<Tgid>) -> Self {
        let query = container.map(str::to_owned);
        let mut whom = Self { query, id: None, name: None, unknown: None, process };
        match container.map(|query| subject::find(&*served.backend, query)) {
            Some(Ok(found)) => {
                whom.id = Some(found.id.as_str().into());
                whom.name = Some(found.qualified_name());
            }
            Some(Err(error)) => whom.unknown = Some(error),
            None => {}
        }
        whom
    }

    fn is(&self, thread: &KeptThread, name: Option<&str>) -> bool {
        if self.process.is_some_and(|process| process != thread.tgid) {
            return false;
        }
        match (&self.id, &self.query) {
            (Some(id), _) => thread.container.as_ref() == Some(id),
            (None, Some(query)) => {
                name == Some(query) || thread.container.as_deref() == Some(query)
            }
            (None, None) => true,
        }
    }

    /// Nothing of it was found: is it at least known?
    fn must_exist(&self) -> Result<(), BackendError> {
        self.unknown.clone().map_or(Ok(()), Err)
    }

    fn scope(&self) -> String {
        match (&self.query, self.process) {
            (Some(query), _) => format!("container {}", self.name.as_ref().unwrap_or(query)),
            (None, Some(process)) => format!("process {process}"),
            (None, None) => "host".to_owned(),
        }
    }
}

fn unreadable(archive: &Archive, error: &std::io::Error) -> BackendError {
    BackendError::Failed {
        what: format!("{}: {error}", archive.options().directory.display()),
        remedy: "look at the directory and its disk".to_owned(),
    }
}

fn invalid(what: &str, remedy: &str) -> BackendError {
    BackendError::Invalid { what: what.to_owned(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn ranges() {
        let seconds = |s| Some(Span(Duration::from_secs(s)));
        assert_eq!(range(Some("100"), Some("160"), None, NOW_MS), Ok(100_000..160_000));
        assert_eq!(range(Some("100"), None, seconds(5), NOW_MS), Ok(100_000..105_000));
        assert_eq!(range(None, Some("1000"), seconds(5), NOW_MS), Ok(995_000..1_000_000));
        assert_eq!(range(None, Some("1000"), None, NOW_MS), Ok(400_000..1_000_000));
        let open = range(Some("-1m"), None, None, NOW_MS).unwrap();
        assert_eq!(open.end - open.start, 60_000);
        for (start, end, duration) in [
            (Some("100"), Some("100"), None),
            (Some("100"), Some("90"), None),
            (Some("100"), Some("190"), seconds(5)),
            (Some("100"), Some("9000000"), None),
            (Some("soon"), None, None),
            (Some("100"), None, seconds(0)),
        ] {
            assert!(range(start, end, duration, NOW_MS).is_err(), "{start:?} {end:?} {duration:?}");
        }
    }
}
