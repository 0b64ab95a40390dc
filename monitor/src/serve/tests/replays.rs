//! A recording over the API, and what is asked of it afterwards.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value as Json;
use tokio::{sync::watch, time::sleep};
use tower::ServiceExt;

use super::{DB, Server, WEB, tick};
use crate::{
    serve::{
        Backend, router,
        routes::{Serving, ending},
        tape::Replay,
    },
    store::tape::Tape,
};

/// Twenty seconds of ticks, recorded as they come.
async fn recorded(server: &Server) -> Vec<u8> {
    let request = Request::get("/api/v1/record?duration=20s").body(Body::empty()).unwrap();
    let answer = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = tokio::spawn(to_bytes(answer.into_body(), 1 << 24));
    // The begin of the recording is the tick that is there.
    sleep(Duration::from_millis(50)).await;
    for second in 3..=22 {
        server.fed.live.add(tick(second));
        sleep(Duration::from_millis(5)).await;
    }
    let body = tokio::time::timeout(Duration::from_secs(10), body).await;
    body.expect("it ends").unwrap().unwrap().to_vec()
}

pub(super) fn replayed(tape: Vec<u8>) -> (Arc<Replay>, Router, watch::Sender<bool>) {
    let tape = Tape::parse(Path::new("a.cgscope"), tape).unwrap();
    let replay = Arc::new(Replay::of(tape).unwrap());
    let backend: Arc<dyn Backend> = replay.clone();
    let (end, ending) = ending();
    (replay, router(backend, ending, Serving { frequency_hz: 99, ..Serving::default() }), end)
}

pub(super) async fn ask(router: &Router, path: &str) -> (u16, Json) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 24).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {body:?}")))
}

#[tokio::test]
async fn what_the_daemon_answers_at_its_end_a_replay_answers_too() {
    let server = Server::new(3);
    let (replay, router, _end) = replayed(recorded(&server).await);
    let told = replay.recording().unwrap();
    assert_eq!((told.ticks, told.to.0 - told.from.0), (21, 20_000_000_000));
    assert!(told.lost.is_none(), "{}", told.lost_text);
    for path in [
        "/api/v1/containers".to_owned(),
        "/api/v1/containers?all=true&duration=7s".to_owned(),
        "/api/v1/containers?metrics=cgscope_sched_cpu_seconds_total".to_owned(),
        format!("/api/v1/containers/{WEB}"),
        format!("/api/v1/containers/{WEB}/latency?duration=15s"),
        "/api/v1/containers/db/states?duration=10s".to_owned(),
        "/api/v1/host".to_owned(),
        "/api/v1/host/latency?duration=5s".to_owned(),
        "/api/v1/host/states?duration=5s".to_owned(),
        "/api/v1/audit".to_owned(),
        "/api/v1/probes".to_owned(),
    ] {
        let (status, now) = ask(&router, &path).await;
        assert_eq!((status, now), (200, server.json(&path).await), "{path}");
    }
    let then = server.json("/api/v1/changes").await;
    let (_, now) = ask(&router, "/api/v1/changes").await;
    // When each was noticed is when the test asked.
    let without_time = |list: &Json| {
        let mut list = list.clone();
        for change in list["changes"].as_array_mut().unwrap() {
            change["at"].take();
        }
        list
    };
    assert_eq!(then["changes"].as_array().map(Vec::len), Some(2));
    assert_eq!(without_time(&now), without_time(&then));
}

#[tokio::test]
async fn a_longer_window_than_there_is_is_all_there_is() {
    let server = Server::new(3);
    let (_, router, _end) = replayed(recorded(&server).await);
    let path = format!("/api/v1/containers/{DB}/latency?duration=10m");
    let (status, answer) = ask(&router, &path).await;
    assert_eq!((status, &answer["span_ns"]), (200, &20_000_000_000u64.into()));
}

#[tokio::test]
async fn it_says_what_it_is_and_measures_nothing_anew() {
    let server = Server::new(3);
    assert_eq!(server.json("/api/v1/recording").await["recording"], Json::Null);
    let (_, router, _end) = replayed(recorded(&server).await);
    let (_, answer) = ask(&router, "/api/v1/recording").await;
    assert_eq!(answer["recording"]["ticks"], 21);
    let (_, doctor) = ask(&router, "/api/v1/doctor").await;
    assert_eq!(
        (&doctor["kernel"], &doctor["checks"][0]["name"]),
        (&"6.18".into(), &"recording".into())
    );
    let pid = std::process::id();
    for path in [
        "/api/v1/flamegraph?duration=1s".to_owned(),
        format!("/api/v1/flamegraph?container={WEB}&duration=1s"),
        format!("/api/v1/processes/{pid}/latency?duration=1s"),
        "/api/v1/record?duration=1s".to_owned(),
    ] {
        let (status, refusal) = ask(&router, &path).await;
        assert_eq!(status, 400, "{path}: {refusal}");
        assert!(refusal["error"].as_str().unwrap().contains("recording"), "{refusal}");
        assert!(!refusal["remedy"].as_str().unwrap().is_empty(), "{refusal}");
    }
    // Nobody is waited for who cannot come.
    let asked = std::time::Instant::now();
    let (status, _) = ask(&router, "/api/v1/containers/nobody/latency").await;
    assert_eq!(status, 404);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let (status, refusal) = ask(&router, "/api/v1/flamegraph?start=-10s").await;
    assert_eq!(status, 501, "{refusal}");
    assert!(refusal["remedy"].as_str().unwrap().contains("no stacks"), "{refusal}");
}

#[tokio::test]
async fn a_reader_who_leaves_ends_it_and_what_makes_no_sense_is_refused() {
    let server = Server::new(3);
    for wrong in ["duration=0s", "duration=25h", "duration=x", "before=3m", "nonsense=1"] {
        let (status, refusal) = server.refused(&format!("/api/v1/record?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {refusal}");
    }
    let before = Arc::strong_count(&server.fed);
    let request = Request::get("/api/v1/record?duration=1h").body(Body::empty()).unwrap();
    let answer = server.router.clone().oneshot(request).await.unwrap();
    assert!(Arc::strong_count(&server.fed) > before);
    drop(answer);
    for _ in 0..200 {
        if Arc::strong_count(&server.fed) == before {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the recording goes on");
}
