//! The flight recorder: everything of the last minutes in memory, to be made a file when something went wrong.
//!
//! Contract: it takes no more memory than it was given, and as much again while it is made a file. It records ticks as often as the daemon
//! measures and stacks all the time; what it forgets is the oldest. What it missed of the time it holds, the file counts.

mod on_disk;
mod own;
mod ring;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::ring::{Part, Ring};
pub use self::{
    on_disk::{FlightDirectory, FlightError},
    own::{DESCRIPTORS, FlightUse},
};
use super::{
    events::{Event, Events},
    file::TapeFile,
    sections::{FREQUENCY_HZ, Sections, facts, is_block_full},
    told::Ended,
};
use crate::{
    metric::{Tick, WallTimeNs},
    serve::{
        backend::{Backend, BackendError},
        error::ApiError,
        params::{NoParams, Params},
        routes::{Ending, Served},
    },
    store::tape::renumber,
};

/// Asks a flight recorder for what it holds.
#[derive(Clone, Debug)]
pub struct Flight(mpsc::Sender<oneshot::Sender<Frozen>>);

/// What a flight recorder held.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The host it is of.
    pub host: String,
    /// A tape, whole.
    pub file: Bytes,
}

impl Flight {
    /// Starts one in a runtime, of which `used` tells how much it may hold and does; it ends with the daemon.
    pub fn start(backend: Arc<dyn Backend>, ending: Ending, used: Arc<FlightUse>) -> Self {
        let (sender, requests) = mpsc::channel(1);
        let handle = Handle::current();
        tokio::task::spawn_blocking(move || {
            Recorder::begin(backend, ending, handle, requests, used).run();
        });
        Self(sender)
    }

    /// Everything that it holds, up to now; `None` if the daemon ends.
    pub async fn frozen(&self) -> Option<Frozen> {
        let (sender, frozen) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        frozen.await.ok()
    }
}

/// `/api/v1/flight`.
pub async fn flight(
    State(served): State<Served>,
    _: Params<NoParams>,
) -> Result<TapeFile, ApiError> {
    let flight = served.flight.as_ref().ok_or_else(|| BackendError::Unsupported {
        what: "a recording of what has happened".to_owned(),
        why: "the daemon has no flight recorder: start it with --flight-recorder 32M".to_owned(),
    })?;
    let Frozen { host, file } = flight.frozen().await.ok_or(BackendError::Ending)?;
    Ok(TapeFile::new(Body::from(file), &host))
}

struct Recorder {
    events: Events,
    requests: mpsc::Receiver<oneshot::Sender<Frozen>>,
    sections: Sections,
    ring: Ring,
    used: Arc<FlightUse>,
    /// Ticks that are in no block yet.
    ticks: Vec<Arc<Tick>>,
    /// What is in the next part besides sections.
    missed: Part,
}

impl Recorder {
    fn begin(
        backend: Arc<dyn Backend>,
        ending: Ending,
        handle: Handle,
        requests: mpsc::Receiver<oneshot::Sender<Frozen>>,
        used: Arc<FlightUse>,
    ) -> Self {
        let following = backend.follow_profiles(FREQUENCY_HZ);
        if let Err(error) = &following {
            tracing::warn!(%error, "the flight recorder has no stacks");
        }
        let events = Events::of(backend.live(), following.ok(), ending, handle.clone());
        Self {
            events,
            requests,
            sections: Sections::new(backend, handle, WallTimeNs::now()),
            ring: Ring::new(used.max_bytes()),
            used,
            ticks: vec![],
            missed: Part::default(),
        }
    }

    /// Until the daemon ends.
    fn run(mut self) {
        loop {
            match self.events.next(self.requests.recv()) {
                Event::Tick(tick) => self.ticks.push(tick),
                Event::MissedTicks(count) => self.missed.missed_ticks += count,
                Event::Window(kind, kept) => {
                    let mut part = std::mem::take(&mut self.missed);
                    self.sections.put_window(&mut part.sections, kind, &kept);
                    self.keep(part);
                }
                Event::MissedWindows(count) => self.missed.missed_windows += count,
                Event::Other(Some(asked)) => {
                    let frozen = self.frozen();
                    // Who asked may have gone meanwhile.
                    let _ = asked.send(frozen);
                }
                Event::Other(None) | Event::Ending => return,
            }
            if is_block_full(&self.ticks) {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        let mut part = std::mem::take(&mut self.missed);
        part.from = self.ticks.first().map(|tick| tick.at);
        let before = self.sections.ticks();
        self.sections.put_block(&mut part.sections, std::mem::take(&mut self.ticks));
        part.ticks = (before, self.sections.ticks() - before);
        self.keep(part);
    }

    fn keep(&mut self, part: Part) {
        self.ring.push(part);
        self.used.note(self.ring.bytes(), self.ring.from());
    }

    fn frozen(&mut self) -> Frozen {
        if !self.ticks.is_empty() {
            self.close_block();
        }
        let written = self.sections.ticks();
        let first_tick = self.ring.first_tick().unwrap_or(written);
        let mut facts = facts(Duration::ZERO);
        facts.first_tick = first_tick;
        let Part { missed_ticks, missed_windows, .. } = self.missed;
        let ticks = written - first_tick;
        let mut ended = Ended { ticks, missed_ticks, missed_windows, is_early: false };
        let mut file = self.sections.head(&facts);
        for part in self.ring.parts() {
            file.extend_from_slice(&part.sections);
            ended.missed_ticks += part.missed_ticks;
            ended.missed_windows += part.missed_windows;
        }
        self.sections.put_end(&mut file, &ended);
        renumber(&mut file);
        Frozen { host: facts.host, file: file.into() }
    }
}
