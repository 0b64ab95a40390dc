//! Raw stacks as they arrive, each kept once, and how often each was seen.
//!
//! Contract: two stacks share an id only if tgid, kernel and user addresses are all equal: the whole
//! content is compared, so that no collision can drop or mix them. Both tables are bounded; what
//! finds no room is counted as lost under its own name.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::sync::Arc;

use super::document::Sample;
use super::waker::Waker;
use crate::symbol::{CodePlace, Frame, RawStack, Tgid, Tid};

/// Distinct stacks of one window. At 60 addresses each: 250 MB, which a window of a minute reaches
/// only if every sample at 99 Hz on 80 CPUs differs.
const STACKS_MAX: usize = 500_000;
/// Distinct combinations of stack, thread and container of one window.
const KEYS_MAX: usize = 1_000_000;
/// The reason of loss when one of the tables is full.
const TABLE_FULL: &str = "stack table full";

/// The place of a stack in a [`StackTable`]: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(u32);

impl StackId {
    /// The id as an index into what belongs to the stacks of the same table, in order.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Distinct stacks.
#[derive(Debug)]
pub struct StackTable {
    ids: HashMap<Arc<RawStack>, StackId>,
    stacks: Vec<Arc<RawStack>>,
    limit: usize,
}

impl Default for StackTable {
    fn default() -> Self {
        Self::bounded(STACKS_MAX)
    }
}

impl StackTable {
    /// A table for at most `limit` distinct stacks.
    pub fn bounded(limit: usize) -> Self {
        Self { ids: HashMap::new(), stacks: Vec::new(), limit }
    }

    /// The id of the stack, or `None` if it is new and the table is full.
    pub fn intern(&mut self, stack: RawStack) -> Option<StackId> {
        if let Some(known) = self.ids.get(&stack) {
            return Some(*known);
        }
        if self.stacks.len() >= self.limit {
            return None;
        }
        let id = StackId(u32::try_from(self.stacks.len()).ok()?);
        let stack = Arc::new(stack);
        self.stacks.push(Arc::clone(&stack));
        self.ids.insert(stack, id);
        Some(id)
    }

    /// All stacks; the one with id `i` is at `i`.
    pub fn stacks(&self) -> &[Arc<RawStack>] {
        &self.stacks
    }
}

/// Whose sample it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    /// The process, if the stack is not its own.
    pub process: Option<Tgid>,
    /// The thread, where it matters.
    pub tid: Option<Tid>,
    /// The name of the thread.
    pub comm: Arc<str>,
    /// The id of the container; `None` for what runs in none.
    pub container: Option<Arc<str>>,
    /// What it waited in, if it waited: `blocked.lock`, as in the metrics. What an event was: `disk.read`.
    pub state: Option<&'static str>,
    /// Whose the stack is instead, if it is that of who ended its wait.
    pub waker: Option<Waker>,
}

/// What is counted as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SampleKey {
    /// The stack.
    pub stack: StackId,
    /// Whose it is.
    pub whose: Whose,
}

/// How often, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Samples or events.
    pub count: u64,
    /// What they stand for: nanoseconds of time, bytes, or events.
    pub amount: u64,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.amount = self.amount.saturating_add(other.amount);
    }
}

/// The samples of one window, aggregated, with what was lost.
#[derive(Debug, Default)]
pub struct Samples {
    table: StackTable,
    weights: HashMap<SampleKey, Weight>,
    lost: BTreeMap<String, Weight>,
    drawn: Weight,
}

impl Samples {
    /// Notes that a sample stands for others too, of which it was drawn.
    pub fn note_drawn(&mut self, weight: Weight) {
        self.drawn += weight;
    }

    /// What stands for others too.
    pub fn drawn(&self) -> Weight {
        self.drawn
    }

    /// Adds a sample.
    pub fn record(&mut self, stack: RawStack, whose: Whose, weight: Weight) {
        let Some(stack) = self.table.intern(stack) else { return self.lose(TABLE_FULL, weight) };
        let key = SampleKey { stack, whose };
        if self.weights.len() >= KEYS_MAX && !self.weights.contains_key(&key) {
            return self.lose(TABLE_FULL, weight);
        }
        *self.weights.entry(key).or_default() += weight;
    }

    /// Notes that samples were lost, and why: a few words, such as `ring full`.
    pub fn lose(&mut self, reason: &str, weight: Weight) {
        if weight == Weight::default() {
            return;
        }
        if let Some(lost) = self.lost.get_mut(reason) {
            *lost += weight;
        } else {
            self.lost.insert(reason.to_owned(), weight);
        }
    }

    /// The distinct stacks, to be resolved in this order.
    pub fn stacks(&self) -> &[Arc<RawStack>] {
        self.table.stacks()
    }

    /// Each key with its weight, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&SampleKey, Weight)> {
        self.weights.iter().map(|(key, weight)| (key, *weight))
    }

    /// The ids of the containers that were sampled, some more than once.
    pub fn containers(&self) -> impl Iterator<Item = Arc<str>> {
        let of_waker = |key: &SampleKey| match &key.whose.waker {
            Some(Waker::Thread { container, .. }) => container.clone(),
            Some(Waker::Interrupt) | None => None,
        };
        self.weights
            .keys()
            .flat_map(move |key| [key.whose.container.clone(), of_waker(key)])
            .flatten()
    }

    /// What was lost, by reason.
    pub fn lost(&self) -> &BTreeMap<String, Weight> {
        &self.lost
    }

    /// The samples for which `keep` is true, with their frames and their places. `frames` and `places`
    /// hold what the symbol stage gave for [`Self::stacks`], in that order; a stack beyond their end
    /// has none.
    pub fn named(
        &self,
        frames: Vec<Vec<Frame>>,
        places: Vec<Vec<Option<CodePlace>>>,
        keep: impl Fn(&SampleKey, &RawStack) -> bool,
    ) -> Vec<Sample> {
        let frames: Vec<Arc<[Frame]>> = frames.into_iter().map(Arc::from).collect();
        let places: Vec<Arc<[Option<CodePlace>]>> = places.into_iter().map(Arc::from).collect();
        let (nothing, nowhere): (Arc<[Frame]>, Arc<_>) = (Arc::from([]), Arc::from([]));
        let stacks = self.table.stacks();
        let kept = self.weights.iter().filter(|(key, _)| keep(key, &stacks[key.stack.index()]));
        kept.map(|(key, weight)| Sample {
            tgid: key.whose.process.unwrap_or(stacks[key.stack.index()].tgid),
            tid: key.whose.tid,
            comm: Arc::clone(&key.whose.comm),
            container: key.whose.container.clone(),
            state: key.whose.state,
            waker: key.whose.waker.clone(),
            frames: Arc::clone(frames.get(key.stack.index()).unwrap_or(&nothing)),
            places: Arc::clone(places.get(key.stack.index()).unwrap_or(&nowhere)),
            weight: *weight,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::WalkEnd;

    fn stack(tgid: u32, kernel: &[u64], user: &[u64]) -> RawStack {
        RawStack {
            program: crate::symbol::Program::LATEST,
            tgid: Tgid(tgid),
            kernel: kernel.to_vec(),
            user: user.to_vec(),
            end: WalkEnd::Complete,
        }
    }

    fn whose(container: Option<&str>) -> Whose {
        let container = container.map(Arc::from);
        Whose {
            process: None,
            tid: Some(Tid(7)),
            comm: "a".into(),
            container,
            state: None,
            waker: None,
        }
    }

    #[test]
    fn stacks_differ_in_any_part() {
        let mut table = StackTable::default();
        let all = [
            stack(1, &[1], &[2]),
            stack(2, &[1], &[2]),
            stack(1, &[1, 2], &[]),
            stack(1, &[], &[1, 2]),
        ];
        let ids: Vec<_> = all.iter().map(|s| table.intern(s.clone()).unwrap().index()).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
        assert_eq!(table.intern(all[2].clone()).unwrap().index(), 2);
        assert_eq!(*table.stacks()[3], all[3]);
    }

    #[test]
    fn a_full_table_loses_by_name() {
        let mut samples = Samples { table: StackTable::bounded(1), ..Samples::default() };
        let one = Weight { count: 1, amount: 10 };
        for user in [1, 1, 2] {
            samples.record(stack(1, &[], &[user]), whose(None), one);
        }
        assert_eq!(samples.lost()[TABLE_FULL], one);
        let kept: Vec<_> = samples.iter().map(|(_, weight)| weight.count).collect();
        assert_eq!(kept, [2]);
    }

    #[test]
    fn selects_by_container() {
        let mut samples = Samples::default();
        let one = Weight { count: 1, amount: 10 };
        for container in [None, Some("web"), Some("db")] {
            samples.record(stack(1, &[], &[1]), whose(container), one);
        }
        let frames = vec![vec![Frame::Kernel { name: "f".into() }]];
        let web =
            samples.named(frames, vec![], |key, _| key.whose.container.as_deref() == Some("web"));
        assert_eq!(web.len(), 1);
        assert_eq!((web[0].tgid, web[0].tid, web[0].frames.len()), (Tgid(1), Some(Tid(7)), 1));
    }
}
