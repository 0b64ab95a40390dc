//! `/api/v1/record`: all that is measured for a while, as a tape that grows while it is read.
//!
//! Contract: whoever stops reading ends the recording, and what was read until then can be replayed. A reader who is too slow loses measurements,
//! which the tape counts; the daemon never waits for it.

use std::{collections::HashSet, convert::Infallible, fs, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::{broadcast::error::RecvError, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{
    outlier::taped,
    told::{Answers, Contained, Ended, Facts},
};
use crate::{
    metric::{KtimeNs, Tick, WallTimeNs},
    profile::{Kept, KeptWindow, ProfileKind},
    serve::{
        backend::{Backend, BackendError, Following},
        duration::Span,
        error::ApiError,
        openapi::values,
        params::Params,
        routes::{Ending, Served},
    },
    store::{
        Live,
        tape::{SectionKind, TapeWriter},
    },
};

/// The length of a recording when the request does not say.
pub const DEFAULT_RECORD: Duration = Duration::from_secs(60);
/// The longest recording.
pub const MAX_RECORD: Duration = Duration::from_secs(86_400);
/// How much of what was before a recording can have at most: what is in memory at a tick a second.
pub const MAX_BEFORE: Duration = Duration::from_secs(Live::KEPT_TICKS as u64);
/// Stack samples per second and CPU where the daemon keeps none: as many as it is advised to keep.
const FREQUENCY_HZ: u32 = 19;
/// A section holds the ticks of so long: what is lost with it, and what a kill costs.
const BLOCK: Duration = Duration::from_secs(10);
/// Ticks of one section.
const BLOCK_TICKS: usize = 100;
/// Slow operations are read at each tick, and are known when their second is over: a slower one may come until then.
const OUTLIERS_SETTLE_NS: u64 = 1_000_000_000;
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

/// A tape while it is recorded.
#[derive(Debug)]
pub struct Growing(Response);

impl Growing {
    /// What it is served as.
    pub const MEDIA_TYPE: &str = "application/octet-stream";
}

impl IntoResponse for Growing {
    fn into_response(self) -> Response {
        self.0
    }
}

pub async fn record(
    State(served): State<Served>,
    Params(params): Params<TapeParams>,
) -> Result<Growing, ApiError> {
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
    let name: String =
        facts.host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    // Thousands of series take milliseconds, and names of stacks more: not on a thread that answers others.
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        Recording::begin(served, handle, out, (before, wanted)).run(&facts);
    });
    let mut response = Body::from_stream(ReceiverStream::new(sections)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(Growing::MEDIA_TYPE));
    let name = format!("attachment; filename=\"{name}.cgscope\"");
    headers.extend(HeaderValue::try_from(name).map(|name| (CONTENT_DISPOSITION, name)));
    Ok(Growing(response))
}

fn facts(wanted: Duration) -> Facts {
    let told = |file: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default();
        text.trim().to_owned()
    };
    Facts {
        host: told("hostname"),
        kernel: told("osrelease"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun: WallTimeNs::now(),
        wanted_ns: wanted.as_nanos() as u64,
    }
}

/// What comes next.
enum Event {
    Tick(Arc<Tick>),
    MissedTicks(u64),
    Window(ProfileKind, Arc<Kept>),
    MissedWindows(u64),
    /// None could be taken.
    NoMoreWindows,
    /// The daemon ends.
    Ending,
    /// The reader is gone.
    Gone,
}

/// A recording under way.
struct Recording {
    backend: Arc<dyn Backend>,
    ending: Ending,
    handle: Handle,
    out: mpsc::Sender<Result<Bytes, Infallible>>,
    wanted: Duration,
    added: tokio::sync::broadcast::Receiver<Arc<Tick>>,
    following: Option<Following>,
    tape: TapeWriter,
    /// Ticks that are in no section yet.
    ticks: Vec<Arc<Tick>>,
    first: Option<Arc<Tick>>,
    /// When the last tick was that is in a section.
    last: KtimeNs,
    /// Begins of the windows that are in a section, ms since 1970.
    windows: HashSet<u64>,
    contained: Contained,
    outliers_until: WallTimeNs,
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
        let added = backend.live().subscribe();
        // The tick that is there is where the recording begins.
        let ticks = backend.live().last(before);
        let first = ticks.last().cloned();
        // Without stacks the rest is recorded all the same; `doctor`, which is on the tape, says why there are none.
        let following = backend.follow_profiles(FREQUENCY_HZ).ok();
        Self {
            backend,
            ending,
            handle,
            out,
            wanted,
            added,
            following,
            tape: TapeWriter::default(),
            outliers_until: ticks.first().map_or_else(WallTimeNs::now, |tick| tick.at),
            last: KtimeNs::default(),
            ticks,
            first,
            contained: Contained::default(),
            windows: HashSet::new(),
            ended: Ended::default(),
        }
    }

    /// Until its time is over, the daemon ends or the reader is gone.
    fn run(mut self, facts: &Facts) {
        let mut head = TapeWriter::head();
        self.tape.put(&mut head, SectionKind::Facts, facts);
        self.put_about(&mut head);
        if self.ticks.len() > 1 {
            self.put_kept(&mut head);
            head.extend(self.block());
        }
        let mut is_read = self.send(head);
        while is_read {
            match self.next() {
                Event::Tick(tick) => {
                    self.first.get_or_insert_with(|| Arc::clone(&tick));
                    self.ticks.push(tick);
                }
                Event::MissedTicks(count) => self.ended.missed_ticks += count,
                Event::Window(kind, kept) => {
                    let mut section = vec![];
                    self.put_window(&mut section, kind, &kept);
                    is_read = self.send(section);
                }
                Event::MissedWindows(count) => self.ended.missed_windows += count,
                Event::NoMoreWindows => self.following = None,
                Event::Ending => {
                    self.ended.is_early = true;
                    break;
                }
                Event::Gone => return,
            }
            if self.is_over() {
                break;
            }
            if self.is_block_full() {
                let section = self.block();
                is_read = self.send(section);
            }
        }
        if is_read {
            self.finish();
        }
    }

    fn next(&mut self) -> Event {
        let Self { added, following, ending, out, handle, .. } = self;
        let window = async {
            match following {
                Some(following) => following.windows.recv().await,
                None => std::future::pending().await,
            }
        };
        handle.block_on(async {
            tokio::select! {
                tick = added.recv() => match tick {
                    Ok(tick) => Event::Tick(tick),
                    Err(RecvError::Lagged(count)) => Event::MissedTicks(count),
                    Err(RecvError::Closed) => Event::Ending,
                },
                window = window => match window {
                    Ok((kind, kept)) => Event::Window(kind, kept),
                    Err(RecvError::Lagged(count)) => Event::MissedWindows(count),
                    Err(RecvError::Closed) => Event::NoMoreWindows,
                },
                () = ending.wait() => Event::Ending,
                () = out.closed() => Event::Gone,
            }
        })
    }

    /// Whether its time is over.
    fn is_over(&self) -> bool {
        let last = self.ticks.last();
        let span = last.zip(self.first.as_ref()).map(|(last, first)| last.taken.since(first.taken));
        span.is_some_and(|span| span + JITTER.min(self.wanted / 20) >= self.wanted)
    }

    fn is_block_full(&self) -> bool {
        let ends = self.ticks.first().zip(self.ticks.last());
        let span = ends.map(|(first, last)| last.taken.since(first.taken));
        self.ticks.len() >= BLOCK_TICKS || span.is_some_and(|span| span >= BLOCK)
    }

    /// The ticks that wait, the slow operations of their time, and who is new.
    fn block(&mut self) -> Vec<u8> {
        let mut section = vec![];
        let mut ticks = std::mem::take(&mut self.ticks);
        // One may have come while those before it were looked up.
        ticks.retain(|tick| tick.taken > self.last);
        ticks.dedup_by_key(|tick| tick.taken);
        let begin = ticks.first().map_or(self.last, |tick| tick.taken);
        let part = |tick: &Tick| tick.taken.since(begin).as_nanos() / BLOCK.as_nanos();
        for ticks in ticks.chunk_by(|a, b| part(a) == part(b)) {
            self.tape.put_ticks(&mut section, ticks);
        }
        self.last = ticks.last().map_or(self.last, |tick| tick.taken);
        let last = ticks.last().map_or(0, |tick| tick.at.0);
        self.put_outliers(&mut section, last.saturating_sub(OUTLIERS_SETTLE_NS));
        self.put_contained(&mut section);
        section
    }

    /// Windows that were kept of the time before.
    fn put_kept(&mut self, section: &mut Vec<u8>) {
        let from_ms = self.ticks.first().map_or(0, |tick| tick.at.0 / 1_000_000);
        let range = from_ms..WallTimeNs::now().0 / 1_000_000;
        for kind in ProfileKind::ALL {
            // Without them the rest is recorded all the same.
            let kept = self.backend.archive().map(|archive| archive.kept_windows(kind, &range));
            for kept in kept.into_iter().flatten().flatten() {
                self.put_window(section, kind, &kept);
            }
        }
    }

    /// A window that is kept may come once more to those who follow.
    fn put_window(&mut self, section: &mut Vec<u8>, kind: ProfileKind, kept: &Kept) {
        let is_new = |window: &KeptWindow| !self.windows.contains(&window.started_ms);
        if kept.windows.iter().any(is_new) {
            self.tape.put_profile(section, kind, kept);
            self.windows.extend(kept.windows.iter().map(|window| window.started_ms));
        }
    }

    fn put_contained(&mut self, section: &mut Vec<u8>) {
        let contained = Contained::of(&*self.backend);
        if contained != self.contained {
            self.tape.put(section, SectionKind::Containers, &contained);
            self.contained = contained;
        }
    }

    fn put_outliers(&mut self, section: &mut Vec<u8>, until_ns: u64) {
        let since = self.outliers_until;
        let span = Duration::from_nanos(WallTimeNs::now().0.saturating_sub(since.0));
        let mut outliers = self.backend.outliers(span + BLOCK).outliers;
        outliers.retain(|outlier| outlier.at >= since && outlier.at.0 < until_ns);
        self.outliers_until = WallTimeNs(until_ns.max(since.0));
        if !outliers.is_empty() {
            let rows = taped(&*self.backend, &self.handle, outliers);
            self.tape.put(section, SectionKind::Outliers, &rows);
        }
    }

    /// What stands at the begin of a tape and at its end: one of them survives most damage.
    fn put_about(&mut self, section: &mut Vec<u8>) {
        let mut metrics = self.backend.metrics();
        metrics.extend(self.backend.changes().iter().map(|change| change.metric));
        self.tape.put_metrics(section, &metrics);
        self.contained = Contained::default();
        self.put_contained(section);
        let answers = Answers::of(&*self.backend);
        self.tape.put(section, SectionKind::Answers, &answers);
    }

    fn finish(mut self) {
        let mut last = vec![];
        if let Some(following) = self.following.take() {
            // The window under way is part of it, unless the daemon has no time left.
            let mut windows = if self.ended.is_early { following.windows } else { following.end() };
            while let Ok((kind, kept)) = windows.try_recv() {
                self.put_window(&mut last, kind, &kept);
            }
        }
        last.extend(self.block());
        self.put_outliers(&mut last, u64::MAX);
        self.put_about(&mut last);
        self.ended.ticks = self.tape.ticks();
        let ended = std::mem::take(&mut self.ended);
        self.tape.put(&mut last, SectionKind::End, &ended);
        self.send(last);
    }

    /// Whether somebody still reads.
    fn send(&self, bytes: Vec<u8>) -> bool {
        self.out.blocking_send(Ok(Bytes::from(bytes))).is_ok()
    }
}
