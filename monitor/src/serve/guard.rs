//! Who may ask: pages of other sites may not, even when their name is made to lead here (DNS rebinding).
//!
//! Contract: bound to a loopback address, only requests that name a loopback host are answered. Requests that a browser
//! marks as coming from another site are refused for the API: some of them start recordings.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{backend::BackendError, error::ApiError, routes::Served};

/// Refuses what must not be answered, ends with the daemon, and marks every answer as private.
pub async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&served, &request) {
        Some((status, what)) => {
            let what = what.to_owned();
            let remedy = "use http://localhost and the daemon's port".to_owned();
            let mut response = ApiError(BackendError::Invalid { what, remedy }).into_response();
            *response.status_mut() = status;
            response
        }
        None => {
            let mut ending = served.ending.clone();
            tokio::select! {
                response = next.run(request) => response,
                () = ending.wait() => ApiError(BackendError::Ending).into_response(),
            }
        }
    };
    let too_long = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
    let headers = response.headers_mut();
    if too_long {
        // What was not read is in the way of the next request: a client that keeps the connection would lose that one.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(served: &Served, request: &Request) -> Option<(StatusCode, &'static str)> {
    if served.loopback_only {
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        if !host.is_some_and(is_loopback_host) {
            return Some((
                StatusCode::MISDIRECTED_REQUEST,
                "the daemon answers only to loopback names",
            ));
        }
    }
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let path = request.uri().path();
    let is_api = ["/api/", "/prometheus/"].iter().any(|prefix| path.starts_with(prefix));
    if site == Some(b"cross-site") && is_api {
        return Some((StatusCode::FORBIDDEN, "pages of other sites may not ask the daemon"));
    }
    None
}

/// Whether a `Host` header, with or without a port, names this machine's loopback.
fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names() {
        for host in [
            "localhost",
            "LOCALHOST:7070",
            "127.0.0.1",
            "127.0.0.1:7070",
            "127.8.9.1:1",
            "[::1]:7070",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            ":7070",
            "evil.example",
            "evil.example:7070",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:7070",
            "localhost:x",
            "[::2]:1",
            "[localhost]",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
