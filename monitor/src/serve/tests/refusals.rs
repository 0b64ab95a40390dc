//! What is not answered: senseless questions, and those of other sites.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::Server;

#[tokio::test]
async fn senseless_requests_are_told_what_would_be_right() {
    let server = Server::new(5);
    let many = format!("/api/v1/batch?{}", ["ask=query"; 33].join("&"));
    for (path, status) in [
        ("/api/v1/containers?nonsense=1", 400),
        ("/api/v1/containers?all=maybe", 400),
        ("/api/v1/containers?duration=0s", 400),
        ("/api/v1/containers?metrics=nonsense", 400),
        ("/api/v1/containers?metrics=cgscope_sched_cpu_seconds_total,", 400),
        ("/api/v1/containers/db/latency?duration=11m", 400),
        ("/api/v1/containers/db/latency?duration=x", 400),
        ("/api/v1/containers/nobody", 404),
        ("/api/v1/containers/nobody/latency", 404),
        ("/api/v1/processes/x/latency", 400),
        ("/api/v1/processes/0/latency", 400),
        ("/api/v1/flamegraph?frequency=10001", 400),
        ("/api/v1/flamegraph?frequency=0", 400),
        ("/api/v1/flamegraph?type=wall", 400),
        ("/api/v1/flamegraph?type=offcpu&frequency=99", 400),
        ("/api/v1/flamegraph?container=db&pid=1", 400),
        ("/api/v1/flamegraph?pid=0", 400),
        ("/api/v1/flamegraph?format=png", 400),
        ("/api/v1/flamegraph?container=nobody", 404),
        ("/api/v1/probes?x=1", 400),
        ("/api/v1/batch", 400),
        ("/api/v1/batch?query=x", 400),
        (many.as_str(), 400),
        ("/nothing", 404),
        ("/api/v1/nothing", 404),
    ] {
        let (got, body) = server.refused(path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(!body["error"].as_str().unwrap().is_empty(), "{path}");
        assert!(!body["remedy"].as_str().unwrap().is_empty(), "{path}");
    }
    let (_, body) = server.refused("/api/v1/containers/bd").await;
    assert_eq!(body["remedy"], "near it: db");
    let (_, body) = server.refused("/api/v1/containers?metrics=sched_cpu").await;
    assert_eq!(body["error"], "containers have no metric \"sched_cpu\"");
    assert_eq!(
        body["remedy"],
        "docs/metrics.md lists them; near it: cgscope_sched_cpu_seconds_total"
    );
    assert!(server.fed.asked.lock().unwrap().is_empty(), "nothing was recorded");
}

#[tokio::test]
async fn only_loopback_names_and_no_other_sites() {
    let server = Server::bound(2, Some("127.0.0.1:7070"));
    let with = |name: &str, value: &str| {
        Request::get("/api/v1/probes").header(name, value).body(Body::empty()).unwrap()
    };
    assert_eq!(server.ask(with("host", "localhost:7070")).await.0, StatusCode::OK);
    assert_eq!(
        server.ask(with("host", "evil.example:7070")).await.0,
        StatusCode::MISDIRECTED_REQUEST
    );
    assert_eq!(server.ask(with("x-none", "")).await.0, StatusCode::MISDIRECTED_REQUEST);
    let cross = Request::get("/api/v1/flamegraph")
        .header("host", "localhost")
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty());
    assert_eq!(server.ask(cross.unwrap()).await.0, StatusCode::FORBIDDEN);
    assert!(server.fed.asked.lock().unwrap().is_empty());
    let open = Server::bound(2, Some("0.0.0.0:7070"));
    assert_eq!(open.ask(with("host", "host.example")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_form_that_is_too_long_ends_its_connection() {
    let server = Server::new(2);
    let post = |form: String| {
        Request::post("/prometheus/api/v1/query")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap()
    };
    let (status, headers, _) = server.ask(post(format!("query={}", "x".repeat(3 << 20)))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(headers["connection"], "close");
    let (status, headers, _) = server.ask(post("query=1%2B".to_owned())).await;
    assert_ne!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!headers.contains_key("connection"), "what was read whole keeps it");
}
