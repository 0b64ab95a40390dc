//! History of a tape: its ticks as open frames in memory, so that the questions asked of a daemon's history can be asked of it.
//!
//! Contract: between two ticks of the tape lies what lies between them in the history of the daemon; the first only sets the start of each
//! counter. It takes 2 to 3 bytes a series and tick.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    metric::{KtimeNs, Tick},
    store::{
        database::Named,
        dictionary::Dictionary,
        frame::{Frame, Instant},
        options::HistoryOptions,
        shared::{Refusal, Shared},
        snapshot::Snapshot,
        writer::LEAST_BETWEEN,
    },
};

/// History that is never written.
#[derive(Debug)]
pub struct TapeHistory {
    shared: Arc<Shared>,
    dictionary: Dictionary,
    sequence: u64,
    last: Option<KtimeNs>,
    skipped_prefix: Option<&'static str>,
}

impl TapeHistory {
    /// Without any ticks yet. Subjects whose id begins with `skipped_prefix` are left out, as the daemon does.
    pub fn new(skipped_prefix: Option<&'static str>) -> Self {
        let most = HistoryOptions::DEFAULT_MAX_SERIES;
        Self {
            shared: Arc::new(Shared::new(PathBuf::new())),
            dictionary: Dictionary::new(most, &[], 0),
            sequence: 0,
            last: None,
            skipped_prefix,
        }
    }

    /// Adds the next tick.
    pub fn record(&mut self, tick: &Tick) {
        let since = self.last.map(|last| tick.taken.since(last));
        if since.is_some_and(|since| since < LEAST_BETWEEN) {
            return;
        }
        self.last = Some(tick.taken);
        self.sequence += 1;
        let instant = Instant {
            at_ms: tick.at.0 / 1_000_000,
            covered_ms: since.map_or(0, |since| since.as_millis() as u64),
        };
        let sorted = self.dictionary.sort(tick, self.skipped_prefix, &mut |_| None);
        self.shared.counts.refuse(Refusal::SeriesLimit, sorted.refused);
        self.shared.counts.series.store(self.dictionary.len() as u64, Ordering::Relaxed);
        let mut open = self.shared.open_mut();
        open.frames.push_back(Arc::new(Frame::new(self.sequence, instant, &sorted.measured)));
        open.new_series.extend(sorted.new);
    }

    /// Says what subjects are called.
    pub fn set_names(&self, named: Vec<Named>) {
        self.shared.open_mut().named = named.into();
    }

    /// To be asked.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared)
    }
}
