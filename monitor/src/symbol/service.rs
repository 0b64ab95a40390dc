//! The handle to the symbol threads.
//!
//! Two threads: `cgscope-maps` looks at processes the moment they are first seen, and
//! `cgscope-symbol` owns blazesym, which must stay on one thread and may take seconds on a large
//! file. Both end when the last handle is dropped. Queues are bounded: what finds no room is counted
//! and marked, and never waits.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use monitor_common::unwind::WalkEnd;
use serde::Serialize;
use thiserror::Error;

use super::code::{self, CodePlace};
use super::fault;
use super::frame::{Frame, Program, RawStack, Word};
use super::object::Objects;
use super::process::Processes;
use super::python::PythonNames;
use super::resolver::{Counters, Resolver, Shared, behind};
use crate::kernel::{ids::Tgid, priority::favour_this_thread};

/// How long one call of `resolve` may take before the rest is marked as not looked at.
const RESOLVE_BUDGET: Duration = Duration::from_secs(10);
/// How long beyond that a single object may hold up the symbol thread.
const RESOLVE_GRACE: Duration = Duration::from_secs(2);
/// Processes that may wait to be looked at.
const LOOKS_MAX: usize = 4096;
/// Calls of `resolve` that may wait.
const JOBS_MAX: usize = 64;
/// Objects held open, if the limit of open files allows that many: each takes one or two.
const OPEN_MAX: usize = 512;
/// Objects held parsed: each takes another one to four open files.
const PARSED_MAX: usize = 128;

/// How long a parsed file is kept after it was last asked for.
const IDLE_FILE: Duration = Duration::from_secs(30);
/// How often it is looked for such, between two jobs.
const LET_GO_EVERY: Duration = Duration::from_secs(5);

/// Why the symbol stage could not start.
#[derive(Debug, Error)]
pub enum SymbolError {
    /// A thread could not be made.
    #[error("cannot start the thread {name}: {source} (check the limit of processes, `ulimit -u`)")]
    Thread {
        /// The thread.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the symbol stage holds and did. Counters only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SymbolStats {
    /// Processes whose memory map is kept.
    pub processes: u64,
    /// Files known, open or not.
    pub objects: u64,
    /// Files known and open.
    pub objects_open: u64,
    /// Files parsed at present.
    pub objects_parsed: u64,
    /// Addresses whose frames are kept.
    pub cached_addresses: u64,
    /// User addresses of files answered from the cache.
    pub cache_hits: u64,
    /// User addresses of files that had to be looked up.
    pub cache_misses: u64,
    /// Things dropped to stay within bounds: processes, parsed files, open files, cached addresses.
    pub evicted: u64,
    /// Stacks returned without being looked at, for want of time or room.
    pub stacks_behind: u64,
    /// Processes not looked at when first seen, for want of room in the queue.
    pub looks_dropped: u64,
    /// Processes looked at again because a sample lay in code they did not have before.
    pub looks_renewed: u64,
    /// Files given up after they made the symbolizer panic or shrank while being read.
    pub objects_damaged: u64,
    /// Functions of Python whose names were read.
    pub functions_named: u64,
    /// Functions of Python that were gone, or made no sense, when their names were read.
    pub functions_gone: u64,
}

/// A handle to the symbol stage; all clones mean the same one.
#[derive(Clone)]
pub struct Symbols {
    looks: SyncSender<Look>,
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    tallies: Arc<Mutex<Tallies>>,
}

#[derive(Default)]
struct Tallies {
    resolver: Counters,
    stacks_behind: u64,
    looks_dropped: u64,
}

/// What is read of a process.
enum Look {
    /// Its memory map.
    Process(Tgid),
    /// The names of its functions of Python that were met.
    Functions(Tgid),
}

struct Job {
    stacks: Arc<Vec<RawStack>>,
    deadline: Instant,
    reply: Box<dyn FnOnce(Vec<Vec<Frame>>) + Send>,
}

impl Symbols {
    /// Starts the threads.
    pub fn start() -> Result<Self, SymbolError> {
        let limit = open_files_limit();
        let objects = Objects::new(OPEN_MAX.min(limit / 8).max(8));
        let processes = Processes::new(&objects);
        let shared = Arc::new(Shared { objects, processes, python: PythonNames::new() });
        let tallies = Arc::new(Mutex::new(Tallies::default()));
        let (looks, look_queue) = sync_channel(LOOKS_MAX);
        let (jobs, job_queue) = sync_channel(JOBS_MAX);
        spawn("cgscope-maps", {
            let shared = Arc::clone(&shared);
            move || look_loop(&look_queue, &shared)
        })?;
        spawn("cgscope-symbol", {
            let (shared, tallies) = (Arc::clone(&shared), Arc::clone(&tallies));
            let parsed_max = PARSED_MAX.min(limit / 16);
            move || resolve_loop(&job_queue, Resolver::new(shared, parsed_max), &tallies)
        })?;
        Ok(Self { looks, jobs, shared, tallies })
    }

    /// Notes that a recording begins: processes are looked at anew at their first sample in it.
    pub fn begin(&self) {
        self.shared.processes.begin();
    }

    /// Notes a process at its first sample, so that its names outlive it. Does not block, and costs
    /// a hash look-up if the process is known: it may be called for each sample.
    pub fn observe(&self, tgid: Tgid) {
        if self.shared.processes.wants_look(tgid) {
            self.queue_look(tgid);
        }
    }

    /// As [`Self::observe`], of a sample with this user stack. A process that runs code it did not have when it was last looked at is
    /// looked at again, once a second at most, and less often if that does not help. Functions of Python are noted: their names can be
    /// read only while the process has them.
    pub fn observe_stack(&self, tgid: Tgid, program: Program, user: &[u64]) {
        self.observe(tgid);
        let words = || user.iter().map(|word| Word::of(*word));
        if self.shared.processes.wants_look_for(tgid, program, words().filter_map(Word::address)) {
            self.queue_look(tgid);
        }
        if self.shared.python.want(tgid, program, words().filter_map(Word::function))
            && self.looks.try_send(Look::Functions(tgid)).is_err()
        {
            // Looked up with the next ones.
            self.tallies().looks_dropped += 1;
        }
    }

    /// Notes that the process runs another program now (exec): its memory map is read again. Does
    /// not block.
    pub fn replaced(&self, tgid: Tgid) {
        self.queue_look(tgid);
    }

    /// Notes that the process has mapped more code: its memory map is read again, however often this
    /// was called meanwhile. Does not block.
    pub fn mapped(&self, tgid: Tgid) {
        if self.shared.processes.wants_another_look(tgid) {
            self.queue_look(tgid);
        }
    }

    /// Notes a child: until it runs another program it has what its parent has mapped, and its names
    /// can be told even if it ends before anybody looks at it. Does not block.
    pub fn forked(&self, child: Tgid, parent: Tgid) {
        if !self.shared.processes.inherit(child, parent) {
            // For the next child, since one that forks does so again.
            self.observe(child);
            self.observe(parent);
        }
    }

    /// Notes that the process exited. Its memory map is kept for another minute, because samples of
    /// it may still wait.
    pub fn forget(&self, tgid: Tgid) {
        self.shared.processes.exited(tgid);
    }

    /// Resolves stacks. The answer has one entry for each stack, in order; frames are **root
    /// first**: user frames from the thread's entry to the leaf, then kernel frames from the entry
    /// to the innermost. Every address gives at least one frame. Takes at most about 12 s: then what
    /// is left is marked [`super::Reason::SymbolizerBehind`]. Needs a tokio runtime with its timer.
    pub async fn resolve(&self, stacks: Vec<RawStack>) -> Vec<Vec<Frame>> {
        let stacks = Arc::new(stacks);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply = Box::new(move |frames| drop(sender.send(frames)));
        let frames = if self.queue_job(&stacks, reply) {
            let answer = tokio::time::timeout(RESOLVE_BUDGET + RESOLVE_GRACE, receiver).await;
            answer.ok().and_then(Result::ok)
        } else {
            None
        };
        frames.unwrap_or_else(|| self.all_behind(&stacks))
    }

    /// The functions of stacks of the kernel, innermost first, each from the entry to the innermost. An address without a name is shown as
    /// one. As [`Self::resolve`].
    pub async fn kernel_functions(&self, stacks: Vec<Arc<[u64]>>) -> Vec<Vec<String>> {
        let raw = |kernel: &Arc<[u64]>| RawStack {
            program: Program::LATEST,
            tgid: Tgid(0),
            kernel: kernel.to_vec(),
            user: vec![],
            end: WalkEnd::Complete,
        };
        let named = self.resolve(stacks.iter().map(raw).collect()).await;
        let name = |frame: Frame| match frame {
            Frame::Kernel { name } => name.to_string(),
            Frame::Unresolved { address, .. } => format!("{address:#x}"),
            // There is no user stack.
            Frame::User { name, .. } | Frame::Inlined { name, .. } => name.to_string(),
            Frame::Missing { end } => format!("{end:?}"),
        };
        named.into_iter().map(|frames| frames.into_iter().map(name).collect()).collect()
    }

    /// As [`Self::resolve`], for a thread that may block.
    pub fn resolve_blocking(&self, stacks: Vec<RawStack>) -> Vec<Vec<Frame>> {
        let stacks = Arc::new(stacks);
        let (sender, receiver) = sync_channel(1);
        let reply = Box::new(move |frames| drop(sender.send(frames)));
        let frames = if self.queue_job(&stacks, reply) {
            receiver.recv_timeout(RESOLVE_BUDGET + RESOLVE_GRACE).ok()
        } else {
            None
        };
        frames.unwrap_or_else(|| self.all_behind(&stacks))
    }

    /// Where the code of each frame lies in its file. `frames` is what [`Self::resolve`] gave for
    /// `stacks`, and so is the shape of the answer. May read `/proc`, so it may block.
    pub fn places(
        &self,
        stacks: &[RawStack],
        frames: &[Vec<Frame>],
    ) -> Vec<Vec<Option<CodePlace>>> {
        code::places(&self.shared.processes, &self.shared.objects, stacks, frames)
    }

    /// What is held and what happened so far.
    pub fn stats(&self) -> SymbolStats {
        let (objects, objects_open) = self.shared.objects.count();
        let (processes, processes_evicted, looks_renewed) = self.shared.processes.count();
        let (functions_named, functions_gone) = self.shared.python.counts();
        let tallies = self.tallies();
        let Counters { hits, misses, frames, frames_evicted, parsed, parsed_evicted, failures } =
            tallies.resolver;
        SymbolStats {
            processes: processes as u64,
            objects: objects as u64,
            objects_open: objects_open as u64,
            objects_parsed: parsed as u64,
            cached_addresses: frames as u64,
            cache_hits: hits,
            cache_misses: misses,
            evicted: processes_evicted
                + frames_evicted
                + parsed_evicted
                + self.shared.objects.closed(),
            stacks_behind: tallies.stacks_behind,
            looks_dropped: tallies.looks_dropped,
            looks_renewed,
            objects_damaged: failures.panics + failures.truncated,
            functions_named,
            functions_gone,
        }
    }

    fn queue_look(&self, tgid: Tgid) {
        if self.looks.try_send(Look::Process(tgid)).is_err() {
            self.shared.processes.give_up(tgid);
            self.tallies().looks_dropped += 1;
        }
    }

    fn queue_job(
        &self,
        stacks: &Arc<Vec<RawStack>>,
        reply: Box<dyn FnOnce(Vec<Vec<Frame>>) + Send>,
    ) -> bool {
        let deadline = Instant::now() + RESOLVE_BUDGET;
        self.jobs.try_send(Job { stacks: Arc::clone(stacks), deadline, reply }).is_ok()
    }

    fn all_behind(&self, stacks: &[RawStack]) -> Vec<Vec<Frame>> {
        self.tallies().stacks_behind += stacks.len() as u64;
        stacks.iter().map(behind).collect()
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look_loop(queue: &Receiver<Look>, shared: &Shared) {
    guard();
    favour_this_thread();
    while let Ok(look) = queue.recv() {
        match look {
            Look::Process(tgid) => {
                // Before it is read: what is mapped from here on is reason for another look.
                shared.processes.give_up(tgid);
                // A process that is gone already has no snapshot; its samples say so themselves.
                shared.processes.look(tgid, &shared.objects).ok();
            }
            Look::Functions(tgid) => shared
                .python
                .look(tgid, |program| shared.processes.interpreter(tgid, program, &shared.objects)),
        }
    }
}

fn resolve_loop(queue: &Receiver<Job>, mut resolver: Resolver, tallies: &Mutex<Tallies>) {
    guard();
    let mut let_go = Instant::now();
    loop {
        match queue.recv_timeout(LET_GO_EVERY) {
            Ok(job) => {
                let frames = resolver.resolve(&job.stacks, job.deadline);
                tallies.lock().unwrap_or_else(PoisonError::into_inner).resolver =
                    resolver.counters();
                (job.reply)(frames);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // By the clock, and not when there is nothing to do: who records again and again leaves no pause.
        if let_go.elapsed() >= LET_GO_EVERY {
            let_go = Instant::now();
            resolver.let_go(IDLE_FILE);
        }
    }
}

fn guard() {
    if let Err(error) = fault::guard_this_thread() {
        tracing::warn!(%error, "a mapped file that shrinks will end the daemon");
    }
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), SymbolError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|source| SymbolError::Thread { name, source })
}

fn open_files_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for writing.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    if known { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1024 }
}
