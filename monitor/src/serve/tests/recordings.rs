//! Flame graphs: recorded, kept, and asked for again.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{DB, Server};
use crate::{profile::ProfileKind, serve::backend::Target};

#[tokio::test]
async fn a_recording_is_drawn_in_a_world_of_its_own() {
    let server = Server::new(2);
    let path = "/api/v1/flamegraph?container=db&duration=10ms&frequency=999";
    let (status, headers, body) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"image/svg+xml".parse().unwrap())
    );
    assert!(body.contains("<svg"), "{body}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("sandbox allow-scripts") && !policy.contains("same-origin"),
        "{policy}"
    );
    let asked = server.fed.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, Target::Container(DB.into()));
    assert_eq!((asked[0].frequency_hz, asked[0].duration), (999, Duration::from_millis(10)));
    assert_eq!(asked[0].kind, ProfileKind::OnCpu);
    let path = "/api/v1/flamegraph?type=offcpu&container=db&duration=10ms";
    let (status, _, body) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(status == StatusCode::OK && body.contains("Off-CPU"), "{body}");
    assert_eq!(server.fed.asked.lock().unwrap()[1].kind, ProfileKind::OffCpu);
}

#[tokio::test]
async fn a_recording_that_is_kept_can_be_asked_for_in_other_formats() {
    let server = Server::new(2);
    let path = "/api/v1/flamegraph?container=db&duration=10ms&format=json";
    let (_, headers, _) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(!headers.contains_key("x-cgscope-profile"), "nobody asked to keep it");
    assert_eq!(server.json("/api/v1/profiles").await["profiles"], serde_json::json!([]));
    let path = format!("{path}&keep=true");
    let (_, headers, body) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    let id = headers["x-cgscope-profile"].to_str().unwrap();
    let list = server.json("/api/v1/profiles").await;
    assert_eq!(list["profiles"][0]["id"], id);
    assert_eq!(list["profiles"][0]["container"], DB);
    assert_eq!(server.get(&format!("/api/v1/profiles/{id}")).await, (StatusCode::OK, body));
    let (status, drawn) = server.get(&format!("/api/v1/profiles/{id}?format=svg")).await;
    assert!(status == StatusCode::OK && drawn.contains("<svg"));
    let (status, why) = server.get("/api/v1/profiles/none").await;
    assert!(status == StatusCode::NOT_FOUND && why.contains("kept"), "{why}");
    // Neither saw anything: there is nothing to compare.
    let (status, why) = server.get(&format!("/api/v1/profiles/{id}/diff?base={id}")).await;
    assert!(status == StatusCode::BAD_REQUEST && why.contains("no samples"), "{why}");
}
