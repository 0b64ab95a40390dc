//! The page and what it loads, without a browser: types, policies, nothing from elsewhere.

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, workspace_root};

use crate::http::get;

/// Of all that the page loads from the daemon before its first event.
const MOST_BYTES: usize = 20_000;

#[test]
fn the_page_and_its_assets_are_served_with_their_types_and_policies() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let mut size_bytes = 0;
    for (path, media_type, file) in [
        ("/", "text/html; charset=utf-8", "web/index.html"),
        ("/app.js", "text/javascript; charset=utf-8", "web/app.js"),
        ("/style.css", "text/css; charset=utf-8", "web/style.css"),
    ] {
        let answer = get(&daemon, path)?;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["content-type"], media_type, "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{path}");
        let policy = &answer.headers["content-security-policy"];
        let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(directives.contains(&directive), "{path}: {directive} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.body, std::fs::read_to_string(workspace_root().join(file))?, "{path}");
        size_bytes += answer.body.len();
    }
    assert!(size_bytes < MOST_BYTES, "the page is {size_bytes} bytes");
    Ok(())
}

#[test]
fn everything_the_page_links_to_is_there() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let page = get(&daemon, "/")?.body;
    let mut links = Vec::new();
    for attribute in ["href=\"", "src=\""] {
        for rest in page.split(attribute).skip(1) {
            links.push(rest.split_once('"').context("a closing quote")?.0);
        }
    }
    assert!(links.len() >= 4, "{links:?}");
    // An empty icon stands in the page itself.
    for link in links.into_iter().filter(|link| *link != "data:,") {
        assert!(link.starts_with('/'), "{link} leads elsewhere");
        assert_eq!(get(&daemon, link)?.status, 200, "{link}");
    }
    // The policy would refuse them.
    for forbidden in ["<script>", " style=", " onclick="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    Ok(())
}
