//! What the daemon says of itself, and the page.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::Value as Json;

use super::Server;

#[tokio::test]
async fn sources_with_their_age() {
    let server = Server::new(1);
    let list = server.json("/api/v1/sources").await;
    let [read, off] = &list["sources"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&read["enabled"], &read["health"]), (&true.into(), &"ok".into()));
    assert!(read["age_ns"].as_u64().unwrap() < 60_000_000_000);
    assert_eq!((&off["enabled"], &off["health"]), (&false.into(), &"disabled".into()));
    assert_eq!(off["age_ns"], Json::Null);
}

#[tokio::test]
async fn the_audit_as_it_is() {
    let audit = Server::new(1).json("/api/v1/audit").await;
    assert_eq!(audit, serde_json::json!({ "checks": [], "spent_ns": 0, "rounds": 3 }));
}

#[tokio::test]
async fn what_the_daemon_says_of_itself() {
    let server = Server::new(3);
    assert_eq!(server.json("/api/v1/probes").await["cpu_seconds"], 1.5);
    assert_eq!(server.json("/api/v1/doctor").await["kernel"], "6.18");
    let host = server.json("/api/v1/host").await;
    assert_eq!(host["metrics"][0]["value"], 17.0);
    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn the_page_is_strict_and_answers_are_private() {
    let server = Server::new(0);
    // Without Node the program is built without the dashboard: then there is only a page that says so.
    let files = crate::serve::assets::WEB_ASSETS.iter().map(|(path, _)| *path);
    for path in ["/"].into_iter().chain(files.filter(|path| *path != "/index.html")) {
        let (status, headers, body) =
            server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!body.is_empty());
    }
    let (_, page) = server.get("/").await;
    assert!(!page.contains("<script>") && !page.contains(" style=") && !page.contains("onclick"));
}
