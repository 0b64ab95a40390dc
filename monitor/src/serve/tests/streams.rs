//! The live stream, and the end of the daemon while requests are under way.

use std::time::{Duration, Instant};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value as Json;
use tower::ServiceExt;

use super::{Server, tick};

#[tokio::test]
async fn the_stream_has_an_event_per_tick_and_ends_with_the_daemon() {
    let server = Server::new(2);
    let request = Request::get("/api/v1/stream").body(Body::empty()).unwrap();
    let answer = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let live = server.fed.live.clone();
    let end = server.end.clone();
    tokio::spawn(async move {
        for second in 2..=4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            live.add(tick(second));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        end.send(true).unwrap();
    });
    let body = tokio::time::timeout(Duration::from_secs(10), to_bytes(answer.into_body(), 1 << 20));
    let body = String::from_utf8(body.await.expect("it ended").unwrap().to_vec()).unwrap();
    assert_eq!(body.matches("event: overview").count(), 4, "{body}");
    let data = body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: Json = serde_json::from_str(data).unwrap();
    assert_eq!(data["containers"][0]["name"], "db");
}

#[tokio::test]
async fn the_end_is_quick_with_streams_and_recordings_under_way() {
    let server = Server::new(2);
    let (listener, address) = crate::serve::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let taken = crate::serve::server::bind(address).unwrap_err();
    assert!(matches!(taken, crate::serve::ServeError::InUse { .. }), "{taken}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = server.router.clone();
    let serving =
        tokio::spawn(crate::serve::server::serve(listener, router, server.end.clone(), async {
            let _ = stopped.await;
        }));
    let ask = |path: &'static str| {
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .build()
                .into();
            let mut answer = agent.get(format!("http://{address}{path}")).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string())
        })
    };
    let stream = ask("/api/v1/stream");
    let recording = ask("/api/v1/flamegraph?duration=5m");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(recording.await.unwrap().0, 503);
    assert_eq!(stream.await.unwrap().0, 200);
}
