//! The wiring: the only file that knows every stage. It starts the kernel half, the thread that collects and the
//! threads that record and name stacks, and answers as the server's [`Backend`].

mod audit;
mod doctor;
mod history;
mod recorder;
mod report;
mod session;
mod start;
mod waits;
mod wanted;
mod weights;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use doctor::without_engine;
pub use start::start;

use crate::{
    analyze::audit::AuditReport,
    collect::{self, Collector, LatestOutliers},
    container::{Registry, limits::Change},
    kernel::{
        host::{Host, SourceStatus},
        ids::Tgid,
    },
    metric::{Descriptor, KtimeNs, Scope, Tick, WallTimeNs},
    probe::{self, Event},
    profile::Profile,
    serve::{
        Backend, BackendError, BoxFuture, Following, ProfileRequest, Watch,
        intake::Intake,
        process_subject,
        push::{OtlpPush, ProfilePush, RemoteWrite},
        report::{DoctorReport, ProbesReport},
        tape::FlightUse,
    },
    store::{History, Live, Snapshot, profiles::Archive},
    symbol::{self, Symbols},
    unwind::{self, Unwinder},
};

/// How often the event ring is read between ticks: at 256 KB it holds 5,000 process events.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);

/// The running engine. Dropping it detaches everything.
pub struct Engine {
    shared: Arc<Shared>,
    recorder: recorder::Recorder,
    keeper: Option<recorder::Keeper>,
    collecting: Option<JoinHandle<()>>,
}

/// What the threads share.
struct Shared {
    collector: Mutex<Collector>,
    host: Mutex<Host>,
    auditor: Mutex<audit::Auditor>,
    registry: Arc<Registry>,
    live: Live,
    history: Option<History>,
    archive: Option<Arc<Archive>>,
    push: Option<RemoteWrite>,
    otlp: Option<OtlpPush>,
    intake: Option<Arc<Intake>>,
    flight_use: Option<Arc<FlightUse>>,
    profile_push: Option<Arc<ProfilePush>>,
    symbols: Symbols,
    unwinder: Unwinder,
    costs: Mutex<report::Costs>,
    options: crate::serve::EngineOptions,
    is_ending: AtomicBool,
}

impl Shared {
    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn auditor(&self) -> MutexGuard<'_, audit::Auditor> {
        self.auditor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_events(&self) {
        self.collector().read_events(|event| match event {
            Event::Forked { tgid, parent } => {
                if self.unwinder.is_active() {
                    self.symbols.forked(*tgid, *parent);
                }
                self.unwinder.forked(*tgid, *parent);
            }
            Event::Executed { tgid } => {
                self.symbols.replaced(*tgid);
                self.unwinder.executed(*tgid);
            }
            Event::Exited { tgid } => {
                self.symbols.forget(*tgid);
                self.unwinder.exited(*tgid);
            }
            _ => {}
        });
    }

    /// The host's, then those of cgroups.
    fn sources(&self) -> Vec<SourceStatus> {
        let mut sources = self.host.lock().unwrap_or_else(PoisonError::into_inner).sources();
        sources.extend(self.collector().sources());
        sources
    }

    fn tick(&self) {
        let mut of_host = vec![];
        let (taken, mut samples) = {
            let mut collector = self.collector();
            collector.renew_watches();
            // Close to the instant of the tick: rates divide by the time between ticks. Read after the audit, which on a busy
            // machine may take most of a second, a host of 2 CPUs was shown to use 3.7 of them.
            let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            host.collect(KtimeNs::now(), &mut of_host);
            drop(host);
            let mut auditor = self.auditor();
            let before = auditor.begin(&self.registry);
            let (taken, mut samples) = collector.collect();
            let used = collector.cpu_since(taken);
            auditor.end(before, taken, &mut samples, &used, &self.registry);
            probe::own::collect(collector.probes(), &mut samples);
            (taken, samples)
        };
        samples.append(&mut of_host);
        unwind::collect(&self.unwinder.stats(), &mut samples);
        symbol::collect(&self.symbols.stats(), &mut samples);
        if let Some(history) = &self.history {
            history.collect(&mut samples);
        }
        if let Some(archive) = &self.archive {
            archive.collect(&mut samples);
        }
        if let Some(push) = &self.push {
            push.collect(&mut samples);
        }
        if let Some(otlp) = &self.otlp {
            otlp.collect(&mut samples);
        }
        if let Some(push) = &self.profile_push {
            push.collect(&mut samples);
        }
        if let Some(intake) = &self.intake {
            intake.collect(&mut samples);
        }
        if let Some(flight) = &self.flight_use {
            flight.collect(&mut samples);
        }
        let at = WallTimeNs::now();
        let tick = Tick::after(self.live.latest().as_deref(), at, taken, samples);
        let tick = Arc::new(tick);
        self.live.add_shared(Arc::clone(&tick));
        if let Some(history) = &self.history {
            history.record(tick);
        }
        self.costs.lock().unwrap_or_else(PoisonError::into_inner).rest();
    }

    /// Ticks at whole intervals from the start, so that lateness does not add up; ticks that were missed are left out.
    fn run(&self) {
        let interval = self.options.interval;
        let mut next_tick = Instant::now();
        while !self.is_ending.load(Ordering::Relaxed) {
            self.read_events();
            let now = Instant::now();
            if now >= next_tick {
                self.tick();
                let behind = now.duration_since(next_tick).as_nanos() / interval.as_nanos().max(1);
                next_tick += interval * (behind as u32 + 1);
            }
            let rest = next_tick.saturating_duration_since(Instant::now());
            thread::sleep(rest.min(EVENT_INTERVAL));
        }
    }
}

impl Backend for Engine {
    fn live(&self) -> &Live {
        &self.shared.live
    }

    fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    fn probes(&self) -> ProbesReport {
        let mut costs = self.shared.costs.lock().unwrap_or_else(PoisonError::into_inner);
        ProbesReport {
            unwind: Some(self.shared.unwinder.stats()),
            ..costs.report(self.shared.collector().probes())
        }
    }

    fn doctor(&self) -> DoctorReport {
        let (sources, audit) = (self.shared.sources(), self.shared.auditor().report());
        doctor::report(
            self.shared.collector().probes(),
            &self.shared.registry,
            &self.shared.unwinder.stats(),
            &sources,
            &audit,
            &self.shared.options,
            (self.shared.history.as_ref(), self.shared.archive.as_deref()),
        )
    }

    fn history(&self) -> Result<Snapshot, BackendError> {
        let history = self.shared.history.as_ref();
        history.map(History::snapshot).ok_or_else(BackendError::no_history)
    }

    fn archive(&self) -> Result<Arc<Archive>, BackendError> {
        self.shared.archive.clone().ok_or_else(BackendError::no_profiles)
    }

    fn follow_profiles(&self, frequency_hz: u32) -> Result<Following, BackendError> {
        if let (Some(archive), Some(keeper)) = (&self.shared.archive, &self.keeper) {
            let flush = keeper.flush();
            return Ok(Following::new(archive.follow(), move || flush.now()));
        }
        let archive = Arc::new(Archive::passing());
        let windows = archive.follow();
        let keeper = recorder::Keeper::start(&self.recorder, archive, None, frequency_hz)
            .map_err(|error| start::thread_failure("keeper of profiles", &error))?;
        // Its last window comes when it ends.
        Ok(Following::new(windows, move || drop(keeper)))
    }

    fn flight_use(&self) -> Option<Arc<FlightUse>> {
        self.shared.flight_use.clone()
    }

    fn intake(&self) -> Option<Arc<Intake>> {
        self.shared.intake.clone()
    }

    fn sources(&self) -> Vec<SourceStatus> {
        self.shared.sources()
    }

    fn audit(&self) -> AuditReport {
        self.shared.auditor().report()
    }

    fn metrics(&self) -> Vec<&'static Descriptor> {
        let collected = collect::DESCRIPTORS.iter().copied().flatten().copied();
        collected.filter(|metric| metric.scope == Scope::Container).collect()
    }

    fn changes(&self) -> Vec<Change> {
        self.shared.collector().changes()
    }

    fn kernel_functions(&self, stacks: Vec<Arc<[u64]>>) -> BoxFuture<Vec<Vec<String>>> {
        let symbols = self.shared.symbols.clone();
        Box::pin(async move { symbols.kernel_functions(stacks).await })
    }

    fn outliers(&self, span: Duration) -> LatestOutliers {
        self.shared.collector().outliers(span)
    }

    fn watch(&self, process: Tgid) -> Result<Watch, BackendError> {
        if !std::path::Path::new(&format!("/proc/{process}/task")).exists() {
            return Err(BackendError::ProcessGone(process));
        }
        let id = self.shared.collector().watch(process).ok_or_else(|| BackendError::Failed {
            what: "all watches of processes are taken".into(),
            remedy: "ask again when another request has ended".into(),
        })?;
        let guard = WatchGuard { shared: Arc::clone(&self.shared), id };
        Ok(Watch::new(process_subject(process), guard))
    }

    fn profile(&self, request: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>> {
        self.recorder.profile(request)
    }
}

/// Ends a watch when the request that asked for it is answered or gone.
struct WatchGuard {
    shared: Arc<Shared>,
    id: Arc<str>,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.shared.collector().unwatch(&self.id);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        // While the rest still runs: its last window wants names.
        self.keeper = None;
        if let Some(thread) = self.collecting.take() {
            // A panic there was logged where it happened.
            let _ = thread.join();
        }
    }
}
