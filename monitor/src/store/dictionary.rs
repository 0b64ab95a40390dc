//! Which series a sample belongs to, and what it gained since the tick before.
//!
//! Contract: the first tick of a daemon only sets the start of each counter, since what came before was counted by another or
//! not at all; a series that appears later began at 0 with its subject. A total that falls began anew. The number of series
//! is bounded; what is over the bound is refused and counted.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    database::SeriesRow,
    frame::Measured,
    id::{GROUP_SERIES, GroupId, SeriesId, code},
    point::Gain,
};
use crate::metric::{Descriptor, Histogram, Kind, LabelValues, SampleRef, Subject, Tick, Value};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    metric: &'static str,
    subject: Subject,
    labels: LabelValues,
}

/// The total at the tick before.
#[derive(Clone, Debug)]
enum Before {
    Unknown,
    Counter(u64),
    Distribution(Arc<Histogram>),
}

#[derive(Debug)]
struct Entry {
    metric: &'static Descriptor,
    subject: Subject,
    labels: LabelValues,
    id: SeriesId,
    before: Before,
    /// The series that came next in the tick before: it does so again unless something is born or dies.
    next: usize,
    /// The tick it was last in.
    seen: u64,
}

/// Looks a series up among those stored earlier.
pub type Find<'a> = &'a mut dyn FnMut(SampleRef<'_>) -> Option<SeriesId>;

/// A tick in the order of its series.
#[derive(Debug, Default)]
pub struct Sorted {
    /// What was measured.
    pub measured: Vec<(SeriesId, Measured)>,
    /// Series that were never stored.
    pub new: Vec<SeriesRow>,
    /// Samples that found no room.
    pub refused: u64,
}

/// All series of the last ticks.
#[derive(Debug)]
pub struct Dictionary {
    entries: Vec<Entry>,
    index: HashMap<Key, usize>,
    first: usize,
    ticks: u64,
    max_series: usize,
    /// Series that were ever given out, and are still in the file.
    known: usize,
    next_ordinal: u32,
    /// The group of each kind that has room, and its slots taken.
    filling: [Option<(GroupId, u32)>; 3],
}

/// Series in the file for each that may live: what is refused beyond is the same as over the limit of the living.
const KNOWN_PER_LIVING: usize = 8;

impl Dictionary {
    /// Of at most `max_series` series at a time. `stored` has the highest series of each group.
    pub fn new(max_series: usize, stored: &[SeriesId], known: usize) -> Self {
        let mut filling = [None; 3];
        for id in stored {
            if let Some(kind) = id.group().kind() {
                filling[code(kind) as usize] = Some((id.group(), id.slot() + 1));
            }
        }
        let next_ordinal = stored.iter().map(|id| id.group().ordinal() + 1).max().unwrap_or(0);
        Self {
            entries: vec![],
            index: HashMap::new(),
            first: 0,
            ticks: 0,
            max_series,
            known,
            next_ordinal,
            filling,
        }
    }

    /// Series that were in the last ticks.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sets how many series the file has.
    pub fn set_known(&mut self, known: usize) {
        self.known = known;
    }

    /// Sorts a tick. Subjects that begin with `skipped` are left out.
    pub fn sort(&mut self, tick: &Tick, skipped: Option<&str>, find: Find<'_>) -> Sorted {
        let mut sorted = Sorted { measured: Vec::with_capacity(tick.len()), ..Sorted::default() };
        let is_first = self.ticks == 0;
        self.ticks += 1;
        let mut previous: Option<usize> = None;
        for sample in tick.samples() {
            if let (Subject::Container(id), Some(skipped)) = (sample.subject, skipped)
                && id.starts_with(skipped)
            {
                continue;
            }
            let expected = previous.map_or(self.first, |at| self.entries[at].next);
            let at = match self.entries.get(expected) {
                Some(entry) if entry.is_of(sample) => expected,
                _ => match self.place(sample, is_first, find, &mut sorted.new) {
                    Some(at) => at,
                    None => {
                        sorted.refused += 1;
                        continue;
                    }
                },
            };
            match previous {
                Some(previous) => self.entries[previous].next = at,
                None => self.first = at,
            }
            previous = Some(at);
            let entry = &mut self.entries[at];
            // What is the same memory need not be compared in the next tick.
            if !Arc::ptr_eq(&entry.labels, sample.labels) {
                entry.labels = Arc::clone(sample.labels);
            }
            // The same series twice in a tick is a fault of the collector; the second is left out.
            if std::mem::replace(&mut entry.seen, self.ticks) == self.ticks {
                continue;
            }
            if let Some(measured) = entry.measure(sample.value) {
                sorted.measured.push((entry.id, measured));
            }
        }
        if !sorted.measured.is_sorted_by_key(|(id, _)| *id) {
            sorted.measured.sort_by_key(|(id, _)| *id);
        }
        sorted
    }

    /// Lets go of series that were not in the last `ticks` ticks.
    pub fn forget_older_than(&mut self, ticks: u64) {
        let since = self.ticks.saturating_sub(ticks);
        if self.entries.iter().all(|entry| entry.seen > since) {
            return;
        }
        self.entries.retain(|entry| entry.seen > since);
        self.index = self.entries.iter().enumerate().map(|(at, e)| (e.key(), at)).collect();
        // The order of the tick before is lost with the places; one tick finds it again.
        self.entries.iter_mut().enumerate().for_each(|(at, entry)| entry.next = at + 1);
        self.first = 0;
    }

    /// The entry of a sample that did not come where it was expected.
    fn place(
        &mut self,
        sample: SampleRef<'_>,
        is_first: bool,
        find: Find<'_>,
        new: &mut Vec<SeriesRow>,
    ) -> Option<usize> {
        let key = Key {
            metric: sample.metric.name,
            subject: sample.subject.clone(),
            labels: sample.labels.clone(),
        };
        if let Some(&at) = self.index.get(&key)
            && self.entries[at].metric.kind == sample.metric.kind
        {
            return Some(at);
        }
        if self.entries.len() >= self.max_series {
            return None;
        }
        let found = find(sample);
        if found.is_none() && self.known >= self.max_series * KNOWN_PER_LIVING {
            return None;
        }
        let begins_now = found.is_none() && !is_first;
        let id = found.or_else(|| self.take_id(sample.metric.kind))?;
        if found.is_none() {
            self.known += 1;
            new.push(row(id, sample));
        }
        let before = match sample.metric.kind {
            Kind::Counter if begins_now => Before::Counter(0),
            Kind::Distribution if begins_now => Before::Distribution(Arc::default()),
            _ => Before::Unknown,
        };
        let at = self.entries.len();
        self.entries.push(Entry {
            metric: sample.metric,
            subject: sample.subject.clone(),
            labels: sample.labels.clone(),
            id,
            before,
            next: at + 1,
            seen: 0,
        });
        self.index.insert(key, at);
        Some(at)
    }

    fn take_id(&mut self, kind: Kind) -> Option<SeriesId> {
        let filling = &mut self.filling[code(kind) as usize];
        match filling {
            Some((group, slots)) if *slots < GROUP_SERIES => {
                *slots += 1;
                Some(SeriesId::new(*group, *slots - 1))
            }
            _ => {
                let group = GroupId::new(self.next_ordinal, kind);
                // 2^25 groups: at 50,000 new series an hour, after 1,500 years.
                self.next_ordinal = self.next_ordinal.checked_add(1).filter(|&n| n < 1 << 25)?;
                *filling = Some((group, 1));
                Some(SeriesId::new(group, 0))
            }
        }
    }
}

impl Entry {
    fn is_of(&self, sample: SampleRef<'_>) -> bool {
        let same_subject = match (&self.subject, sample.subject) {
            (Subject::Container(a), Subject::Container(b)) => Arc::ptr_eq(a, b) || a == b,
            (a, b) => a == b,
        };
        std::ptr::eq(self.metric, sample.metric) && same_subject && self.labels == *sample.labels
    }

    fn key(&self) -> Key {
        Key { metric: self.metric.name, subject: self.subject.clone(), labels: self.labels.clone() }
    }

    /// What came since the tick before; `None` when that is not known.
    fn measure(&mut self, value: &Value) -> Option<Measured> {
        match value {
            Value::Gauge(value) => Some(Measured::Gauge(*value)),
            &Value::Counter(total) => {
                match std::mem::replace(&mut self.before, Before::Counter(total)) {
                    Before::Counter(before) => {
                        Some(Measured::Counter(total.checked_sub(before).unwrap_or(total)))
                    }
                    _ => None,
                }
            }
            Value::Distribution(total) => {
                let now = Before::Distribution(Arc::clone(total));
                match std::mem::replace(&mut self.before, now) {
                    Before::Distribution(before) if Arc::ptr_eq(&before, total) => {
                        Some(Measured::Distribution(Gain { count: 1, ..Gain::default() }))
                    }
                    Before::Distribution(before) => {
                        Some(Measured::Distribution(Gain::between(total, Some(&before))))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// What is stored of the series of a sample.
fn row(id: SeriesId, sample: SampleRef<'_>) -> SeriesRow {
    SeriesRow {
        id,
        metric: sample.metric.name.to_owned(),
        unit: sample.metric.unit,
        label_names: sample.metric.labels.iter().map(|&label| label.to_owned()).collect(),
        subject: subject_text(sample.subject).to_owned(),
        labels: sample.labels.iter().map(|label| label.clone().into_owned()).collect(),
    }
}

/// A subject as it is stored: the host is the empty text.
pub fn subject_text(subject: &Subject) -> &str {
    match subject {
        Subject::Host => "",
        Subject::Container(id) => id,
    }
}

#[cfg(test)]
#[path = "dictionary_tests.rs"]
mod tests;
