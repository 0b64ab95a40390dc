//! Recordings of stacks: one thread reads the ring for all of them, each keeps what is its own.
//!
//! Contract: the samplers, of the CPU clock, of waits and of events, run only while someone records; recordings of one frequency share it. What the ring lost while a
//! recording ran is part of that recording. Dropping the future of a recording ends it.

mod continuous;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use monitor_common::{state::ThreadState, weight::WeightKind};

use super::{
    session::{Clock, Gathered, Session, Sources},
    waits::Waits,
    weights::Weights,
};
use crate::{
    collect::{attribute, attribute_weighed, attribute_woken},
    container::{Container, Registry},
    kernel::{
        cgroupfs::{CgroupId, HierarchyId},
        hook_code::HookCode,
    },
    metric::KtimeNs,
    probe::{Sampler, SamplerLink, StackReader, StackRecord, WaitSampler, WeightSampler},
    profile::{Profile, ProfileKind, Sample, Samples, Waker, Weight, Whose},
    serve::{BackendError, BoxFuture, ProfileRequest, Target},
    symbol::{Program, RawStack, Symbols, Tgid, WalkEnd},
    unwind::Unwinder,
};

/// How often the ring is read while someone records. 4 MB hold 100 ms of 10 kHz on 32 CPUs.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether someone records, and the ring read if only the recording that never ends does: at its 19 Hz
/// the smallest ring holds 6 s.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);

pub(super) use continuous::Keeper;

/// What recordings go by.
pub(super) struct Parts {
    pub registry: Arc<Registry>,
    pub symbols: Symbols,
    pub unwinder: Unwinder,
    /// The hierarchy that disks are charged by.
    pub block: HierarchyId,
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
    pub weights: WeightSampler,
}

/// Starts recordings.
#[derive(Clone)]
pub(super) struct Recorder {
    state: Arc<State>,
}

struct State {
    sampler: Mutex<Option<Sampler>>,
    /// Taken before the weights, the reader and the sessions, never after them.
    waits: Mutex<Waits>,
    /// Taken before the reader and the sessions, never after them.
    weights: Mutex<Weights>,
    reader: Mutex<StackReader>,
    sessions: Mutex<Sessions>,
    registry: Arc<Registry>,
    symbols: Symbols,
    unwinder: Unwinder,
    block: HierarchyId,
    /// Read at the first event that is recorded, which takes 80 ms.
    hook_code: OnceLock<HookCode>,
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

impl Recorder {
    pub fn start(
        reader: StackReader,
        samplers: Samplers,
        parts: Parts,
        news: News,
    ) -> io::Result<Self> {
        let Parts { registry, symbols, unwinder, block } = parts;
        let state = Arc::new(State {
            sampler: Mutex::new(samplers.clock),
            waits: Mutex::new(Waits::new(samplers.waits)),
            weights: Mutex::new(Weights::new(samplers.weights)),
            reader: Mutex::new(reader),
            sessions: Mutex::default(),
            registry,
            symbols,
            unwinder,
            block,
            hook_code: OnceLock::new(),
            news,
        });
        // The thread ends with the last handle of the state.
        let weak = Arc::downgrade(&state);
        thread::Builder::new().name("cgscope-stacks".into()).spawn(move || {
            while let Some(state) = weak.upgrade() {
                let (is_recording, is_hurried) = {
                    let sessions = state.sessions();
                    let mut running = sessions.running.values();
                    let is_hurried = running.any(|s| matches!(s.gathered, Gathered::Totals(_)));
                    (!sessions.running.is_empty(), is_hurried)
                };
                if is_recording {
                    // Births come before the samples of those who were born.
                    (state.news.catch_up)();
                    state.want_again();
                    state.read();
                }
                drop(state);
                thread::sleep(if is_hurried { READ_INTERVAL } else { IDLE_INTERVAL });
            }
        })?;
        Ok(Self { state })
    }

    pub fn profile(&self, request: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let following = state.unwinder.begin(state.processes(&request.target)).await;
            let gathered = Gathered::Totals(Samples::default());
            let session = State::begin(&state, &request, gathered)?;
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
            let mut samples = ended.named(frames, places, |_, _| true);
            samples.iter_mut().for_each(Sample::settle_waker);
            Ok(Profile {
                kind: request.kind,
                started_at,
                duration_ns: lasted.as_nanos() as u64,
                frequency_hz: (request.kind == ProfileKind::OnCpu).then_some(request.frequency_hz),
                scope: state.scope(&request.target),
                containers: state.names(ended.containers()),
                lost: ended.lost().clone(),
                drawn: ended.drawn(),
                samples,
            })
        })
    }
}

impl State {
    /// Whom a recording is of, as far as they live already; nobody if it is of all.
    fn processes(&self, target: &Target) -> Vec<Tgid> {
        match target {
            Target::All => vec![],
            Target::Process(tgid) => vec![*tgid],
            Target::Container(id) => {
                let container = self.registry.find(id.as_str());
                let of =
                    |container: Arc<Container>| self.registry.tree().processes(&container.cgroup);
                container.map(of).unwrap_or_default()
            }
        }
    }

    /// Starts what a recording needs. What was begun when something is refused ends with the recording.
    fn begin(
        this: &Arc<Self>,
        request: &ProfileRequest,
        gathered: Gathered,
    ) -> Result<Recording, BackendError> {
        this.symbols.begin();
        this.look_for(&request.target)?;
        // What lies in the ring from before is nobody's.
        this.read();
        let id = this.sessions().next_id();
        let recording = Recording { state: Arc::clone(this), id };
        let states = match request.kind {
            ProfileKind::Lock => vec![ThreadState::Lock],
            _ => request.states.clone(),
        };
        let target = request.target.clone();
        let session = Session { target, states, sources: Sources::default(), gathered };
        this.sessions().running.insert(id, session);
        let (has_waits, kind) = sources_of(request.kind);
        if let Some(kind) = kind {
            let mut weights = this.weights();
            let session =
                weights.begin(id, kind, &request.target, &this.news.slots, &this.registry)?;
            this.sources(id, |sources| sources.weights = Some(session));
        }
        if has_waits {
            let mut waits = this.waits();
            let session = waits.begin(id, &request.target, &this.news.slots, &this.registry)?;
            this.sources(id, |sources| sources.waits = Some(session));
        }
        if request.kind == ProfileKind::OnCpu {
            let clock = this.clock(request.frequency_hz)?;
            this.sources(id, |sources| sources.clock = Some(clock));
        }
        Ok(recording)
    }

    fn clock(&self, frequency_hz: u32) -> Result<Clock, BackendError> {
        // Before the sampler is attached: what it loses from its first sample on is part of the recording.
        let lost_before = (self.news.lost)();
        let sampler = self.sampler(frequency_hz)?;
        Ok(Clock { period_ns: sampler.period_ns, lost_before, sampler: Some(sampler) })
    }

    fn sources<T>(&self, id: u64, change: impl FnOnce(&mut Sources) -> T) -> Option<T> {
        self.sessions().running.get_mut(&id).map(|session| change(&mut session.sources))
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

    /// Keeps up with cgroups that come and go while somebody records.
    fn want_again(&self) {
        // Whoever begins or ends a recording does the same.
        let mut outcome = Ok(());
        if let Ok(waits) = self.waits.try_lock()
            && waits.is_recording()
        {
            outcome = waits.want(&self.news.slots, &self.registry);
        }
        if let Ok(weights) = self.weights.try_lock() {
            outcome = outcome.and(weights.want_all(&self.news.slots, &self.registry));
        }
        if let Err(error) = outcome {
            tracing::warn!(%error, "whose stacks are wanted was not told");
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weights(&self) -> MutexGuard<'_, Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
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
            let container = match (&sample.woken, sample.weighed) {
                (Some(woken), _) => attribute_woken(woken, &self.registry),
                (_, Some((kind, ..))) => {
                    attribute_weighed(&sample, kind, &self.registry, self.block)
                }
                (None, None) => attribute(&sample, &self.registry),
            };
            if !sample.is_kernel_thread {
                let program = Program(sample.start_stack);
                self.symbols.observe_stack(sample.tgid, program, &sample.user);
                *seen.entry(sample.tgid).or_default() |=
                    matches!(sample.end, WalkEnd::UnknownProcess | WalkEnd::NoMapping);
            }
            let comm = sessions.intern(&sample.comm);
            let woken = sample.woken.as_ref().map(|woken| sessions.intern(&woken.comm));
            for session in sessions.running.values_mut() {
                session.take(&sample, &container, |gathered, weight| {
                    let mut whose = whose(&sample, &comm, &container);
                    if let (Some(woken), Some(comm)) = (&sample.woken, &woken) {
                        whose.waker = Some(self.waker(&sample, whose.comm));
                        whose.comm = Arc::clone(comm);
                        (whose.process, whose.tid) = (Some(woken.tgid), Some(woken.tid));
                    }
                    gathered.record(sample.at_ns, self.stack_of(&sample), whose, weight);
                });
            }
        });
        drop(sessions);
        self.tell_unwinder(&seen);
    }

    /// Its stack. Of an event it begins where the event is: what the kernel does from there on, it does for us.
    fn stack_of(&self, sample: &StackRecord) -> RawStack {
        let is_of_event = sample.weighed.is_some() || sample.woken.is_some();
        let ours = if is_of_event { self.hook_code().frames_in(&sample.kernel) } else { 0 };
        RawStack {
            tgid: sample.tgid,
            program: Program(sample.start_stack),
            kernel: sample.kernel[ours..].to_vec(),
            user: sample.user.clone(),
            end: sample.end,
        }
    }

    fn hook_code(&self) -> &HookCode {
        self.hook_code.get_or_init(|| {
            HookCode::of_this_kernel().unwrap_or_else(|error| {
                tracing::warn!(%error, "/proc/kallsyms: stacks of events begin with our own program");
                HookCode::default()
            })
        })
    }

    /// Who the waker of a sample is. The idle thread is nobody: only an interrupt has anything to do there.
    fn waker(&self, sample: &StackRecord, comm: Arc<str>) -> Waker {
        if sample.tid.0 == 0 {
            return Waker::Interrupt;
        }
        Waker::Thread { comm, container: Some(attribute(sample, &self.registry)) }
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

    /// The names of containers, by id, where there is one.
    fn names(&self, ids: impl Iterator<Item = Arc<str>>) -> BTreeMap<Arc<str>, String> {
        let ids: BTreeSet<_> = ids.collect();
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
        let state = &self.state;
        let has_waits = state.sources(self.id, |sources| sources.waits.is_some()) == Some(true);
        let mut waits = has_waits.then(|| state.waits());
        // Detached before the ring is read for the last time, so that every sample it took is either kept or counted.
        state.sources(self.id, |sources| {
            drop(sources.clock.as_mut().and_then(|clock| clock.sampler.take()));
            if let Some(session) = &mut sources.weights {
                session.detach();
            }
            if let Some(session) = &mut sources.waits {
                session.window.close(KtimeNs::now());
            }
        });
        if let Some(waits) = &mut waits {
            // What lies there is from before its end.
            state.read();
            waits.end(self.id);
            state.sources(self.id, |sources| {
                if let Some(session) = &mut sources.waits {
                    session.detach();
                }
            });
        }
        state.read();
        let lost_now = (state.news.lost)();
        let session = state.sessions().running.remove(&self.id);
        let Some(Session { sources, gathered: Gathered::Totals(mut samples), .. }) = session else {
            return Samples::default();
        };
        if let Some(clock) = &sources.clock {
            let count = lost_now.saturating_sub(clock.lost_before);
            samples.lose("ring full", Weight { count, amount: count * clock.period_ns });
        }
        if let (Some(session), Some(waits)) = (&sources.waits, &mut waits) {
            waits.lose(session, &mut samples);
            waits.tidy();
        }
        if let Some(session) = &sources.weights {
            let mut weights = state.weights();
            weights.lose(session, &mut samples);
            weights.remove(self.id, session.kind);
            weights.tidy(session.kind);
        }
        samples
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let session = self.state.sessions().running.remove(&self.id);
        // It was not ended: nobody waits for it any more.
        let Some(Session { mut sources, .. }) = session else { return };
        if let Some(session) = sources.waits.take() {
            drop(session);
            let mut waits = self.state.waits();
            waits.remove(self.id);
            waits.tidy();
        }
        if let Some(session) = sources.weights.take() {
            let kind = session.kind;
            drop(session);
            let mut weights = self.state.weights();
            weights.remove(self.id, kind);
            weights.tidy(kind);
        }
    }
}

/// Whether a recording is made of waits, and of which events.
fn sources_of(kind: ProfileKind) -> (bool, Option<WeightKind>) {
    match kind {
        ProfileKind::OnCpu => (false, None),
        ProfileKind::OffCpu => (true, None),
        ProfileKind::Wakeup => (false, Some(WeightKind::Wakeup)),
        ProfileKind::Block => (false, Some(WeightKind::Block)),
        ProfileKind::Fault => (false, Some(WeightKind::Fault)),
        ProfileKind::Memory => (false, Some(WeightKind::Memory)),
        // Those of processes wait in futex, off the CPU; for those of the kernel there are events.
        ProfileKind::Lock => (true, Some(WeightKind::Lock)),
        ProfileKind::Network => (false, Some(WeightKind::Network)),
    }
}

fn whose(sample: &StackRecord, comm: &Arc<str>, container: &Arc<str>) -> Whose {
    let detail = sample.weighed.map(|(_, detail, _)| detail.name());
    Whose {
        process: None,
        tid: Some(sample.tid),
        comm: Arc::clone(comm),
        container: Some(Arc::clone(container)),
        state: sample.wait.map(|(state, _)| state.name()).or(detail),
        waker: None,
    }
}
