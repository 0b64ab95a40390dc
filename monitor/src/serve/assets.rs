//! The page, embedded.

use axum::{
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::IntoResponse,
};

/// Only what the daemon itself serves, and no script in the page.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     frame-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn asset(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type), (CONTENT_SECURITY_POLICY, PAGE_POLICY)], content)
}

pub async fn page() -> impl IntoResponse {
    asset("text/html; charset=utf-8", include_str!("../../../web/index.html"))
}

pub async fn script() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", include_str!("../../../web/app.js"))
}

pub async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", include_str!("../../../web/style.css"))
}
