//! History as the daemon holds it: a thread that writes, and what readers share with it.
//!
//! Contract: recording never waits for the disk; a tick that comes while 30 wait is counted as lost.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::{
    options::HistoryOptions,
    own::{self, Limits},
    shared::{Refusal, Shared, State},
    snapshot::Snapshot,
    writer::{Names, Writer},
};
use crate::metric::{Sample, Tick};

/// Ticks that may wait for a slow disk.
const QUEUE: usize = 30;

/// History that is written. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    limits: Limits,
    queue: Option<SyncSender<Arc<Tick>>>,
    thread: Option<JoinHandle<()>>,
}

impl History {
    /// Opens the files and starts to write. That they cannot be opened is no error but a [`State`].
    ///
    /// # Errors
    /// That the thread cannot be started.
    pub fn start(options: HistoryOptions, names: Names) -> io::Result<Self> {
        let (queue, ticks) = sync_channel::<Arc<Tick>>(QUEUE);
        let limits = Limits { keep: options.keep, max_bytes: options.max_bytes };
        let mut writer = Writer::open(options, names);
        let shared = Arc::clone(writer.shared());
        let thread = thread::Builder::new().name("cgscope-history".into()).spawn(move || {
            while let Ok(tick) = ticks.recv() {
                writer.record(&tick);
            }
        })?;
        Ok(Self { shared, limits, queue: Some(queue), thread: Some(thread) })
    }

    /// Keeps a tick.
    pub fn record(&self, tick: Arc<Tick>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(tick) | TrySendError::Disconnected(tick)) =
            queue.try_send(tick)
        {
            self.shared.counts.refuse(Refusal::QueueFull, tick.len() as u64);
        }
    }

    /// History now, to ask.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared)
    }

    /// Whether it is written.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Where, how much, and how many series: for people.
    pub fn summary(&self) -> String {
        let counts = &self.shared.counts;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!(
            "{}: {:.1} MiB and {:.1} MiB of journal, {} series",
            self.shared.database.display(),
            mib(counts.database_bytes.load(Ordering::Relaxed)),
            mib(counts.journal_bytes.load(Ordering::Relaxed)),
            counts.series.load(Ordering::Relaxed),
        )
    }

    /// Each way in which samples were lost, and how many.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let count = |why: Refusal| self.shared.counts.refused[why as usize].load(Ordering::Relaxed);
        Refusal::ALL.into_iter().map(move |why| (why, count(why)))
    }

    /// Appends what it costs and has lost so far.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        own::collect(&self.shared, self.limits, samples);
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // The thread ends when it has taken what waits.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was logged where it happened.
            let _ = thread.join();
        }
    }
}
