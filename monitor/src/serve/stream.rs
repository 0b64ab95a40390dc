//! `/api/v1/stream`: the overview at each tick, as server-sent events.
//!
//! Contract: a reader that is too slow misses ticks and gets the newest; a comment comes every 15 s of silence; the
//! stream ends with the daemon.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use utoipa::IntoParams;

use super::{brief::LiveList, params::Params, routes::Served, tape::RecordedBrief};

/// Silence after which a comment shows that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the stream takes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// Whether to add what is no container, and the dead.
    #[serde(default)]
    #[param(default = false)]
    all: bool,
}

pub async fn stream(
    State(served): State<Served>,
    Params(params): Params<StreamParams>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // One event waits for the reader at most.
    let (to_reader, events) = mpsc::channel(1);
    tokio::spawn(feed(served, params.all, to_reader));
    Sse::new(ReceiverStream::new(events))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
}

async fn feed(served: Served, all: bool, to_reader: mpsc::Sender<Result<Event, Infallible>>) {
    let mut added = served.backend.live().subscribe();
    let mut ending = served.ending.clone();
    loop {
        // The window of the last two ticks, also for the first event: a page is filled at once.
        if let Some((first, last)) = served.backend.live().window(Duration::ZERO) {
            let window = served.newest.between(&first, &last);
            let mut list = LiveList::of(&window, served.backend.registry(), all);
            list.recording = served.backend.recording().map(RecordedBrief::from);
            let event = match Event::default().event("overview").json_data(&list) {
                Ok(event) => event,
                Err(error) => {
                    tracing::error!(%error, "cannot write an overview as JSON");
                    return;
                }
            };
            tokio::select! {
                sent = to_reader.send(Ok(event)) => if sent.is_err() { return },
                () = ending.wait() => return,
            }
        }
        tokio::select! {
            // Missed ticks are no loss here: the newest two are read above.
            _ = added.recv() => {}
            () = to_reader.closed() => return,
            () = ending.wait() => return,
        }
    }
}
