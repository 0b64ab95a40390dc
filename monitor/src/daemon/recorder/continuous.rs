//! The recording that never ends: windows of ten seconds of the whole host, one after the other, without a gap.
//!
//! Contract: it costs what the sampler costs at its frequency; addresses become names window by window, while most of their processes
//! live and their files are there.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Gathered, Recorder, Recording, State};
use crate::{
    metric::{KtimeNs, WallTimeNs},
    profile::{Kept, Moments, ProfileKind, Weight},
    serve::{BackendError, ProfileRequest, Target, push::ProfilePush},
    store::profiles::Archive,
    symbol::RawStack,
};

/// Length of a window: what is lost at most if the machine stops.
const WINDOW: Duration = Duration::from_secs(10);
/// How often it is looked whether the daemon ends.
const CHECK: Duration = Duration::from_millis(100);

/// How long whoever wants the window under way waits for it.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Ends the window under way before its time.
#[derive(Clone, Default)]
pub(in crate::daemon) struct Flush(Arc<Flushes>);

/// How often it was asked for, and which of these were done.
#[derive(Default)]
struct Flushes {
    asked: AtomicU64,
    done: AtomicU64,
}

impl Flush {
    /// Waits until the window under way has been handed on.
    pub fn now(&self) {
        let mine = self.0.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let until = Instant::now() + FLUSH_PATIENCE;
        while self.0.done.load(Ordering::Acquire) < mine && Instant::now() < until {
            thread::sleep(CHECK / 5);
        }
    }

    fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn is_wanted(&self) -> bool {
        self.asked() > self.0.done.load(Ordering::Relaxed)
    }
}

/// The thread that keeps profiles. It ends when this is dropped.
pub(in crate::daemon) struct Keeper {
    is_ending: Arc<AtomicBool>,
    flush: Flush,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to record at so many samples a second and CPU, to keep them and to push them.
    ///
    /// # Errors
    /// That its thread cannot be started.
    pub fn start(
        recorder: &Recorder,
        archive: Arc<Archive>,
        push: Option<Arc<ProfilePush>>,
        frequency_hz: u32,
    ) -> io::Result<Self> {
        let (is_ending, flush) = (Arc::new(AtomicBool::new(false)), Flush::default());
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = thread::Builder::new().name("cgscope-keeper".into()).spawn({
            let (state, is_ending) = (Arc::clone(&recorder.state), Arc::clone(&is_ending));
            let flush = flush.clone();
            move || {
                let _following = timer.block_on(state.unwinder.begin(vec![]));
                match Continuous::begin(&state, frequency_hz) {
                    Ok(continuous) => {
                        continuous.run(&archive, push.as_deref(), &is_ending, &flush);
                    }
                    Err(error) => tracing::warn!("no profiles are kept: {error}"),
                }
            }
        })?;
        Ok(Self { is_ending, flush, thread: Some(thread) })
    }

    /// To end the window under way.
    pub fn flush(&self) -> Flush {
        self.flush.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was logged where it happened.
            let _ = thread.join();
        }
    }
}

struct Continuous {
    recording: Recording,
    frequency_hz: u32,
    /// Begin of the window.
    since: KtimeNs,
    since_wall: WallTimeNs,
}

impl Continuous {
    fn begin(state: &Arc<State>, frequency_hz: u32) -> Result<Self, BackendError> {
        let request = ProfileRequest {
            kind: ProfileKind::OnCpu,
            target: Target::All,
            duration: WINDOW,
            frequency_hz,
            states: vec![],
        };
        let since = KtimeNs::now();
        let gathered = Gathered::Moments { since, moments: Moments::default() };
        let recording = State::begin(state, &request, gathered)?;
        Ok(Self { recording, frequency_hz, since, since_wall: WallTimeNs::now() })
    }

    fn run(
        mut self,
        archive: &Archive,
        push: Option<&ProfilePush>,
        is_ending: &AtomicBool,
        flush: &Flush,
    ) {
        let mut next = Instant::now();
        loop {
            next += WINDOW;
            let is_over = || is_ending.load(Ordering::Relaxed) || flush.is_wanted();
            while Instant::now() < next && !is_over() {
                thread::sleep(CHECK.min(next.saturating_duration_since(Instant::now())));
            }
            let is_last = is_ending.load(Ordering::Relaxed);
            let (asked, is_early) = (flush.asked(), Instant::now() < next);
            if let Some(kept) = self.next_window() {
                if let Some(push) = push {
                    push.window(ProfileKind::OnCpu, &kept);
                }
                archive.record(ProfileKind::OnCpu, kept);
            }
            flush.0.done.store(asked, Ordering::Release);
            if is_early {
                next = Instant::now();
            }
            if is_last {
                return;
            }
        }
    }

    /// Ends the window and begins the next at the same instant. `None` if the recording is gone.
    fn next_window(&mut self) -> Option<Kept> {
        let state = Arc::clone(&self.recording.state);
        (state.news.catch_up)();
        let (until, until_wall) = (KtimeNs::now(), WallTimeNs::now());
        state.read();
        let lost_now = (state.news.lost)();
        let mut moments = {
            let mut sessions = state.sessions();
            let session = sessions.running.get_mut(&self.recording.id)?;
            let Gathered::Moments { since, moments } = &mut session.gathered else { return None };
            *since = until;
            let mut ended = std::mem::take(moments);
            if let Some(clock) = &mut session.sources.clock {
                let count = lost_now.saturating_sub(clock.lost_before);
                clock.lost_before = lost_now;
                ended.lose("ring full", Weight { count, amount: count * clock.period_ns });
            }
            ended
        };
        let duration_ms = (until.since(self.since).as_millis() as u32).max(1);
        let started_ms = self.since_wall.0 / 1_000_000;
        (self.since, self.since_wall) = (until, until_wall);
        moments.end_at(duration_ms);
        let stacks: Vec<_> = moments.stacks().iter().map(|stack| RawStack::clone(stack)).collect();
        let frames = state.symbols.resolve_blocking(stacks.clone());
        let places = state.symbols.places(&stacks, &frames);
        let containers = state.names(moments.containers());
        let span = (started_ms, duration_ms);
        Some(moments.named(span, Some(self.frequency_hz), frames, places, containers))
    }
}
