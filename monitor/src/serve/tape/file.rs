//! A recording as an answer: a file to be saved.

use axum::{
    body::Body,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue},
    response::{IntoResponse, Response},
};

/// A tape, whole or while it grows.
#[derive(Debug)]
pub struct TapeFile(Response);

impl TapeFile {
    /// What it is served as.
    pub const MEDIA_TYPE: &str = "application/octet-stream";

    /// Of a host.
    pub fn new(body: Body, host: &str) -> Self {
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        let name = format!("attachment; filename=\"{}.cgscope\"", plain(host));
        headers.extend(HeaderValue::try_from(name).map(|name| (CONTENT_DISPOSITION, name)));
        Self(response)
    }
}

impl IntoResponse for TapeFile {
    fn into_response(self) -> Response {
        self.0
    }
}

/// What of a name can stand in the name of a file.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect()
}
