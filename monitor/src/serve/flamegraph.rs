//! `/api/v1/flamegraph`: records stacks and draws them, or draws what was kept.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::header::{
        CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    },
    response::{IntoResponse, Response},
};

use monitor_common::state::ThreadState;

use super::{
    backend::{BackendError, ProfileRequest, Target},
    duration::Span,
    error::ApiError,
    kept::Kept,
    params::{DEFAULT_DURATION, Params, RecordParams, duration_or, frequency_or},
    past::{self, PastRequest},
    query::now_ms,
    routes::Served,
    subject,
};
use crate::{
    kernel::ids::Tgid,
    profile::{Format, ProfileKind, wait_states},
};

/// A drawing runs its own script in a world of its own: names of symbols and threads are written by others.
pub(super) const DRAWING_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     frame-ancestors 'self'; sandbox allow-scripts";

/// The header that names a recording that is kept.
pub(super) const PROFILE_ID: HeaderName = HeaderName::from_static("x-cgscope-profile");

/// A recording in a format, or the difference of two.
#[derive(Debug)]
pub struct Drawing(Response);

impl IntoResponse for Drawing {
    fn into_response(self) -> Response {
        self.0
    }
}

pub async fn record(
    State(served): State<Served>,
    Params(params): Params<RecordParams>,
) -> Result<Drawing, ApiError> {
    let format = format(params.format.as_deref())?;
    let kind = kind(params.r#type.as_deref())?;
    if kind != ProfileKind::OnCpu && params.frequency.is_some() {
        return Err(ApiError(BackendError::Invalid {
            what: format!("{} are not sampled at a frequency", kind.things()),
            remedy: "leave frequency out, or type".to_owned(),
        }));
    }
    let states = states(kind, params.state.as_deref())?;
    if params.start.is_some() || params.end.is_some() {
        return draw_past(served, params, kind, format).await;
    }
    if params.against.is_some() {
        return Err(ApiError(BackendError::Invalid {
            what: "against holds the past against the past".to_owned(),
            remedy: "say start and end as well".to_owned(),
        }));
    }
    let request = ProfileRequest {
        kind,
        duration: duration_or(params.duration, DEFAULT_DURATION)?,
        frequency_hz: frequency_or(params.frequency, served.frequency_hz)?,
        target: target(&served, params.container.as_deref(), params.pid).await?,
        states,
    };
    let container = match &request.target {
        Target::Container(id) => Some(id.as_str().to_owned()),
        Target::All | Target::Process(_) => None,
    };
    let profile = served.backend.profile(request).await?;
    if !params.keep {
        let once = Kept { id: String::new(), container, profile };
        return Ok(drawn(Arc::new(once), format).await?);
    }
    let kept = served.kept.keep(profile, container);
    let Drawing(mut response) = drawn(Arc::clone(&kept), format).await?;
    response.headers_mut().extend(HeaderValue::try_from(&kept.id).map(|id| (PROFILE_ID, id)));
    Ok(Drawing(response))
}

/// A recording in a format.
pub(super) async fn drawn(kept: Arc<Kept>, format: Format) -> Result<Drawing, BackendError> {
    let drawn = tokio::task::spawn_blocking(move || kept.profile.render(format));
    let drawn = drawn.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(answer(format, drawn))
}

async fn draw_past(
    served: Served,
    params: RecordParams,
    kind: ProfileKind,
    format: Format,
) -> Result<Drawing, ApiError> {
    past::kept(kind)?;
    let RecordParams { container, pid, start, end, duration, against, frequency, .. } = params;
    if frequency.is_some() {
        return Err(ApiError(BackendError::Invalid {
            what: "the past was sampled at the frequency it was".to_owned(),
            remedy: "leave frequency out".to_owned(),
        }));
    }
    let now_ms = now_ms(&served);
    let range = past::range(start.as_deref(), end.as_deref(), duration, now_ms)?;
    let length_ms = range.end - range.start;
    let before = against.map(|start| {
        let length = Span(Duration::from_millis(length_ms));
        past::range(Some(&start), None, Some(length), now_ms)
    });
    let before = before.transpose()?;
    let request =
        |range| PastRequest { kind, container: container.clone(), process: pid.map(Tgid), range };
    let (request, before) = (request(range), before.map(request));
    let drawn = tokio::task::spawn_blocking(move || match before {
        Some(before) => past::difference(&served, &before, &request, format),
        None => past::profile(&served, &request)?.render(format).map_err(|error| failed(&error)),
    });
    Ok(answer(format, drawn.await.map_err(|error| failed(&error))??))
}

fn answer(format: Format, drawn: Vec<u8>) -> Drawing {
    let headers = [(CONTENT_TYPE, format.media_type()), (CONTENT_SECURITY_POLICY, DRAWING_POLICY)];
    let mut response = (headers, drawn).into_response();
    if let Format::Pprof | Format::Firefox | Format::Speedscope = format {
        // For other programs: a browser saves it instead of showing it.
        let name = format!("attachment; filename=\"cgscope{}\"", format.endings()[0]);
        response
            .headers_mut()
            .extend(HeaderValue::try_from(name).map(|v| (CONTENT_DISPOSITION, v)));
    }
    Drawing(response)
}

async fn target(
    served: &Served,
    container: Option<&str>,
    pid: Option<u32>,
) -> Result<Target, BackendError> {
    match (container, pid) {
        (None, None) => Ok(Target::All),
        (None, Some(0)) => Err(BackendError::Invalid {
            what: "0 is no process id".to_owned(),
            remedy: "leave pid out to record the whole host".to_owned(),
        }),
        (None, Some(pid)) => Ok(Target::Process(Tgid(pid))),
        (Some(query), None) => {
            let container = subject::find_soon(&*served.backend, query).await?;
            if subject::is_recordable(&container) {
                Ok(Target::Container(container.id.clone()))
            } else {
                Err(BackendError::NotFound {
                    what: "a living container",
                    query: query.to_owned(),
                    nearest: vec![],
                })
            }
        }
        (Some(_), Some(_)) => Err(BackendError::Invalid {
            what: "a recording is of a container or of a process".to_owned(),
            remedy: "leave container or pid out".to_owned(),
        }),
    }
}

pub(super) fn kind(name: Option<&str>) -> Result<ProfileKind, BackendError> {
    let Some(name) = name else { return Ok(ProfileKind::OnCpu) };
    ProfileKind::named(name).ok_or_else(|| BackendError::Invalid {
        what: format!("{name:?} is no type of a flame graph"),
        remedy: format!("ask for one of {}", ProfileKind::ALL.map(ProfileKind::name).join(", ")),
    })
}

fn states(kind: ProfileKind, names: Option<&str>) -> Result<Vec<ThreadState>, BackendError> {
    let Some(names) = names else { return Ok(vec![]) };
    let invalid =
        |what: String, remedy: &str| BackendError::Invalid { what, remedy: remedy.into() };
    if !kind.has_states() {
        let what = format!("a recording of the type {} has no states", kind.name());
        return Err(invalid(what, "leave state out, or ask for type=offcpu"));
    }
    wait_states(names).map_err(|what| invalid(what, "see `cgscope states`"))
}

pub(super) fn format(name: Option<&str>) -> Result<Format, BackendError> {
    let Some(name) = name else { return Ok(Format::Svg) };
    Format::named(name).ok_or_else(|| BackendError::Invalid {
        what: format!("{name:?} is no format of a flame graph"),
        remedy: format!("ask for one of {}", Format::ALL.map(Format::name).join(", ")),
    })
}

pub(super) fn failed(error: &dyn std::error::Error) -> BackendError {
    BackendError::Failed {
        what: error.to_string(),
        remedy: "ask for format=folded or format=json".to_owned(),
    }
}
