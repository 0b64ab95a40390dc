//! What the writer and the readers of history share: the ticks that are not sealed yet, the state, and what was counted.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::Connection;

use super::{
    database::{self, Named, SeriesRow},
    frame::Frame,
};

/// Connections that are kept for the next reader.
const IDLE_READERS: usize = 2;

/// What is in no piece yet.
#[derive(Debug, Default)]
pub struct Open {
    /// The ticks, oldest first.
    pub frames: VecDeque<Arc<Frame>>,
    /// Series of theirs that are not in the database.
    pub new_series: Vec<SeriesRow>,
    /// What subjects are called, where there is no database.
    pub named: Arc<[Named]>,
}

/// Whether history is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Writing,
    /// It cannot be: the last ticks are kept in memory, and writing is tried again.
    Memory {
        /// Why.
        reason: String,
    },
}

/// Ways in which samples do not become history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The writer was behind.
    QueueFull,
    /// There are more series than may be.
    SeriesLimit,
    /// Nothing could be written for longer than memory holds.
    NotWritten,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::SeriesLimit, Self::NotWritten];

    /// As the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SeriesLimit => "series_limit",
            Self::NotWritten => "not_written",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Samples that the disk has.
    pub written: AtomicU64,
    /// Samples that are lost, by [`Refusal`].
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Chunks that could not be read back.
    pub damaged: AtomicU64,
    /// Bytes of the database that hold something.
    pub database_bytes: AtomicU64,
    /// Bytes of the journal.
    pub journal_bytes: AtomicU64,
    /// Series of the last ticks.
    pub series: AtomicU64,
}

impl Counts {
    /// Counts samples that are lost.
    pub fn refuse(&self, why: Refusal, samples: u64) {
        self.refused[why as usize].fetch_add(samples, Ordering::Relaxed);
    }
}

/// Shared by the writer and all readers.
#[derive(Debug)]
pub struct Shared {
    /// Where the database is; empty where there is none.
    pub database: PathBuf,
    /// What was counted.
    pub counts: Counts,
    open: RwLock<Open>,
    state: Mutex<State>,
    idle: Mutex<Vec<Connection>>,
}

impl Shared {
    /// Around the database at `database`.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            counts: Counts::default(),
            open: RwLock::default(),
            state: Mutex::new(State::Memory { reason: "it is not open yet".into() }),
            idle: Mutex::default(),
        }
    }

    /// What is not sealed. A read transaction that begins under it sees exactly the rest.
    pub fn open(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change.
    pub fn open_mut(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether history is written.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets whether it is, and returns whether that is new.
    pub fn set_state(&self, state: State) -> bool {
        let mut now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *now != state;
        *now = state;
        is_new
    }

    /// A connection to read; `None` when there is nothing to read from.
    pub fn reader(&self) -> Option<Connection> {
        if self.database.as_os_str().is_empty() {
            return None;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.or_else(|| database::open_to_read(&self.database).ok())
    }

    /// Gives a connection back to the next reader.
    pub fn done(&self, reader: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS && matches!(self.state(), State::Writing) {
            idle.push(reader);
        }
    }

    /// Closes idle connections: the file they read is not the one any more.
    pub fn forget_readers(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
