//! The dashboard, embedded: one page, and the files it loads.
//!
//! Contract: the files are those that `cargo xtask build` made, gzipped then and not at each request; only a reader that
//! takes no gzip has them inflated. A program built without them says so on its page.

use std::io::Read as _;

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Uri,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};

use super::{backend::BackendError, error::ApiError};

include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

/// Only what the daemon itself serves, and no script or style in the page. A drawn chart is saved from a blob.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = "/index.html";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><title>cgscope</title>\
     <h1>The dashboard is not in this program</h1>\
     <p>It was built without it: run <code>cargo xtask build</code>. The API and <a href=\"metrics\">/metrics</a> are here.</p>";

pub async fn page(headers: HeaderMap) -> Response {
    match find(PAGE) {
        Some(packed) => answer(PAGE, packed, &headers),
        None => {
            ([(CONTENT_TYPE, media_type(PAGE)), (CONTENT_SECURITY_POLICY, PAGE_POLICY)], NOT_BUILT)
                .into_response()
        }
    }
}

pub async fn file(uri: Uri, headers: HeaderMap) -> Response {
    match find(uri.path()) {
        Some(packed) => answer(uri.path(), packed, &headers),
        None => ApiError(BackendError::NotFound {
            what: "path",
            query: uri.path().to_owned(),
            nearest: vec!["/".to_owned()],
        })
        .into_response(),
    }
}

fn find(path: &str) -> Option<&'static [u8]> {
    WEB_ASSETS.iter().find(|(name, _)| *name == path).map(|(_, packed)| *packed)
}

fn answer(path: &str, packed: &'static [u8], headers: &HeaderMap) -> Response {
    let head = [
        (CONTENT_TYPE, media_type(path)),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (VARY, "accept-encoding"),
    ];
    if takes_gzip(headers) {
        return (head, [(CONTENT_ENCODING, "gzip")], Bytes::from_static(packed)).into_response();
    }
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(packed).read_to_end(&mut plain) {
        Ok(_) => (head, plain).into_response(),
        Err(error) => ApiError(BackendError::Failed {
            what: format!("{path} cannot be inflated: {error}"),
            remedy: "build the program anew".to_owned(),
        })
        .into_response(),
    }
}

/// Whether a reader takes gzip; `gzip;q=0` refuses it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1").trim();
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse::<f32>().is_ok_and(|q| q > 0.0)
    })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        let takes = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            takes_gzip(&headers)
        };
        for yes in ["gzip", "deflate, gzip;q=0.5", "br,GZIP ; q=1"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip;q=0.0, br", "gzip;q=x"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn each_file_has_a_type_and_can_be_inflated() {
        for (path, packed) in WEB_ASSETS {
            assert_ne!(media_type(path), "application/octet-stream", "{path}");
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(*packed).read_to_end(&mut plain).unwrap();
            assert!(plain.len() > packed.len() / 2, "{path}");
        }
    }
}
