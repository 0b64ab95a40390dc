//! The thread that keeps the kernel half's picture of processes up to date while someone records.
//!
//! Contract: idle, it does nothing and holds nothing but the tables. Requests never block their sender, except [`Unwinder::begin`],
//! which waits until what runs is known, for a bounded time. What finds no room in the queue is looked at when its next sample
//! says that it is unknown.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::registrar::{Look, Registrar};
use crate::{
    kernel::{ids::Tgid, priority::favour_this_thread},
    probe::{MapWatch, Mapped, UnwindMaps},
};

/// How long a recording waits until what runs is known. Looking at a process takes some 0.1 ms, at a file of 10 MB once 50 ms.
const BEGIN_PATIENCE: Duration = Duration::from_millis(400);
/// The same for the processes that it is of: their files may have to come from a slow disk, and a compiler that runs beside them has
/// tables that take longer than [`BEGIN_PATIENCE`].
const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// How long the thread waits for something mapped before it reads its queue.
const WAIT: Duration = Duration::from_millis(10);
/// A process that maps code all the time is looked at less and less often, up to this.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// Looks that are not put off: a program with many libraries maps them one by one.
const PROMPT_LOOKS: u32 = 24;
/// Processes of the backlog between two looks at what is new.
const BACKLOG_STEP: usize = 8;
/// How often a list is made again for those who were born while the first was worked off.
const RELISTS: u32 = 2;
/// Messages that may wait.
const QUEUE_MAX: usize = 4096;

/// What the unwinder holds and did. Counters only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnwindStats {
    /// Whether someone records.
    pub is_active: bool,
    /// Processes that can be walked by tables.
    pub processes: u64,
    /// Tables held.
    pub tables: u64,
    /// Bytes of their rows, rules and pages.
    pub used_bytes: u64,
    /// Bytes of the `.eh_frame` they are made of.
    pub frame_bytes: u64,
    /// Bytes there are for them.
    pub limit_bytes: u64,
    /// Tables dropped for others.
    pub evicted: u64,
    /// Tables that found no room.
    pub refused: u64,
    /// Looks at processes.
    pub looks: u64,
    /// Tables that were compiled.
    #[serde(default)]
    #[schema(required)]
    pub compiled: u64,
    /// Tables that were read from disk instead.
    #[serde(default)]
    #[schema(required)]
    pub cache_read: u64,
    /// Tables on disk that were not whole, or of another version.
    #[serde(default)]
    #[schema(required)]
    pub cache_damaged: u64,
    /// Tables that could not be written to disk.
    #[serde(default)]
    #[schema(required)]
    pub cache_not_written: u64,
    /// Bytes of the tables on disk.
    #[serde(default)]
    #[schema(required)]
    pub cache_bytes: u64,
}

/// Told when something is done, if anybody still waits for it.
type Done = oneshot::Sender<()>;

enum Message {
    Begin { first: Vec<Tgid>, is_first_known: Done, is_all_known: Done },
    End,
    Seen { sampled: Vec<Tgid>, unknown: Vec<Tgid> },
    Forked { child: Tgid, parent: Tgid },
    Executed(Tgid),
    Exited(Tgid),
}

/// A handle to the thread; it ends with the last one.
#[derive(Clone)]
pub struct Unwinder {
    queue: SyncSender<Message>,
    stats: Arc<Mutex<UnwindStats>>,
}

/// Keeps processes known until it is dropped.
pub struct Following {
    queue: SyncSender<Message>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // The thread may have ended with the engine.
        let _ = self.queue.send(Message::End);
    }
}

impl Unwinder {
    /// Starts the thread. It calls `on_mapped` for each process that it found with code it did not have before, within moments,
    /// so that others can look at what may soon be gone. `cache` is where tables are kept on disk.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(
        maps: UnwindMaps,
        cache: Option<&Path>,
        on_mapped: impl Fn(Tgid) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_MAX);
        let stats = Arc::new(Mutex::new(UnwindStats::default()));
        let limit_bytes = maps.sizes.table_bytes();
        let mut worker = Worker {
            registrar: Registrar::new(maps, cache),
            watch: None,
            recordings: 0,
            due: HashMap::new(),
            looked: HashMap::new(),
            backlog: Vec::new(),
            relists: 0,
            waiting: Vec::new(),
            looks: 0,
            on_mapped: Box::new(on_mapped),
            stats: Arc::clone(&stats),
            limit_bytes,
        };
        worker.publish();
        thread::Builder::new().name("cgscope-unwind".into()).spawn(move || {
            favour_this_thread();
            worker.run(&messages);
        })?;
        Ok(Self { queue, stats })
    }

    /// Makes known what runs, those in `first` before all others, and follows it while the answer lives.
    pub async fn begin(&self, first: Vec<Tgid>) -> Following {
        let (is_first_known, first_known) = oneshot::channel();
        let (is_all_known, all_known) = oneshot::channel();
        let following = Following { queue: self.queue.clone() };
        if self.queue.try_send(Message::Begin { first, is_first_known, is_all_known }).is_ok() {
            // Not ready in time: what is missing falls back to frame pointers, and says so.
            let _ = tokio::time::timeout(FIRST_PATIENCE, first_known).await;
            let _ = tokio::time::timeout(BEGIN_PATIENCE, all_known).await;
        }
        following
    }

    /// Tells which processes had samples, and which of them the kernel half did not know well enough.
    pub fn seen(&self, sampled: Vec<Tgid>, unknown: Vec<Tgid>) {
        self.tell(Message::Seen { sampled, unknown });
    }

    /// A process was forked.
    pub fn forked(&self, child: Tgid, parent: Tgid) {
        self.tell(Message::Forked { child, parent });
    }

    /// A process runs another program now.
    pub fn executed(&self, process: Tgid) {
        self.tell(Message::Executed(process));
    }

    /// A process ended.
    pub fn exited(&self, process: Tgid) {
        self.tell(Message::Exited(process));
    }

    /// Whether someone records.
    pub fn is_active(&self) -> bool {
        self.stats().is_active
    }

    /// What is held and what happened so far.
    pub fn stats(&self) -> UnwindStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, message: Message) {
        if self.is_active() {
            // No room: the samples of the process will say that it is unknown.
            let _ = self.queue.try_send(message);
        }
    }
}

struct Worker {
    registrar: Registrar,
    watch: Option<MapWatch>,
    recordings: u32,
    /// Whom to look at, and when.
    due: HashMap<Tgid, Instant>,
    /// How often a process was looked at, and when last.
    looked: HashMap<Tgid, (u32, Instant)>,
    /// Who runs since before the recording, the most important last.
    backlog: Vec<Tgid>,
    /// How often those are still to be listed who were forked meanwhile by parents not known then.
    relists: u32,
    /// Who waits until the backlog is empty.
    waiting: Vec<Done>,
    looks: u64,
    on_mapped: Box<dyn Fn(Tgid) + Send>,
    stats: Arc<Mutex<UnwindStats>>,
    limit_bytes: u64,
}

impl Worker {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let patience = if self.recordings > 0 { Duration::ZERO } else { Duration::MAX };
            match self.next(messages, patience) {
                Ok(message) => self.take(message),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    self.work();
                    self.publish();
                }
            }
        }
    }

    fn next(
        &self,
        messages: &Receiver<Message>,
        patience: Duration,
    ) -> Result<Message, TryRecvError> {
        if patience.is_zero() {
            return messages.try_recv();
        }
        messages.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    fn take(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Begin { first, is_first_known, is_all_known } => {
                self.begin();
                for process in first {
                    self.look(process, true);
                }
                // Whoever gave up waiting does not care.
                let _ = is_first_known.send(());
                self.waiting.push(is_all_known);
            }
            Message::End => self.end(),
            Message::Seen { sampled, unknown } => {
                sampled.into_iter().for_each(|process| self.registrar.sampled(process, now));
                unknown.into_iter().for_each(|process| self.want(process));
            }
            Message::Forked { child, parent } => {
                if !self.registrar.forked(child, parent) {
                    self.want(child);
                }
            }
            Message::Executed(process) => {
                self.looked.remove(&process);
                self.want(process);
            }
            Message::Exited(process) => {
                self.registrar.exited(process);
                self.due.remove(&process);
                self.looked.remove(&process);
            }
        }
    }

    fn begin(&mut self) {
        self.recordings += 1;
        if self.recordings == 1 {
            if let Err(error) = self.registrar.open() {
                tracing::warn!(%error, "no room to map unwind tables: stacks go by frame pointers");
            }
            // Watched before the first look, so that nothing falls in between.
            self.watch = MapWatch::open().inspect_err(not_watching).ok();
            self.list();
            self.publish();
        }
    }

    /// Puts everyone on the backlog, those that run most first.
    fn list(&mut self) {
        self.backlog = super::process::all();
        self.backlog.reverse();
        self.relists = RELISTS;
    }

    /// Whether there are others to look at, forked since the list was made by parents that were not known yet.
    fn list_more(&mut self) -> bool {
        if self.relists == 0 {
            return false;
        }
        self.relists -= 1;
        self.backlog = super::process::all();
        self.backlog.retain(|process| !self.registrar.is_known(*process));
        self.backlog.reverse();
        !self.backlog.is_empty()
    }

    fn end(&mut self) {
        self.recordings = self.recordings.saturating_sub(1);
        if self.recordings == 0 {
            self.watch = None;
            self.due.clear();
            self.looked.clear();
            self.backlog.clear();
            self.relists = 0;
            self.waiting.clear();
            self.registrar.close();
            self.publish();
        }
    }

    /// Puts a look at a process on the list, the later the more often it was looked at.
    fn want(&mut self, process: Tgid) {
        let now = Instant::now();
        let at = match self.looked.get(&process) {
            Some((looks, last)) if *looks >= PROMPT_LOOKS => {
                let factor = 1 << (looks - PROMPT_LOOKS).min(10);
                *last + (Duration::from_millis(10) * factor).min(PATIENCE_MAX)
            }
            _ => now,
        };
        let due = self.due.entry(process).or_insert(at);
        *due = at.min(*due);
    }

    /// One round: who is new first, then some of the backlog, then a short wait.
    fn work(&mut self) {
        self.read_watch();
        let now = Instant::now();
        let due: Vec<Tgid> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(process, _)| *process).collect();
        for process in &due {
            self.due.remove(process);
            self.look(*process, true);
        }
        for _ in 0..BACKLOG_STEP {
            let Some(process) = self.backlog.pop() else { break };
            if self.look(process, false) == Look::NoRoom {
                // The rest runs less than those that have the room.
                self.backlog.clear();
                self.relists = 0;
            }
        }
        if self.backlog.is_empty() && !self.list_more() {
            for done in self.waiting.drain(..) {
                // Whoever gave up waiting does not care.
                let _ = done.send(());
            }
            if due.is_empty() {
                self.rest();
            }
        }
    }

    fn look(&mut self, process: Tgid, is_urgent: bool) -> Look {
        self.looks += 1;
        let outcome = self.registrar.look(process, is_urgent);
        // Those of the backlog have been there for a while, and most of them never get a sample.
        if is_urgent && outcome == Look::Registered {
            (self.on_mapped)(process);
        }
        if outcome == Look::Gone {
            self.looked.remove(&process);
        } else {
            let (looks, last) = self.looked.entry(process).or_insert((0, Instant::now()));
            (*looks, *last) = (*looks + 1, Instant::now());
        }
        outcome
    }

    fn read_watch(&mut self) {
        let mut mapped = HashSet::new();
        let mut is_lost = false;
        if let Some(watch) = &mut self.watch {
            watch.drain(|what| match what {
                Mapped::By(process) => drop(mapped.insert(process)),
                Mapped::Lost => is_lost = true,
            });
        }
        mapped.into_iter().for_each(|process| self.want(process));
        if is_lost {
            self.list();
        }
    }

    fn rest(&self) {
        match &self.watch {
            Some(watch) => watch.wait(WAIT),
            None => thread::sleep(WAIT),
        }
    }

    fn publish(&self) {
        let store = &self.registrar.store;
        let disk = store.disk();
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = UnwindStats {
            is_active: self.recordings > 0,
            processes: self.registrar.processes() as u64,
            tables: store.len() as u64,
            used_bytes: store.used_bytes(),
            frame_bytes: store.frame_bytes(),
            limit_bytes: self.limit_bytes,
            evicted: store.evicted,
            refused: store.refused,
            looks: self.looks,
            compiled: store.compiled,
            cache_read: disk.read,
            cache_damaged: disk.damaged,
            cache_not_written: disk.not_written,
            cache_bytes: disk.bytes,
        };
    }
}

fn not_watching(error: &io::Error) {
    tracing::warn!(%error, "new mappings are not seen before their first sample");
}
