//! The flight recorder over the API: what it holds is a recording like any other.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Server,
    replays::{ask, replayed},
    tick,
};
use crate::{
    serve::{
        Backend,
        routes::ending,
        tape::{Flight, FlightUse, Replay},
    },
    store::tape::Tape,
};

/// A flight recorder of so many bytes that has seen ticks 3 to `last`. It ends with the sender.
async fn flying(server: &Server, max_bytes: usize, last: u64) -> (Flight, watch::Sender<bool>) {
    let (end, ending) = ending();
    let backend: Arc<dyn Backend> = server.fed.clone();
    let used = Arc::new(FlightUse::new(max_bytes));
    let flight = Flight::start(backend, ending, used);
    // It is there when it answers.
    frozen(&flight).await;
    for second in 3..=last {
        server.fed.live.add(tick(second));
        sleep(Duration::from_millis(5)).await;
    }
    (flight, end)
}

async fn frozen(flight: &Flight) -> Vec<u8> {
    timeout(Duration::from_secs(10), flight.frozen()).await.unwrap().unwrap().file.to_vec()
}

#[tokio::test]
async fn what_happened_is_there_and_more_than_once() {
    let server = Server::new(3);
    let (flight, _end) = flying(&server, 1 << 20, 22).await;
    let (replay, ..) = replayed(frozen(&flight).await);
    let told = replay.recording().unwrap();
    assert_eq!((told.ticks, told.to.0 - told.from.0), (20, 19_000_000_000));
    assert!(told.lost.is_none(), "{}", told.lost_text);
    // Asked again, it has that and what came since.
    (23..=25).for_each(|second| server.fed.live.add(tick(second)));
    sleep(Duration::from_millis(50)).await;
    let (replay, router, _end) = replayed(frozen(&flight).await);
    let told = replay.recording().unwrap();
    assert_eq!((told.ticks, told.to.0 - told.from.0), (23, 22_000_000_000));
    assert!(told.lost.is_none(), "{}", told.lost_text);
    for path in ["/api/v1/containers?duration=7s", "/api/v1/host/latency?duration=15s"] {
        assert_eq!(ask(&router, path).await, (200, server.json(path).await), "{path}");
    }
}

#[tokio::test]
async fn the_oldest_is_forgotten_and_that_is_no_loss() {
    const LAST: u64 = 82;
    let mut seen = vec![];
    for max_bytes in (8..14).map(|shift| 1 << shift) {
        let server = Server::new(3);
        let (flight, _end) = flying(&server, max_bytes, LAST).await;
        let tape = Tape::parse(Path::new("a.cgscope"), frozen(&flight).await);
        // Where not even one block fits there is nothing.
        let Some(replay) = tape.ok().and_then(|tape| Replay::of(tape).ok()) else {
            seen.push(0);
            continue;
        };
        let told = replay.recording().unwrap();
        assert!(told.lost.is_none(), "{}", told.lost_text);
        assert_eq!(
            (told.to, told.to.0 - told.from.0),
            (tick(LAST).at, (told.ticks - 1) * 1_000_000_000)
        );
        seen.push(told.ticks);
    }
    assert!(seen.is_sorted() && seen.last() == Some(&80), "{seen:?}");
    assert!(seen.iter().any(|ticks| (1..80).contains(ticks)), "{seen:?}");
}

#[tokio::test]
async fn it_ends_with_the_daemon_and_without_one_says_how_to_have_one() {
    let server = Server::new(3);
    let (status, refusal) = server.refused("/api/v1/flight").await;
    assert_eq!(status, 501, "{refusal}");
    assert!(refusal["remedy"].as_str().unwrap().contains("--flight-recorder"), "{refusal}");
    let (flight, end) = flying(&server, 1 << 20, 3).await;
    end.send(true).unwrap();
    let gone = async {
        while flight.frozen().await.is_some() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}
