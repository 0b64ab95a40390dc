//! Parameters of requests, strictly: an unknown or senseless one is an error that says what would be right.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{Uri, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::{backend::BackendError, duration::Span, error::ApiError, openapi::values};

/// The longest window or recording one request may ask for.
pub const MAX_DURATION: Duration = Duration::from_secs(600);
/// The most samples per second and CPU.
pub const MAX_FREQUENCY_HZ: u32 = 10_000;
/// The length of a window or recording when the request does not say.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// The query string as a `T`, which names every parameter it takes (`deny_unknown_fields`).
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

impl<T: DeserializeOwned> Params<T> {
    /// Those in an address.
    ///
    /// # Errors
    /// [`BackendError::Invalid`] for one that is unknown or senseless.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(ApiError(BackendError::Invalid {
                what: rejection.body_text().replace("Failed to deserialize query string: ", ""),
                remedy: "/api/v1/openapi.json has the parameters of each path".to_owned(),
            })),
        }
    }
}

/// The one variable segment of a path, decoded.
#[derive(Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(ApiError(BackendError::Invalid {
                what: rejection.body_text(),
                remedy: "encode the name as UTF-8, with % before what is no letter or digit"
                    .to_owned(),
            })),
        }
    }
}

/// A route without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

impl IntoParams for NoParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![]
    }
}

/// A route that reads a window.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WindowParams {
    /// Length of the window.
    #[param(inline, value_type = Option<values::Length>)]
    pub duration: Option<Span>,
}

/// A route that reads what was measured last.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecentParams {
    /// Length of the window; the newest two ticks when not said.
    #[param(inline, value_type = Option<values::RecentLength>)]
    pub duration: Option<Span>,
}

/// The list of containers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Length of the window; the newest two ticks when not said.
    #[param(inline, value_type = Option<values::RecentLength>)]
    pub duration: Option<Span>,
    /// Whether to add what is no container, and the dead.
    #[serde(default)]
    #[param(default = false)]
    pub all: bool,
    /// Only this one, by name or id.
    pub container: Option<String>,
    /// Metrics to add to each row, separated by commas.
    #[param(inline, value_type = Option<values::Texts>, style = Form, explode = false)]
    pub metrics: Option<String>,
}

/// The list of changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangesParams {
    /// Only of this one, by name or id.
    pub container: Option<String>,
}

/// The list of slow operations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OutlierParams {
    /// Only of this one, by name or id.
    pub container: Option<String>,
    /// Only of this kind.
    #[param(inline, value_type = Option<values::OutlierKindName>)]
    pub kind: Option<String>,
    /// How far back.
    #[param(inline, value_type = Option<values::Length>)]
    pub duration: Option<Span>,
    /// How many at most.
    #[param(inline, value_type = Option<values::OutlierLimit>)]
    pub limit: Option<usize>,
}

/// A recording, or a part of the past.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordParams {
    /// What to draw.
    #[param(inline, value_type = Option<values::ProfileType>)]
    pub r#type: Option<String>,
    /// Of waits, only those in these states, separated by commas.
    #[param(inline, value_type = Option<values::WaitStates>, style = Form, explode = false)]
    pub state: Option<String>,
    /// A container's name or id. Without it and without `pid` it is the whole host.
    pub container: Option<String>,
    /// A process, in the initial pid namespace.
    #[param(inline, value_type = Option<values::ProcessId>)]
    pub pid: Option<u32>,
    /// Its length.
    #[param(inline, value_type = Option<values::RecordLength>)]
    pub duration: Option<Span>,
    /// Samples per second and CPU, of `type=cpu`.
    #[param(inline, value_type = Option<values::Frequency>)]
    pub frequency: Option<u32>,
    /// In which format.
    #[param(inline, value_type = Option<values::DrawnFormat>)]
    pub format: Option<String>,
    /// The first instant, to draw what was kept instead of recording.
    #[param(inline, value_type = Option<values::Instant>)]
    pub start: Option<String>,
    /// The end, not in it.
    #[param(inline, value_type = Option<values::Instant>)]
    pub end: Option<String>,
    /// Where another range of the same length begins that this one is held against.
    #[param(inline, value_type = Option<values::Instant>)]
    pub against: Option<String>,
    /// Whether it is kept for later; its id is then in the header `x-cgscope-profile`.
    #[serde(default)]
    #[param(default = false)]
    pub keep: bool,
}

/// A length of time that was asked for, or `default`.
///
/// # Errors
/// [`BackendError::Invalid`] for 0 and for more than [`MAX_DURATION`].
pub fn duration_or(asked: Option<Span>, default: Duration) -> Result<Duration, BackendError> {
    match asked.map(|span| span.0) {
        None => Ok(default),
        Some(duration) if duration.is_zero() || duration > MAX_DURATION => {
            Err(BackendError::Invalid {
                what: format!("a duration of {} cannot be measured", Span(duration)),
                remedy: format!("ask for more than 0 and at most {}", Span(MAX_DURATION)),
            })
        }
        Some(duration) => Ok(duration),
    }
}

/// A sampling frequency that was asked for, or `default`.
///
/// # Errors
/// [`BackendError::Invalid`] for 0 and for more than [`MAX_FREQUENCY_HZ`].
pub fn frequency_or(asked: Option<u32>, default: u32) -> Result<u32, BackendError> {
    match asked.unwrap_or(default) {
        frequency_hz @ 1..=MAX_FREQUENCY_HZ => Ok(frequency_hz),
        frequency_hz => Err(BackendError::Invalid {
            what: format!("a frequency of {frequency_hz} Hz cannot be sampled"),
            remedy: format!("ask for 1 to {MAX_FREQUENCY_HZ} Hz"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let seconds = |s| Some(Span(Duration::from_secs(s)));
        assert!(duration_or(seconds(0), DEFAULT_DURATION).is_err());
        assert!(duration_or(seconds(601), DEFAULT_DURATION).is_err());
        assert_eq!(duration_or(seconds(600), DEFAULT_DURATION), Ok(MAX_DURATION));
        assert_eq!(duration_or(None, DEFAULT_DURATION), Ok(DEFAULT_DURATION));
        assert!(frequency_or(Some(0), 99).is_err());
        assert!(frequency_or(Some(10_001), 99).is_err());
        assert_eq!(frequency_or(None, 99), Ok(99));
    }
}
