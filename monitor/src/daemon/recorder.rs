//! Recordings of stacks: one thread reads the ring for all of them, each keeps what is its own.
//!
//! Contract: the samplers, of the CPU clock and of waits, run only while someone records; recordings of one frequency share it. What the ring lost while a
//! recording ran is part of that recording. Dropping the future of a recording ends it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::waits::{WaitSession, Waits};
use crate::{
    collect::attribute,
    container::Registry,
    kernel::cgroupfs::CgroupId,
    metric::KtimeNs,
    probe::{Sampler, SamplerLink, StackReader, StackRecord, WaitSampler},
    profile::{Profile, ProfileKind, Samples, Weight, Whose},
    serve::{BackendError, BoxFuture, ProfileRequest, Target},
    symbol::{Program, RawStack, Symbols, Tgid, WalkEnd},
    unwind::Unwinder,
};

/// How often the ring is read while someone records. 4 MB hold 100 ms of 10 kHz on 32 CPUs.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether someone records.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);

/// What recordings go by.
pub(super) struct Parts {
    pub registry: Arc<Registry>,
    pub symbols: Symbols,
    pub unwinder: Unwinder,
}

/// What recordings ask of the rest of the daemon.
pub(super) struct News {
    /// How many samples the ring has lost since the start.
    pub lost: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Reads the events of processes up to now.
    pub catch_up: Box<dyn Fn() + Send + Sync>,
    /// Slots in use, with their cgroups.
    pub slots: Box<dyn Fn() -> Vec<(u32, CgroupId)> + Send + Sync>,
}

/// What stacks are taken with.
pub(super) struct Samplers {
    pub clock: Option<Sampler>,
    /// Or why there is none.
    pub waits: Result<WaitSampler, String>,
}

/// Starts recordings.
#[derive(Clone)]
pub(super) struct Recorder {
    state: Arc<State>,
}

struct State {
    sampler: Mutex<Option<Sampler>>,
    /// Taken before the reader and the sessions, never after them.
    waits: Mutex<Waits>,
    reader: Mutex<StackReader>,
    sessions: Mutex<Sessions>,
    registry: Arc<Registry>,
    symbols: Symbols,
    unwinder: Unwinder,
    news: News,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    running: HashMap<u64, Session>,
    /// The sampler of each period that someone records at.
    samplers: BTreeMap<u64, Weak<SamplerLink>>,
    comms: HashMap<String, Arc<str>>,
}

struct Session {
    target: Target,
    source: Source,
    samples: Samples,
}

/// Where the stacks of a recording come from.
enum Source {
    Clock {
        period_ns: u64,
        lost_before: u64,
        /// Keeps the sampler attached.
        sampler: Option<Arc<SamplerLink>>,
    },
    Waits(WaitSession),
}

impl Session {
    /// What a sample weighs in this recording; `None` if it is not of it.
    fn weight_of(&mut self, sample: &StackRecord, container: &str) -> Option<Weight> {
        let is_of_target = match &self.target {
            Target::All => true,
            Target::Container(id) => id.as_str() == container,
            Target::Process(tgid) => *tgid == sample.tgid,
        };
        if !is_of_target {
            return None;
        }
        let weight_ns = match &mut self.source {
            Source::Clock { period_ns, .. } => {
                (sample.wait.is_none() && *period_ns == sample.period_ns).then_some(*period_ns)
            }
            Source::Waits(session) => session.window.part_ns(sample),
        };
        Some(Weight { count: 1, weight_ns: weight_ns? })
    }
}

impl Recorder {
    pub fn start(
        reader: StackReader,
        samplers: Samplers,
        parts: Parts,
        news: News,
    ) -> io::Result<Self> {
        let Parts { registry, symbols, unwinder } = parts;
        let state = Arc::new(State {
            sampler: Mutex::new(samplers.clock),
            waits: Mutex::new(Waits::new(samplers.waits)),
            reader: Mutex::new(reader),
            sessions: Mutex::default(),
            registry,
            symbols,
            unwinder,
            news,
        });
        // The thread ends with the last handle of the state.
        let weak = Arc::downgrade(&state);
        thread::Builder::new().name("cgscope-stacks".into()).spawn(move || {
            while let Some(state) = weak.upgrade() {
                let is_recording = !state.sessions().running.is_empty();
                if is_recording {
                    // Births come before the samples of those who were born.
                    (state.news.catch_up)();
                    state.want_waits();
                    state.read();
                }
                drop(state);
                thread::sleep(if is_recording { READ_INTERVAL } else { IDLE_INTERVAL });
            }
        })?;
        Ok(Self { state })
    }

    pub fn profile(&self, request: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let first = match request.target {
                Target::Process(tgid) => Some(tgid),
                Target::All | Target::Container(_) => None,
            };
            let following = state.unwinder.begin(first).await;
            let session = match request.kind {
                ProfileKind::OnCpu => State::begin(&state, &request)?,
                ProfileKind::OffCpu => State::begin_waits(&state, &request)?,
            };
            // What was sampled, and not what was asked for: a busy machine ends a sleep late.
            let (started_at, began) = (SystemTime::now(), Instant::now());
            tokio::time::sleep(request.duration).await;
            let lasted = began.elapsed();
            let ended = session.end();
            // Who was forked and who runs another program must be known before addresses are named.
            (state.news.catch_up)();
            drop(following);
            let stacks: Vec<_> =
                ended.stacks().iter().map(|stack| RawStack::clone(stack)).collect();
            let frames = state.symbols.resolve(stacks.clone()).await;
            let places = state.symbols.places(&stacks, &frames);
            Ok(Profile {
                kind: request.kind,
                started_at,
                duration_ns: lasted.as_nanos() as u64,
                frequency_hz: (request.kind == ProfileKind::OnCpu).then_some(request.frequency_hz),
                scope: state.scope(&request.target),
                containers: state.names(&ended),
                lost: ended.lost().clone(),
                samples: ended.named(frames, places, |_, _| true),
            })
        })
    }
}

impl State {
    fn begin(this: &Arc<Self>, request: &ProfileRequest) -> Result<Recording, BackendError> {
        this.look_for(&request.target)?;
        // What lies in the ring from before is nobody's.
        this.read();
        // Before the sampler is attached: what it loses from its first sample on is part of the recording.
        let lost_before = (this.news.lost)();
        let sampler = this.sampler(request.frequency_hz)?;
        let period_ns = sampler.period_ns;
        let source = Source::Clock { period_ns, lost_before, sampler: Some(sampler) };
        let id = this.sessions().next_id();
        Ok(Self::run(this, id, &request.target, source))
    }

    fn begin_waits(this: &Arc<Self>, request: &ProfileRequest) -> Result<Recording, BackendError> {
        this.look_for(&request.target)?;
        let mut waits = this.waits();
        let id = this.sessions().next_id();
        let session = waits.begin(id, &request.target, &this.news.slots, &this.registry)?;
        Ok(Self::run(this, id, &request.target, Source::Waits(session)))
    }

    fn run(this: &Arc<Self>, id: u64, target: &Target, source: Source) -> Recording {
        let session = Session { target: target.clone(), source, samples: Samples::default() };
        this.sessions().running.insert(id, session);
        Recording { state: Arc::clone(this), id }
    }

    /// That there is such a process; its names are wanted even if it ends in the recording.
    fn look_for(&self, target: &Target) -> Result<(), BackendError> {
        let Target::Process(tgid) = *target else { return Ok(()) };
        if !std::path::Path::new(&format!("/proc/{tgid}")).exists() {
            return Err(BackendError::ProcessGone(tgid));
        }
        self.symbols.observe(tgid);
        Ok(())
    }

    /// Keeps up with cgroups that come and go while waits are recorded.
    fn want_waits(&self) {
        // Whoever begins or ends a recording does the same.
        let Ok(waits) = self.waits.try_lock() else { return };
        if waits.is_recording()
            && let Err(error) = waits.want(&self.news.slots, &self.registry)
        {
            tracing::warn!(%error, "whose waits are wanted was not told");
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sampler of a frequency, shared by all who record at it.
    fn sampler(&self, frequency_hz: u32) -> Result<Arc<SamplerLink>, BackendError> {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        let sampler = sampler.as_mut().ok_or_else(|| BackendError::Unsupported {
            what: "recording stacks".into(),
            why: "the program profile_sample is not loaded; `cgscope doctor` says why".into(),
        })?;
        let period_ns = crate::probe::period_ns(frequency_hz);
        let running = self.sessions().samplers.get(&period_ns).and_then(Weak::upgrade);
        if let Some(running) = running {
            return Ok(running);
        }
        let link =
            sampler.attach(frequency_hz).map(Arc::new).map_err(|error| BackendError::Failed {
                what: error.to_string(),
                remedy: "`cgscope doctor` says what perf_event offers here".into(),
            })?;
        let mut sessions = self.sessions();
        sessions.samplers.retain(|_, link| link.strong_count() > 0);
        sessions.samplers.insert(period_ns, Arc::downgrade(&link));
        Ok(link)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what lies in the ring to the recordings.
    fn read(&self) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = self.sessions();
        let mut seen: HashMap<Tgid, bool> = HashMap::new();
        reader.drain(|sample| {
            if sessions.running.is_empty() {
                return;
            }
            let container = attribute(&sample, &self.registry);
            if !sample.is_kernel_thread {
                self.symbols.observe(sample.tgid);
                *seen.entry(sample.tgid).or_default() |=
                    matches!(sample.end, WalkEnd::UnknownProcess | WalkEnd::NoMapping);
            }
            let comm = sessions.intern(&sample.comm);
            for session in sessions.running.values_mut() {
                let Some(weight) = session.weight_of(&sample, &container) else { continue };
                session.samples.record(
                    RawStack {
                        tgid: sample.tgid,
                        program: Program(sample.start_stack),
                        kernel: sample.kernel.clone(),
                        user: sample.user.clone(),
                        end: sample.end,
                    },
                    Whose {
                        tid: Some(sample.tid),
                        comm: Arc::clone(&comm),
                        container: Some(Arc::clone(&container)),
                        state: sample.wait.map(|(state, _)| state.name()),
                    },
                    weight,
                );
            }
        });
        drop(sessions);
        self.tell_unwinder(&seen);
    }

    /// Tells the unwinder who ran, and whom it should look at.
    fn tell_unwinder(&self, seen: &HashMap<Tgid, bool>) {
        let of = |wanted: &dyn Fn(bool) -> bool| {
            let chosen = seen.iter().filter(|(_, is_unknown)| wanted(**is_unknown));
            chosen.map(|(tgid, _)| *tgid).collect::<Vec<_>>()
        };
        if !seen.is_empty() {
            self.unwinder.seen(of(&|_| true), of(&|is_unknown| is_unknown));
        }
    }

    /// The names of the containers that were sampled, by id, where there is one.
    fn names(&self, samples: &Samples) -> BTreeMap<Arc<str>, String> {
        let ids: BTreeSet<_> =
            samples.iter().filter_map(|(key, _)| key.whose.container.clone()).collect();
        let named = |id: Arc<str>| {
            let name = self.registry.find(&id).ok()?.qualified_name();
            Some((id, name))
        };
        ids.into_iter().filter_map(named).collect()
    }

    fn scope(&self, target: &Target) -> String {
        match target {
            Target::All => "host".into(),
            Target::Process(tgid) => format!("process {tgid}"),
            Target::Container(id) => match self.registry.find(id.as_str()) {
                Ok(container) => format!("container {}", container.qualified_name()),
                Err(_) => format!("container {id}"),
            },
        }
    }
}

impl Sessions {
    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn intern(&mut self, comm: &str) -> Arc<str> {
        if let Some(known) = self.comms.get(comm) {
            return Arc::clone(known);
        }
        // Names come from processes: a storm of new ones must not grow the table for ever.
        if self.comms.len() >= 10_000 {
            self.comms.clear();
        }
        let name: Arc<str> = comm.into();
        self.comms.insert(comm.to_owned(), Arc::clone(&name));
        name
    }
}

/// A running recording; ends when dropped.
struct Recording {
    state: Arc<State>,
    id: u64,
}

impl Recording {
    /// Stops it and gives what it kept, with what the ring lost meanwhile.
    fn end(self) -> Samples {
        // Detached before the ring is read for the last time, so that every sample it took is either kept or counted.
        let is_of_waits = match self.state.sessions().source(self.id) {
            Some(Source::Clock { sampler, .. }) => {
                drop(sampler.take());
                false
            }
            Some(Source::Waits(session)) => {
                session.window.close(KtimeNs::now());
                true
            }
            None => false,
        };
        let mut waits = is_of_waits.then(|| self.state.waits());
        if let Some(waits) = &mut waits {
            // What lies there is from before its end.
            self.state.read();
            waits.end(self.id);
            if let Some(Source::Waits(session)) = self.state.sessions().source(self.id) {
                session.detach();
            }
        }
        self.state.read();
        let lost_now = (self.state.news.lost)();
        let session = self.state.sessions().running.remove(&self.id);
        let Some(Session { source, mut samples, .. }) = session else { return Samples::default() };
        match (&source, &mut waits) {
            (Source::Clock { period_ns, lost_before, .. }, _) => {
                let count = lost_now.saturating_sub(*lost_before);
                let weight = Weight { count, weight_ns: count * period_ns };
                samples.lose("ring full", weight);
            }
            (Source::Waits(session), Some(waits)) => {
                waits.lose(session, &mut samples);
                waits.tidy();
            }
            (Source::Waits(_), None) => {}
        }
        samples
    }
}

impl Sessions {
    fn source(&mut self, id: u64) -> Option<&mut Source> {
        self.running.get_mut(&id).map(|session| &mut session.source)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let session = self.state.sessions().running.remove(&self.id);
        // It was not ended: nobody waits for it any more.
        if let Some(Session { source: Source::Waits(session), .. }) = session {
            drop(session);
            let mut waits = self.state.waits();
            waits.remove(self.id);
            waits.tidy();
        }
    }
}
