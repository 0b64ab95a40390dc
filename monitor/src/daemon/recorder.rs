//! Recordings of stacks: one thread reads the ring for all of them, each keeps what is its own.
//!
//! Contract: the sampler runs only while someone records; recordings of one frequency share it. What the ring lost while a
//! recording ran is part of that recording. Dropping the future of a recording ends it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    collect::attribute,
    container::Registry,
    probe::{Sampler, SamplerLink, StackReader, StackRecord},
    profile::{Profile, ProfileKind, Samples, Weight},
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
}

/// Starts recordings.
#[derive(Clone)]
pub(super) struct Recorder {
    state: Arc<State>,
}

struct State {
    sampler: Mutex<Option<Sampler>>,
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
    period_ns: u64,
    samples: Samples,
    lost_before: u64,
    /// Keeps the sampler attached.
    sampler: Option<Arc<SamplerLink>>,
}

impl Session {
    fn wants(&self, sample: &StackRecord, container: &str) -> bool {
        self.period_ns == sample.period_ns
            && match &self.target {
                Target::All => true,
                Target::Container(id) => id.as_str() == container,
                Target::Process(tgid) => *tgid == sample.tgid,
            }
    }
}

impl Recorder {
    pub fn start(
        reader: StackReader,
        sampler: Option<Sampler>,
        parts: Parts,
        news: News,
    ) -> io::Result<Self> {
        let Parts { registry, symbols, unwinder } = parts;
        let state = Arc::new(State {
            sampler: Mutex::new(sampler),
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
            let session = State::begin(&state, &request)?;
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
                kind: ProfileKind::OnCpu,
                started_at,
                duration_ns: lasted.as_nanos() as u64,
                frequency_hz: Some(request.frequency_hz),
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
        if let Target::Process(tgid) = request.target
            && !std::path::Path::new(&format!("/proc/{tgid}")).exists()
        {
            return Err(BackendError::ProcessGone(tgid));
        }
        // What lies in the ring from before is nobody's.
        this.read();
        // Before the sampler is attached: what it loses from its first sample on is part of the recording.
        let lost_before = (this.news.lost)();
        let sampler = this.sampler(request.frequency_hz)?;
        let session = Session {
            target: request.target.clone(),
            period_ns: sampler.period_ns,
            samples: Samples::default(),
            lost_before,
            sampler: Some(sampler),
        };
        let mut sessions = this.sessions();
        let id = sessions.next;
        sessions.next += 1;
        sessions.running.insert(id, session);
        Ok(Recording { state: Arc::clone(this), id })
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
            for session in sessions.running.values_mut().filter(|s| s.wants(&sample, &container)) {
                session.samples.record(
                    RawStack {
                        tgid: sample.tgid,
                        program: Program(sample.start_stack),
                        kernel: sample.kernel.clone(),
                        user: sample.user.clone(),
                        end: sample.end,
                    },
                    Some(sample.tid),
                    Arc::clone(&comm),
                    Some(Arc::clone(&container)),
                    Weight { count: 1, weight_ns: sample.period_ns },
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
            samples.iter().filter_map(|(key, _)| key.container.clone()).collect();
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
        let sampler =
            self.state.sessions().running.get_mut(&self.id).and_then(|s| s.sampler.take());
        drop(sampler);
        self.state.read();
        let lost_now = (self.state.news.lost)();
        let session = self.state.sessions().running.remove(&self.id);
        session.map_or_else(Samples::default, |mut session| {
            let count = lost_now.saturating_sub(session.lost_before);
            let weight = Weight { count, weight_ns: count * session.period_ns };
            session.samples.lose("ring full", weight);
            session.samples
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.state.sessions().running.remove(&self.id);
    }
}
