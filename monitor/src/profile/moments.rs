//! Samples as they arrive, each with its instant: the raw form of [`Kept`].
//!
//! Contract: bounded; what finds no room is counted as lost under its own name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::kept::{Kept, KeptStack, KeptThread, KeptWindow, Moment};
use super::stacks::{StackTable, Weight, Whose};
use crate::symbol::{CodePlace, Frame, RawStack, Tgid};

/// Samples of one window: 10 s at 19 Hz of 5,000 CPUs.
const MOMENTS_MAX: usize = 1 << 20;
/// Distinct stacks of one window.
const STACKS_MAX: usize = 1 << 18;
/// The reason of loss when there is no more room.
const TABLE_FULL: &str = "stack table full";

/// The samples of one window, with what was lost.
#[derive(Debug)]
pub struct Moments {
    table: StackTable,
    threads: Vec<(Tgid, Whose)>,
    places: HashMap<(Tgid, Whose), u32>,
    moments: Vec<Moment>,
    lost: BTreeMap<String, Weight>,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            table: StackTable::bounded(STACKS_MAX),
            threads: vec![],
            places: HashMap::new(),
            moments: vec![],
            lost: BTreeMap::new(),
        }
    }
}

impl Moments {
    /// Adds a sample that was taken so long after the begin of the window. Which thread of its process it was is not kept: a
    /// number says nothing later.
    pub fn record(&mut self, after_ms: u32, stack: RawStack, whose: Whose, weight: Weight) {
        let key = (stack.tgid, Whose { tid: None, ..whose });
        let stack = (self.moments.len() < MOMENTS_MAX).then(|| self.table.intern(stack)).flatten();
        let Some(stack) = stack else { return self.lose(TABLE_FULL, weight) };
        let next = self.threads.len() as u32;
        let thread = *self.places.entry(key).or_insert_with_key(|key| {
            self.threads.push(key.clone());
            next
        });
        self.moments.push(Moment { after_ms, stack: stack.index() as u32, thread, weight });
    }

    /// Notes that samples were lost, and why.
    pub fn lose(&mut self, reason: &str, weight: Weight) {
        if weight != Weight::default() {
            *self.lost.entry(reason.to_owned()).or_default() += weight;
        }
    }

    /// Ends the window after so long: what was taken while it was being ended belongs to its last instant.
    pub fn end_at(&mut self, duration_ms: u32) {
        for moment in &mut self.moments {
            moment.after_ms = moment.after_ms.min(duration_ms.saturating_sub(1));
        }
    }

    /// The distinct stacks, to be resolved in this order.
    pub fn stacks(&self) -> &[Arc<RawStack>] {
        self.table.stacks()
    }

    /// The ids of the containers that were sampled.
    pub fn containers(&self) -> impl Iterator<Item = Arc<str>> {
        self.threads.iter().filter_map(|(_, whose)| whose.container.clone())
    }

    /// The window, with what the symbol stage gave for [`Self::stacks`] in that order.
    pub fn named(
        self,
        (started_ms, duration_ms): (u64, u32),
        frequency_hz: Option<u32>,
        frames: Vec<Vec<Frame>>,
        places: Vec<Vec<Option<CodePlace>>>,
        containers: BTreeMap<Arc<str>, String>,
    ) -> Kept {
        let Self { threads, mut moments, lost, .. } = self;
        // Of two CPUs one is read before the other.
        moments.sort_by_key(|moment| moment.after_ms);
        let stack = |(frames, mut places): (Vec<Frame>, Vec<Option<CodePlace>>)| {
            if places.iter().all(Option::is_none) {
                places.clear();
            }
            KeptStack { frames: frames.into(), places: places.into() }
        };
        let stacks: Vec<KeptStack> = frames.into_iter().zip(places).map(stack).collect();
        moments.retain(|moment| (moment.stack as usize) < stacks.len());
        let thread = |(tgid, whose): (Tgid, Whose)| {
            let Whose { comm, container, state, .. } = whose;
            KeptThread { tgid, comm, container, state }
        };
        let threads = threads.into_iter().map(thread).collect();
        let window = KeptWindow { started_ms, duration_ms, frequency_hz, lost, moments };
        // Once more into places: stacks that differ in addresses alone have one name each.
        let mut kept = Kept::default();
        kept.append([Kept { stacks, threads, containers, windows: vec![window] }]);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::{Program, Tid, WalkEnd};

    #[test]
    fn addresses_of_one_name_become_one_stack_and_time_is_put_in_order() {
        let mut moments = Moments::default();
        let one = Weight { count: 1, amount: 52_631_578 };
        for (after_ms, address, tid) in [(90, 1, 3), (20, 2, 4), (50, 9, 3)] {
            let stack = RawStack {
                program: Program::LATEST,
                tgid: Tgid(7),
                kernel: vec![address],
                user: vec![],
                end: WalkEnd::Complete,
            };
            let whose = Whose {
                process: None,
                tid: Some(Tid(tid)),
                comm: "a".into(),
                container: None,
                state: None,
                waker: None,
            };
            moments.record(after_ms, stack, whose, one);
        }
        moments.lose("ring full", one);
        let frames = ["f", "f", "g"].map(|name| vec![Frame::Kernel { name: name.into() }]);
        let kept = moments.named(
            (1_000, 10_000),
            Some(19),
            frames.into(),
            vec![vec![None]; 3],
            BTreeMap::new(),
        );
        assert_eq!((kept.stacks.len(), kept.threads.len()), (2, 1));
        let window = &kept.windows[0];
        assert_eq!(window.lost["ring full"], one);
        let order: Vec<_> = window.moments.iter().map(|m| (m.after_ms, m.stack)).collect();
        assert_eq!(order, [(20, 0), (50, 1), (90, 0)]);
    }
}
