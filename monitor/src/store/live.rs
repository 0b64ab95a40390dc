//! The last ticks in memory, and a signal for each new one.
//!
//! Contract: bounded by [`Live::KEPT_TICKS`]; readers never hold up the collector.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::broadcast;

use crate::metric::{KtimeNs, Tick};

/// Shared by the collector, which adds, and everyone who reads.
#[derive(Clone, Debug)]
pub struct Live {
    ticks: Arc<RwLock<VecDeque<Arc<Tick>>>>,
    added: broadcast::Sender<Arc<Tick>>,
    /// Where no tick comes any more, those that were before.
    older: Option<Arc<dyn OlderTicks>>,
}

/// Ticks that are not in memory.
pub trait OlderTicks: Debug + Send + Sync {
    /// The newest that was taken by then, or the first of all if that was later.
    fn at(&self, taken: KtimeNs) -> Option<Arc<Tick>>;
}

impl Default for Live {
    fn default() -> Self {
        Self { ticks: Arc::default(), added: broadcast::channel(16).0, older: None }
    }
}

impl Live {
    /// Two minutes at one tick a second.
    pub const KEPT_TICKS: usize = 120;

    /// Of a time that is over: whoever asks for more than is in memory gets it from `older`, and nobody waits.
    pub fn over(older: Arc<dyn OlderTicks>) -> Self {
        Self { older: Some(older), ..Self::default() }
    }

    /// Whether no tick comes any more.
    pub fn is_over(&self) -> bool {
        self.older.is_some()
    }

    /// Adds the newest tick.
    pub fn add(&self, tick: Tick) {
        self.add_shared(Arc::new(tick));
    }

    /// Adds the newest tick, which others have as well.
    pub fn add_shared(&self, tick: Arc<Tick>) {
        let mut ticks = self.ticks.write().unwrap_or_else(PoisonError::into_inner);
        if ticks.len() == Self::KEPT_TICKS {
            ticks.pop_front();
        }
        ticks.push_back(Arc::clone(&tick));
        drop(ticks);
        // No receiver is no error: nobody watches.
        let _ = self.added.send(tick);
    }

    /// The newest tick.
    pub fn latest(&self) -> Option<Arc<Tick>> {
        self.ticks.read().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    /// The newest tick and the one that is at least `span` older, or the oldest kept; `None` until there are two.
    pub fn window(&self, span: Duration) -> Option<(Arc<Tick>, Arc<Tick>)> {
        let ticks = self.ticks.read().unwrap_or_else(PoisonError::into_inner);
        let last = ticks.back()?;
        let first =
            ticks.iter().rev().skip(1).find(|tick| last.taken.since(tick.taken) >= span).cloned();
        let older = || {
            let begin = last.taken.0.saturating_sub(span.as_nanos() as u64);
            self.older.as_ref()?.at(KtimeNs(begin))
        };
        let first = first.or_else(older).or_else(|| ticks.front().cloned());
        let first = first.filter(|first| first.taken != last.taken)?;
        Some((first, Arc::clone(last)))
    }

    /// The ticks in memory of the last `span`, the oldest first; the newest at least.
    pub fn last(&self, span: Duration) -> Vec<Arc<Tick>> {
        let ticks = self.ticks.read().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = ticks.back() else { return vec![] };
        let is_in = |tick: &&Arc<Tick>| last.taken.since(tick.taken) <= span;
        ticks.iter().filter(is_in).cloned().collect()
    }

    /// Every tick from now on; a slow reader is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Tick>> {
        self.added.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::WallTimeNs;

    fn tick(second: u64) -> Tick {
        Tick::new(WallTimeNs(second), KtimeNs(second * 1_000_000_000), vec![])
    }

    #[test]
    fn a_window_spans_at_least_what_was_asked_or_all_there_is() {
        let live = Live::default();
        assert!(live.window(Duration::from_secs(1)).is_none());
        (0..10).for_each(|s| live.add(tick(s)));
        let (first, last) = live.window(Duration::from_secs(3)).unwrap();
        assert_eq!((first.at.0, last.at.0), (6, 9));
        let (first, _) = live.window(Duration::from_secs(100)).unwrap();
        assert_eq!(first.at.0, 0);
        let last = |seconds| live.last(Duration::from_secs(seconds)).len();
        assert_eq!([last(0), last(3), last(100)], [1, 4, 10]);
    }

    #[test]
    fn memory_is_bounded() {
        let live = Live::default();
        (0..1_000).for_each(|s| live.add(tick(s)));
        let (first, last) = live.window(Duration::from_secs(10_000)).unwrap();
        assert_eq!(last.at.0 - first.at.0, Live::KEPT_TICKS as u64 - 1);
    }
}
