//! Parameters of requests, strictly: an unknown or senseless one is an error that says what would be right.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{Uri, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{backend::BackendError, duration::Span, error::ApiError};

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
                remedy: "README.md has the parameters of each path".to_owned(),
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

/// A route that reads a window.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowParams {
    /// Its length.
    pub duration: Option<Span>,
}

/// The list of containers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Its length.
    pub duration: Option<Span>,
    /// Whether to add what is no container, and the dead.
    #[serde(default)]
    pub all: bool,
    /// Only this one, by name or id.
    pub container: Option<String>,
    /// Metrics to add to each row, separated by commas.
    pub metrics: Option<String>,
}

/// The list of changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesParams {
    /// Only of this one, by name or id.
    pub container: Option<String>,
}

/// The list of slow operations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierParams {
    /// Only of this one, by name or id.
    pub container: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// How far back.
    pub duration: Option<Span>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// A recording, or a part of the past.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordParams {
    /// The name of a [`crate::profile::ProfileKind`]; `cpu` when not said.
    pub r#type: Option<String>,
    /// Of waits, only those in these states, separated by commas.
    pub state: Option<String>,
    /// A container's name or id.
    pub container: Option<String>,
    /// A process.
    pub pid: Option<u32>,
    /// Its length.
    pub duration: Option<Span>,
    /// Samples per second and CPU.
    pub frequency: Option<u32>,
    /// The name of a [`crate::profile::Format`]; `svg` when not said.
    pub format: Option<String>,
    /// The first instant, to draw what was kept instead of recording.
    pub start: Option<String>,
    /// The end, not in it.
    pub end: Option<String>,
    /// Where another range of the same length begins that this one is held against.
    pub against: Option<String>,
    /// Whether it is kept for later; its id is then in the header `x-cgscope-profile`.
    #[serde(default)]
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
