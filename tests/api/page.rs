//! The page and what it loads, without a browser: types, policies, nothing from elsewhere.

use std::io::Read as _;

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, workspace_root};
use flate2::read::GzDecoder;

use crate::http::get;

/// Of all files of the dashboard, gzipped.
const MOST_BYTES: u64 = 150 << 10;

#[test]
fn the_page_and_its_files_are_served_as_built_with_their_types_and_policies() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let built = workspace_root().join("target/web");
    let mut paths = vec![("/".to_owned(), "index.html.gz".to_owned())];
    for file in std::fs::read_dir(built.join("assets")).context("cargo xtask build")? {
        let name = file?.file_name().into_string().expect("a name in UTF-8");
        if let Some(plain) = name.strip_suffix(".gz") {
            paths.push((format!("/assets/{plain}"), format!("assets/{name}")));
        }
    }
    assert!(paths.len() > 5, "{paths:?}");
    let mut size_bytes = 0;
    for (path, file) in paths {
        let answer = get(&daemon, &path)?;
        assert_eq!(answer.status, 200, "{path}");
        let media_type = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.headers["content-type"], media_type, "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(answer.headers.get("content-encoding"), None, "nobody asked for gzip");
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
        let packed = std::fs::File::open(built.join(file))?;
        size_bytes += packed.metadata()?.len();
        let mut plain = String::new();
        GzDecoder::new(packed).read_to_string(&mut plain)?;
        assert!(answer.body == plain, "{path} is not what was built");
    }
    assert!(size_bytes <= MOST_BYTES, "the dashboard is {size_bytes} bytes");
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
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        // Relative, so that a proxy may put a path in front.
        let path = link.strip_prefix('.').with_context(|| format!("{link} leads elsewhere"))?;
        assert_eq!(get(&daemon, path)?.status, 200, "{link}");
    }
    // The policy would refuse them.
    for forbidden in ["<script>", " style=", " onclick="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    Ok(())
}
