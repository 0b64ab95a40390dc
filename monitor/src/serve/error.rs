//! Errors over HTTP: a status for machines, a sentence and a remedy for people.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    api::ErrorBody,
    backend::{BackendError, ErrorKind},
};

/// A [`BackendError`] on its way out.
#[derive(Debug)]
pub struct ApiError(pub BackendError);

impl<E: Into<BackendError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<&BackendError> for ErrorBody {
    fn from(error: &BackendError) -> Self {
        Self { error: error.to_string(), remedy: error.remedy(), kind: error.kind() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (status(&self.0), Json(ErrorBody::from(&self.0))).into_response()
    }
}

/// Every status that an error is answered with, and when.
pub const REFUSALS: [(StatusCode, &str); 8] = [
    (StatusCode::BAD_REQUEST, "A parameter is unknown or makes no sense."),
    (
        StatusCode::FORBIDDEN,
        "The kernel refuses what it takes, or a page of another site asked for it.",
    ),
    (StatusCode::NOT_FOUND, "Nothing has that name."),
    (StatusCode::GONE, "The process ended, or never was."),
    (
        StatusCode::MISDIRECTED_REQUEST,
        "The daemon listens on a loopback address, and the header `host` names another.",
    ),
    (StatusCode::INTERNAL_SERVER_ERROR, "It went wrong."),
    (
        StatusCode::NOT_IMPLEMENTED,
        "This kernel or machine cannot do it, or the daemon was started without it.",
    ),
    (StatusCode::SERVICE_UNAVAILABLE, "The daemon is shutting down."),
];

/// The status that an error is answered with.
pub fn status(error: &BackendError) -> StatusCode {
    match (error, error.kind()) {
        (BackendError::ProcessGone(_), _) => StatusCode::GONE,
        (_, ErrorKind::NotFound) => StatusCode::NOT_FOUND,
        (_, ErrorKind::NeedsPrivilege) => StatusCode::FORBIDDEN,
        (_, ErrorKind::Unsupported) => StatusCode::NOT_IMPLEMENTED,
        (_, ErrorKind::Invalid) => StatusCode::BAD_REQUEST,
        (_, ErrorKind::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
        (_, ErrorKind::Ending) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ids::Tgid;

    #[test]
    fn each_error_has_its_status() {
        let text = String::new;
        let cases = [
            (
                BackendError::NotFound { what: "container", query: text(), nearest: vec![] },
                StatusCode::NOT_FOUND,
            ),
            (BackendError::ProcessGone(Tgid(1)), StatusCode::GONE),
            (BackendError::NeedsPrivilege { what: text(), remedy: text() }, StatusCode::FORBIDDEN),
            (BackendError::Unsupported { what: text(), why: text() }, StatusCode::NOT_IMPLEMENTED),
            (BackendError::Invalid { what: text(), remedy: text() }, StatusCode::BAD_REQUEST),
            (
                BackendError::Failed { what: text(), remedy: text() },
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
            (BackendError::Ending, StatusCode::SERVICE_UNAVAILABLE),
        ];
        for (error, expected) in cases {
            assert_eq!(status(&error), expected, "{error}");
            assert!(REFUSALS.iter().any(|(status, _)| *status == expected), "{error}");
        }
    }
}
