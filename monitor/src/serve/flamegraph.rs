//! `/api/v1/flamegraph`: records stacks and draws them.

use axum::{
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue},
    response::{IntoResponse, Response},
};

use super::{
    backend::{BackendError, ProfileRequest, Target},
    error::ApiError,
    params::{DEFAULT_DURATION, Params, RecordParams, duration_or, frequency_or},
    routes::Served,
    subject,
};
use crate::{
    kernel::ids::Tgid,
    profile::{Format, ProfileKind},
};

/// A drawing runs its own script in a world of its own: names of symbols and threads are written by others.
const DRAWING_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     frame-ancestors 'self'; sandbox allow-scripts";

pub async fn record(
    State(served): State<Served>,
    Params(params): Params<RecordParams>,
) -> Result<Response, ApiError> {
    let format = format(params.format.as_deref())?;
    let kind = kind(params.r#type.as_deref())?;
    if kind == ProfileKind::OffCpu && params.frequency.is_some() {
        return Err(ApiError(BackendError::Invalid {
            what: "waits are not sampled at a frequency".to_owned(),
            remedy: "leave frequency out, or type".to_owned(),
        }));
    }
    let request = ProfileRequest {
        kind,
        duration: duration_or(params.duration, DEFAULT_DURATION)?,
        frequency_hz: frequency_or(params.frequency, served.frequency_hz)?,
        target: target(&served, params.container.as_deref(), params.pid)?,
    };
    let profile = served.backend.profile(request).await?;
    let drawn = tokio::task::spawn_blocking(move || profile.render(format));
    let drawn = drawn.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let headers = [(CONTENT_TYPE, format.media_type()), (CONTENT_SECURITY_POLICY, DRAWING_POLICY)];
    let mut response = (headers, drawn).into_response();
    if let Format::Pprof | Format::Firefox | Format::Speedscope = format {
        // For other programs: a browser saves it instead of showing it.
        let name = format!("attachment; filename=\"cgscope{}\"", format.endings()[0]);
        response
            .headers_mut()
            .extend(HeaderValue::try_from(name).map(|v| (CONTENT_DISPOSITION, v)));
    }
    Ok(response)
}

fn target(
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
            let container = subject::find(&*served.backend, query)?;
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

fn kind(name: Option<&str>) -> Result<ProfileKind, BackendError> {
    let Some(name) = name else { return Ok(ProfileKind::OnCpu) };
    ProfileKind::named(name).ok_or_else(|| BackendError::Invalid {
        what: format!("{name:?} is no type of a flame graph"),
        remedy: format!("ask for one of {}", ProfileKind::ALL.map(ProfileKind::name).join(", ")),
    })
}

fn format(name: Option<&str>) -> Result<Format, BackendError> {
    let Some(name) = name else { return Ok(Format::Svg) };
    Format::named(name).ok_or_else(|| BackendError::Invalid {
        what: format!("{name:?} is no format of a flame graph"),
        remedy: format!("ask for one of {}", Format::ALL.map(Format::name).join(", ")),
    })
}

fn failed(error: &dyn std::error::Error) -> BackendError {
    BackendError::Failed {
        what: error.to_string(),
        remedy: "ask for format=folded or format=json".to_owned(),
    }
}
