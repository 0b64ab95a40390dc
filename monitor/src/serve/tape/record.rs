//! `/api/v1/record`: all that is measured for a while, as a tape that grows while it is read.
//!
//! Contract: whoever stops reading ends the recording, and what was read until then can be replayed. A reader who is too slow loses measurements,
//! which the tape counts; the daemon never waits for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
};
use serde::Deserialize;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{
    events::{Event, Events},
    file::TapeFile,
    sections::{FREQUENCY_HZ, Sections, facts, is_block_full},
    told::{Ended, Facts},
};
use crate::{
    metric::{Tick, WallTimeNs},
    serve::{
        backend::BackendError, duration::Span, error::ApiError, openapi::values, params::Params,
        routes::Served,
    },
    store::Live,
};

/// The length of a recording when the request does not say.
pub const DEFAULT_RECORD: Duration = Duration::from_secs(60);
/// The longest recording.
pub const MAX_RECORD: Duration = Duration::from_secs(86_400);
/// How much of what was before a recording can have at most: what is in memory at a tick a second.
pub const MAX_BEFORE: Duration = Duration::from_secs(Live::KEPT_TICKS as u64);
/// Ticks come a little early: a time that falls short by less than this is over.
const JITTER: Duration = Duration::from_millis(50);
/// Sections that may wait for the reader.
const WAITING: usize = 8;

/// What to record.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TapeParams {
    /// For how long.
    #[param(inline, value_type = Option<values::TapeLength>)]
    duration: Option<Span>,
    /// How much of what is in memory comes before.
    #[param(inline, value_type = Option<values::TapeBefore>)]
    before: Option<Span>,
}

pub async fn record(
    State(served): State<Served>,
    Params(params): Params<TapeParams>,
) -> Result<TapeFile, ApiError> {
    if let Some(recording) = served.backend.recording() {
        return Err(ApiError(BackendError::Invalid {
            what: format!("this is a recording of {} already", recording.host),
            remedy: format!("copy the file {}", recording.file),
        }));
    }
    let wanted = params.duration.map_or(DEFAULT_RECORD, |span| span.0);
    if wanted.is_zero() || wanted > MAX_RECORD {
        return Err(ApiError(BackendError::Invalid {
            what: format!("a recording of {}", Span(wanted)),
            remedy: format!("ask for more than 0 and at most {}", Span(MAX_RECORD)),
        }));
    }
    let before = params.before.map_or(Duration::ZERO, |span| span.0);
    if before > MAX_BEFORE {
        return Err(ApiError(BackendError::Invalid {
            what: format!("a recording with {} before", Span(before)),
            remedy: format!("ask for at most {}: more is not in memory", Span(MAX_BEFORE)),
        }));
    }
    let (out, sections) = mpsc::channel(WAITING);
    let facts = facts(wanted);
    let file = TapeFile::new(Body::from_stream(ReceiverStream::new(sections)), &facts.host);
    // Thousands of series take milliseconds, and names of stacks more: not on a thread that answers others.
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        Recording::begin(served, handle, out, (before, wanted)).run(&facts);
    });
    Ok(file)
}

/// A recording under way.
struct Recording {
    events: Events,
    sections: Sections,
    out: mpsc::Sender<Result<Bytes, Infallible>>,
    wanted: Duration,
    /// Ticks that are in no block yet.
    ticks: Vec<Arc<Tick>>,
    first: Option<Arc<Tick>>,
    ended: Ended,
}

impl Recording {
    fn begin(
        served: Served,
        handle: Handle,
        out: mpsc::Sender<Result<Bytes, Infallible>>,
        (before, wanted): (Duration, Duration),
    ) -> Self {
        let Served { backend, ending, .. } = served;
        // `doctor`, which is on the tape, says why there are no stacks.
        let following = backend.follow_profiles(FREQUENCY_HZ).ok();
        let events = Events::of(backend.live(), following, ending, handle.clone());
        // The tick that is there is where the recording begins.
        let ticks = backend.live().last(before);
        let since = ticks.first().map_or_else(WallTimeNs::now, |tick| tick.at);
        Self {
            events,
            sections: Sections::new(backend, handle, since),
            out,
            wanted,
            first: ticks.last().cloned(),
            ticks,
            ended: Ended::default(),
        }
    }

    /// Until its time is over, the daemon ends or the reader is gone.
    fn run(mut self, facts: &Facts) {
        let mut head = self.sections.head(facts);
        if let [first, _, ..] = &self.ticks[..] {
            self.sections.put_kept(&mut head, first.at);
            self.put_block(&mut head);
        }
        let mut is_read = self.send(head);
        while is_read {
            match self.events.next(self.out.closed()) {
                Event::Tick(tick) => {
                    self.first.get_or_insert_with(|| Arc::clone(&tick));
                    self.ticks.push(tick);
                }
                Event::MissedTicks(count) => self.ended.missed_ticks += count,
                Event::Window(kind, kept) => {
                    let mut section = vec![];
                    self.sections.put_window(&mut section, kind, &kept);
                    is_read = self.send(section);
                }
                Event::MissedWindows(count) => self.ended.missed_windows += count,
                Event::Ending => {
                    self.ended.is_early = true;
                    break;
                }
                // The reader is gone.
                Event::Other(()) => return,
            }
            if self.is_over() {
                break;
            }
            if is_block_full(&self.ticks) {
                let mut section = vec![];
                self.put_block(&mut section);
                is_read = self.send(section);
            }
        }
        if is_read {
            self.finish();
        }
    }

    /// Whether its time is over.
    fn is_over(&self) -> bool {
        let last = self.ticks.last();
        let span = last.zip(self.first.as_ref()).map(|(last, first)| last.taken.since(first.taken));
        span.is_some_and(|span| span + JITTER.min(self.wanted / 20) >= self.wanted)
    }

    fn put_block(&mut self, out: &mut Vec<u8>) {
        let ticks = std::mem::take(&mut self.ticks);
        self.sections.put_block(out, ticks);
    }

    fn finish(mut self) {
        let mut last = vec![];
        // The window under way is part of it, unless the daemon has no time left.
        if let Some(mut windows) = self.events.last_windows(!self.ended.is_early) {
            while let Ok((kind, kept)) = windows.try_recv() {
                self.sections.put_window(&mut last, kind, &kept);
            }
        }
        self.put_block(&mut last);
        self.ended.ticks = self.sections.ticks();
        self.sections.put_end(&mut last, &self.ended);
        self.send(last);
    }

    /// Whether somebody still reads.
    fn send(&self, bytes: Vec<u8>) -> bool {
        self.out.blocking_send(Ok(Bytes::from(bytes))).is_ok()
    }
}
