//! Writes ticks, one after the other: series, journal, seals, retention. It works on one thread and never fails: what cannot
//! be written stays in memory, and is written when that is possible again.
//!
//! Contract: when [`Writer::record`] returns in state [`State::Writing`], the tick survives the end of the process and of the
//! machine. What was stored before stays, whatever happens; what cannot be kept is counted.

mod files;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub use files::{database_path, journal_path};
use rusqlite::Connection;

use super::{
    database::{self, Named, SeriesRow, StoreError, json},
    dictionary::{Dictionary, subject_text},
    frame::{Frame, Instant},
    id::SeriesId,
    journal::Journal,
    options::HistoryOptions,
    retention,
    seal::seal,
    shared::{Refusal, Shared, State},
    tier::{SEAL_MS, STEP_MS},
};
use crate::metric::{KtimeNs, SampleRef, Tick, WallTimeNs};

/// Ticks that come sooner after the last are left out: tier 0 is seconds, and counters lose nothing by it.
pub const LEAST_BETWEEN: Duration = Duration::from_millis(STEP_MS[0] - 50);
/// How soon writing is tried again after it failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Ticks kept in memory while nothing can be written: 20 minutes.
const MAX_UNSAVED: usize = 1_200;
/// Names are looked at this often, in ticks: a container's name comes some time after the container.
const NAMES_EVERY: u64 = 10;
/// The clock is believed, and what is too old by it deleted, when it ran evenly for so long.
const CLOCK_PATIENCE: Duration = Duration::from_secs(3_600);
/// The wall clock was set if it moved so much more or less than the monotonic one.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// What subjects are called now.
pub type Names = Box<dyn Fn() -> Vec<Named> + Send>;

/// The files of one history.
#[derive(Debug)]
struct Files {
    connection: Connection,
    /// `None` where nothing can be written.
    journal: Option<Journal>,
}

/// Writes history.
pub struct Writer {
    options: HistoryOptions,
    shared: Arc<Shared>,
    names: Names,
    named: HashMap<String, Named>,
    unsaved_names: Vec<Named>,
    files: Option<Files>,
    dictionary: Dictionary,
    /// Open frames from the front that the journal has.
    saved: usize,
    unsaved_samples: u64,
    sequence: u64,
    recorded: u64,
    last: Option<(WallTimeNs, KtimeNs)>,
    steady_since: KtimeNs,
    retry_at: Option<KtimeNs>,
}

impl Writer {
    /// Opens or makes the files; if that fails, history begins in memory.
    pub fn open(options: HistoryOptions, names: Names) -> Self {
        let shared = Arc::new(Shared::new(database_path(&options.directory)));
        let dictionary = Dictionary::new(options.max_series, &[], 0);
        let mut writer = Self {
            options,
            shared,
            names,
            named: HashMap::new(),
            unsaved_names: vec![],
            files: None,
            dictionary,
            saved: 0,
            unsaved_samples: 0,
            sequence: 0,
            recorded: 0,
            last: None,
            steady_since: KtimeNs::default(),
            retry_at: None,
        };
        match writer.open_files() {
            Ok(()) => {
                writer.shared.set_state(State::Writing);
                writer.count_bytes();
            }
            Err(error) => {
                writer.open_to_read();
                writer.degrade(&error, KtimeNs::default());
            }
        }
        writer
    }

    /// What readers need.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Keeps a tick.
    pub fn record(&mut self, tick: &Tick) {
        let since = self.last.map(|(_, taken)| tick.taken.since(taken));
        if since.is_some_and(|since| since < LEAST_BETWEEN) {
            return;
        }
        self.watch_clock(tick, since);
        let instant = Instant {
            at_ms: tick.at.0 / 1_000_000,
            covered_ms: since.map_or(0, |since| since.as_millis() as u64),
        };
        // Before the tick is sorted: an old piece must not have series that came after it.
        self.seal_if_due(instant.at_ms, tick.taken);
        let connection = self.files.as_ref().map(|files| &files.connection);
        let mut find = |sample: SampleRef<'_>| find(connection?, sample);
        let sorted = self.dictionary.sort(tick, self.options.skipped_prefix, &mut find);
        self.shared.counts.refuse(Refusal::SeriesLimit, sorted.refused);
        self.shared.counts.series.store(self.dictionary.len() as u64, Ordering::Relaxed);
        let is_nameless = |row: &SeriesRow| !self.named.contains_key(&row.subject);
        if self.recorded.is_multiple_of(NAMES_EVERY)
            || sorted.new.iter().any(|row| !row.subject.is_empty() && is_nameless(row))
        {
            self.look_at_names();
        }
        self.recorded += 1;
        self.sequence += 1;
        let frame = Arc::new(Frame::new(self.sequence, instant, &sorted.measured));
        self.unsaved_samples += sorted.measured.len() as u64;
        {
            let mut open = self.shared.open_mut();
            open.frames.push_back(frame);
            open.new_series.extend(sorted.new);
        }
        if self.may_try(tick.taken) {
            let outcome = self.save();
            self.settle(outcome, tick.taken);
        }
        self.bound_memory();
    }

    /// Seals what is open, whatever the time. For tests, benchmarks and the end.
    pub fn seal_now(&mut self, now: KtimeNs) {
        let outcome = self.save().and_then(|()| self.seal());
        self.settle(outcome, now);
    }

    fn watch_clock(&mut self, tick: &Tick, since: Option<Duration>) {
        match (self.last, since) {
            (Some((at, _)), Some(since)) => {
                let moved = i128::from(tick.at.0) - i128::from(at.0);
                let off = (moved - since.as_nanos() as i128).unsigned_abs();
                if off > CLOCK_STEP.as_nanos() {
                    self.steady_since = tick.taken;
                }
            }
            _ => self.steady_since = tick.taken,
        }
        self.last = Some((tick.at, tick.taken));
    }

    fn may_try(&self, now: KtimeNs) -> bool {
        self.retry_at.is_none_or(|at| now >= at)
    }

    /// Notes how an attempt to write ended.
    fn settle(&mut self, outcome: Result<(), StoreError>, now: KtimeNs) {
        match outcome {
            Ok(()) => {
                self.retry_at = None;
                if self.shared.set_state(State::Writing) {
                    tracing::info!("history is written");
                }
            }
            Err(error) => {
                if error.is_corruption() {
                    self.move_aside();
                }
                self.degrade(&error, now);
            }
        }
        self.count_bytes();
    }

    fn degrade(&mut self, error: &StoreError, now: KtimeNs) {
        self.retry_at = Some(KtimeNs(now.0 + RETRY_AFTER.as_nanos() as u64));
        let reason = error.to_string();
        if self.shared.set_state(State::Memory { reason }) {
            tracing::warn!("history is kept in memory only: {error}");
        }
    }

    fn seal_if_due(&mut self, at_ms: u64, now: KtimeNs) {
        let first = self.shared.open().frames.front().map(|frame| frame.instant.at_ms);
        let is_due = first.is_some_and(|first_ms| first_ms / SEAL_MS != at_ms / SEAL_MS);
        if is_due && self.may_try(now) {
            let outcome = self.save().and_then(|()| self.seal());
            self.settle(outcome, now);
        }
    }

    /// Writes series, names and frames that are not on disk.
    fn save(&mut self) -> Result<(), StoreError> {
        if self.files.as_ref().is_none_or(|files| files.journal.is_none()) {
            self.open_files()?;
        }
        let path = self.shared.database.clone();
        let Some(Files { connection, journal: Some(journal) }) = &mut self.files else {
            return Ok(());
        };
        if !journal.is_there() || !path.exists() {
            // Somebody removed the files: what is open goes to new ones.
            return Err(StoreError::Damaged { path });
        }
        let failed = |source| StoreError::Database { path: path.clone(), source };
        let (frames, new_series) = {
            let open = self.shared.open();
            let frames: Vec<_> =
                open.frames.range(self.saved.min(open.frames.len())..).cloned().collect();
            (frames, open.new_series.clone())
        };
        if !new_series.is_empty() || !self.unsaved_names.is_empty() {
            let at_ms = frames.last().map_or(0, |frame| frame.instant.at_ms);
            let transaction = connection.transaction().map_err(failed)?;
            for row in &new_series {
                database::add_series(&transaction, row, at_ms).map_err(failed)?;
            }
            for named in &self.unsaved_names {
                database::set_named(&transaction, named).map_err(failed)?;
            }
            transaction.commit().map_err(failed)?;
            self.shared.open_mut().new_series.clear();
            self.unsaved_names.clear();
        }
        let frames: Vec<&Frame> = frames.iter().map(Arc::as_ref).collect();
        journal.append(&frames).map_err(|source| StoreError::File {
            path: journal_path(&self.options.directory),
            source,
        })?;
        self.saved += frames.len();
        let written = std::mem::take(&mut self.unsaved_samples);
        self.shared.counts.written.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Seals the open frames, all of which are saved, and lets go of what is too old or too much.
    fn seal(&mut self) -> Result<(), StoreError> {
        let path = self.shared.database.clone();
        let failed = |source| StoreError::Database { path: path.clone(), source };
        let Some(Files { connection, journal: Some(journal) }) = &mut self.files else {
            return Ok(());
        };
        let frames: Vec<_> = self.shared.open().frames.iter().cloned().collect();
        if frames.is_empty() {
            return Ok(());
        }
        let transaction = seal(connection, &frames).map_err(failed)?;
        {
            // Readers see the frames or the piece, never both and never neither.
            let mut open = self.shared.open_mut();
            transaction.commit().map_err(failed)?;
            open.frames.clear();
        }
        self.saved = 0;
        let now_ms = frames.iter().map(|frame| frame.instant.at_ms).max().unwrap_or(0);
        self.dictionary.forget_older_than(frames.len() as u64);
        journal.clear().map_err(|source| StoreError::File {
            path: journal_path(&self.options.directory),
            source,
        })?;
        self.tidy_up(now_ms).map_err(failed)
    }

    fn tidy_up(&mut self, now_ms: u64) -> rusqlite::Result<()> {
        let is_steady =
            self.last.is_some_and(|(_, taken)| taken.since(self.steady_since) >= CLOCK_PATIENCE);
        let Some(Files { connection, .. }) = &mut self.files else { return Ok(()) };
        if is_steady {
            let ends = self.options.keep.map(|keep| now_ms.saturating_sub(keep.as_millis() as u64));
            retention::by_age(connection, ends)?;
        }
        retention::merge(connection, now_ms)?;
        retention::by_size(connection, self.options.max_bytes)?;
        retention::give_back(connection)?;
        let (gone, left) = retention::forget_series(connection)?;
        self.dictionary.set_known(left);
        if gone > 0 {
            // A name may have gone with its series and be wanted again.
            self.named.clear();
        }
        Ok(())
    }

    fn look_at_names(&mut self) {
        for named in (self.names)() {
            if self.named.get(&named.id) != Some(&named) {
                self.unsaved_names.retain(|other| other.id != named.id);
                self.unsaved_names.push(named.clone());
                self.named.insert(named.id.clone(), named);
            }
        }
    }

    /// Lets go of the oldest frames that the disk does not have, when there are too many.
    fn bound_memory(&mut self) {
        let mut open = self.shared.open_mut();
        while open.frames.len() - self.saved.min(open.frames.len()) > MAX_UNSAVED {
            if let Some(frame) = open.frames.remove(self.saved) {
                let samples = frame.samples().unwrap_or(0);
                self.shared.counts.refuse(Refusal::NotWritten, samples);
                self.unsaved_samples = self.unsaved_samples.saturating_sub(samples);
            }
        }
    }

    fn count_bytes(&self) {
        let Some(files) = &self.files else { return };
        let counts = &self.shared.counts;
        if let Ok(bytes) = retention::used_bytes(&files.connection) {
            counts.database_bytes.store(bytes, Ordering::Relaxed);
        }
        let bytes = files.journal.as_ref().map_or(0, Journal::bytes);
        counts.journal_bytes.store(bytes, Ordering::Relaxed);
    }
}

fn find(connection: &Connection, sample: SampleRef<'_>) -> Option<SeriesId> {
    let metric = sample.metric;
    let names = json(metric.labels);
    let key = (metric.name, metric.kind, metric.unit, names.as_str());
    // An error here is one when the series is stored as well, and handled there.
    database::find_series(connection, key, subject_text(sample.subject), &json(sample.labels))
        .ok()?
}
