//! Samples with their instants, named: what is kept of a recording that never ends, so that any part of it can be drawn later.
//!
//! Contract: stacks and threads are each there once, however many windows share them; a moment names both by place.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use super::document::Sample;
use super::stacks::Weight;
use crate::symbol::{CodePlace, Frame, Tgid};

/// Windows that follow each other, and what their samples are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Distinct stacks.
    pub stacks: Vec<KeptStack>,
    /// Distinct threads, by name rather than by number.
    pub threads: Vec<KeptThread>,
    /// The names of containers, by id, where known.
    pub containers: BTreeMap<Arc<str>, String>,
    /// The windows.
    pub windows: Vec<KeptWindow>,
}

/// A named stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptStack {
    /// Root first.
    pub frames: Arc<[Frame]>,
    /// Where the code of each frame lies; empty where nobody looked.
    pub places: Arc<[Option<CodePlace>]>,
}

/// Whose a sample is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptThread {
    /// The process.
    pub tgid: Tgid,
    /// The name of the thread.
    pub comm: Arc<str>,
    /// The id of the container; `None` for what runs in none.
    pub container: Option<Arc<str>>,
    /// What it waited in, if it waited.
    pub state: Option<&'static str>,
}

/// A stretch of time without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptWindow {
    /// Wall time of its begin, ms since 1970.
    pub started_ms: u64,
    /// Its length.
    pub duration_ms: u32,
    /// Samples a second and CPU; `None` where each event is taken.
    pub frequency_hz: Option<u32>,
    /// What is missing, by reason.
    pub lost: BTreeMap<String, Weight>,
    /// The samples, in the order of time.
    pub moments: Vec<Moment>,
}

/// Samples of one thread and stack at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// How long after the begin of its window.
    pub after_ms: u32,
    /// Its place in [`Kept::stacks`].
    pub stack: u32,
    /// Its place in [`Kept::threads`].
    pub thread: u32,
    /// How often, and how long.
    pub weight: Weight,
}

impl KeptWindow {
    /// When it ended, ms since 1970.
    pub fn ended_ms(&self) -> u64 {
        self.started_ms.saturating_add(self.duration_ms.into())
    }

    /// The part of it that lies in a range, ms since 1970.
    pub fn within(&self, range: &Range<u64>) -> Range<u64> {
        let start = self.started_ms.clamp(range.start, range.end.max(range.start));
        start..self.ended_ms().min(range.end).max(start)
    }

    /// The samples in a range, with their instants, ms since 1970.
    pub fn moments_in(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Moment)> {
        let moments = self.moments.iter();
        let at = |moment: &Moment| self.started_ms.saturating_add(moment.after_ms.into());
        let range = range.clone();
        moments.map(move |moment| (at(moment), moment)).filter(move |(at, _)| range.contains(at))
    }
}

impl Kept {
    /// Appends what another holds. Windows are in the order of time if theirs come after ours.
    pub fn append(&mut self, others: impl IntoIterator<Item = Self>) {
        let mut stacks = Places::of(&self.stacks);
        let mut threads = Places::of(&self.threads);
        for other in others {
            let new_stacks: Vec<u32> =
                other.stacks.into_iter().map(|s| stacks.place(&mut self.stacks, s)).collect();
            let new_threads: Vec<u32> =
                other.threads.into_iter().map(|t| threads.place(&mut self.threads, t)).collect();
            self.containers.extend(other.containers);
            self.windows.extend(other.windows.into_iter().map(|mut window| {
                for moment in &mut window.moments {
                    moment.stack = new_stacks[moment.stack as usize];
                    moment.thread = new_threads[moment.thread as usize];
                }
                window
            }));
        }
    }

    /// Which threads are wanted, given with the names of their containers.
    pub fn choose(&self, keep: impl Fn(&KeptThread, Option<&str>) -> bool) -> Vec<bool> {
        let name = |thread: &KeptThread| {
            thread.container.as_ref().and_then(|id| self.containers.get(id)).map(String::as_str)
        };
        self.threads.iter().map(|thread| keep(thread, name(thread))).collect()
    }

    /// The samples in a range of the chosen threads, each stack and thread once.
    pub fn samples(&self, range: &Range<u64>, kept: &[bool]) -> Vec<Sample> {
        let mut weights: HashMap<(u32, u32), Weight> = HashMap::new();
        for (_, moment) in self.windows.iter().flat_map(|window| window.moments_in(range)) {
            if kept[moment.thread as usize] {
                *weights.entry((moment.stack, moment.thread)).or_default() += moment.weight;
            }
        }
        let sample = |((stack, thread), weight): ((u32, u32), Weight)| {
            let stack = &self.stacks[stack as usize];
            let KeptThread { tgid, comm, container, state } = self.threads[thread as usize].clone();
            let frames = Arc::clone(&stack.frames);
            let places = Arc::clone(&stack.places);
            Sample { tgid, tid: None, comm, container, state, waker: None, frames, places, weight }
        };
        weights.into_iter().map(sample).collect()
    }
}

/// Where each thing of a list is.
struct Places<T>(HashMap<T, u32>);

impl<T: Clone + Eq + Hash> Places<T> {
    fn of(list: &[T]) -> Self {
        Self(list.iter().cloned().zip(0..).collect())
    }

    /// Its place, at the end of the list if it is new.
    fn place(&mut self, list: &mut Vec<T>, item: T) -> u32 {
        *self.0.entry(item).or_insert_with_key(|item| {
            list.push(item.clone());
            list.len() as u32 - 1
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A window of one sample a second: `names[i]` at `i` seconds.
    pub fn window(started_ms: u64, container: &str, names: &[&str]) -> Kept {
        let mut kept = Kept::default();
        let stack = |name: &&str| {
            let frames =
                [Frame::Kernel { name: "entry".into() }, Frame::Kernel { name: (*name).into() }];
            KeptStack { frames: Arc::from(frames), places: Arc::from([]) }
        };
        let mut places = Places::of(&[]);
        let stacks: Vec<u32> =
            names.iter().map(stack).map(|stack| places.place(&mut kept.stacks, stack)).collect();
        let container = Some(Arc::from(container));
        kept.threads.push(KeptThread {
            tgid: Tgid(7),
            comm: "worker".into(),
            container,
            state: None,
        });
        let weight = Weight { count: 1, amount: 1_000_000_000 };
        let moments = (0..).zip(stacks);
        let moments =
            moments.map(|(i, stack)| Moment { after_ms: i * 1_000, stack, thread: 0, weight });
        kept.windows.push(KeptWindow {
            started_ms,
            duration_ms: names.len() as u32 * 1_000,
            frequency_hz: Some(1),
            lost: BTreeMap::new(),
            moments: moments.collect(),
        });
        kept
    }

    fn counts(samples: &[Sample]) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sample in samples {
            let Some(Frame::Kernel { name }) = sample.frames.last() else { panic!("{sample:?}") };
            *counts.entry(name.to_string()).or_default() += sample.weight.count;
        }
        counts
    }

    #[test]
    fn windows_that_are_joined_share_stacks_and_keep_their_samples() {
        let mut joined = Kept::default();
        joined.append([window(10_000, "web", &["a", "b", "a"]), window(13_000, "db", &["b", "c"])]);
        assert_eq!((joined.stacks.len(), joined.threads.len(), joined.windows.len()), (3, 2, 2));
        let all = counts(&joined.samples(&(0..u64::MAX), &[true; 2]));
        assert_eq!(all, [("a".into(), 2), ("b".into(), 2), ("c".into(), 1)].into());
        joined.containers.insert("db".into(), "shop/db".into());
        let of_db = joined.choose(|_, name| name == Some("shop/db"));
        let db = counts(&joined.samples(&(0..u64::MAX), &of_db));
        assert_eq!(db, [("b".into(), 1), ("c".into(), 1)].into());
    }

    #[test]
    fn a_range_takes_what_lies_in_it() {
        let kept = window(10_000, "web", &["a", "b", "c", "d"]);
        let some = counts(&kept.samples(&(11_000..13_000), &[true]));
        assert_eq!(some, [("b".into(), 1), ("c".into(), 1)].into());
        assert_eq!(kept.windows[0].within(&(11_000..90_000)), 11_000..14_000);
        assert!(kept.windows[0].within(&(20_000..30_000)).is_empty());
        assert!(kept.windows[0].within(&(0..5_000)).is_empty());
    }
}
