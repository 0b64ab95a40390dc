//! The `memory` family: what each container's threads do for memory, and what cgroupfs says of it.
//!
//! Contract: totals are kept per owner, so that a recycled slot never takes its faults with it. A number whose program this
//! kernel refused, or whose file it lacks, is not shown at all.

mod descriptor;
mod files;
mod slot;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use monitor_common::memory::{MemoryCounter, MemoryWait, OomKey};

pub(super) use descriptor::DESCRIPTORS;
use descriptor::{COUNTERS, HIT_RATIO, HOST_HIT_RATIO, OOM_KILLS, WAITS};
use files::Files;
use slot::{Delta, Slot};

use super::Owned;
use crate::{
    container::{Accounts, Registry, limits::Changes},
    kernel::host::SourceStatus,
    metric::{
        Descriptor, LabelValues, Sample, Subject, Value,
        lanes::{self, Total},
    },
    probe::{Family, Probes},
};

/// Reads the family.
pub(super) struct Memory {
    /// Programs that are attached, by the name of their task.
    attached: Vec<&'static str>,
    slots: HashMap<u32, Slot>,
    /// Kills, when they were last read.
    kills: HashMap<OomKey, u64>,
    /// Of all.
    hit_ratio: HitRatio,
    accounts: Accounts<Account>,
    /// `None` when the family is off.
    files: Option<Files>,
}

/// What an owner has used so far.
#[derive(Default)]
struct Account {
    counters: [u64; MemoryCounter::COUNT],
    hit_ratio: HitRatio,
    /// Made when something is in them: most containers never wait for memory.
    waits: Total<{ MemoryWait::COUNT }>,
    /// Kills, by the id of the culprit: names can come later.
    kills: BTreeMap<Arc<str>, u64>,
}

/// The share of accesses that missed nothing, in the last tick that had some.
#[derive(Default)]
struct HitRatio {
    /// Of read calls, since it was last shown.
    accesses: u64,
    misses: u64,
    last: Option<f64>,
}

impl Memory {
    pub fn new(probes: &Probes) -> Self {
        let mut of_family =
            probes.programs.iter().filter(|p| p.family == Family::Memory).peekable();
        let files = of_family.peek().map(|_| Files::new());
        let attached = of_family.filter(|program| program.hook.is_some());
        Self {
            attached: attached.map(|p| p.name.strip_suffix("_raw").unwrap_or(p.name)).collect(),
            slots: HashMap::new(),
            kills: HashMap::new(),
            hit_ratio: HitRatio::default(),
            accounts: Accounts::default(),
            files,
        }
    }

    /// Adds what happened since the last reading to the accounts, and shows them.
    pub fn collect(
        &mut self,
        probes: &Probes,
        registry: &Registry,
        changes: &mut Changes,
        owned: &[Owned],
        samples: &mut Vec<Sample>,
    ) {
        let Some(files) = &mut self.files else { return };
        let now = Instant::now();
        let mut owners = HashMap::new();
        for Owned { slot, owner } in owned {
            owners.insert(*slot, owner);
            let memory = self.slots.entry(*slot).or_default();
            let delta = memory.advance(probes, *slot);
            if !delta.is_empty() {
                files.note_active(owner);
            }
            if memory.is_used() {
                self.accounts.of(owner, now).add(&delta);
                self.hit_ratio.add(&delta);
            }
        }
        files.collect(registry, changes, now, samples);
        self.read_kills(probes, &owners, now);
        self.accounts.expire(now);
        let is_victim_known = probes.tunables.victim_is_task != 0;
        for (owner, account) in self.accounts.iter_mut() {
            let subject = Subject::Container(Arc::clone(owner));
            account.show(&self.attached, is_victim_known, &subject, samples);
        }
        if let Some(ratio) = self.hit_ratio.take().filter(|_| has_hit_ratio(&self.attached)) {
            samples.push(Sample {
                metric: &HOST_HIT_RATIO,
                subject: Subject::Host,
                labels: LabelValues::default(),
                value: Value::Gauge(ratio),
            });
        }
    }

    fn read_kills(&mut self, probes: &Probes, owners: &HashMap<u32, &Arc<str>>, now: Instant) {
        for (key, total) in probes.memory.kills() {
            // A slot given just now has its owner the next time.
            let (Some(victim), Some(culprit)) = (owners.get(&key.victim), owners.get(&key.culprit))
            else {
                continue;
            };
            let before = self.kills.insert(key, total).unwrap_or(0);
            if total == before {
                continue;
            }
            let kills = &mut self.accounts.of(victim, now).kills;
            *kills.entry(Arc::clone(culprit)).or_default() += total - before;
        }
    }

    /// How the cgroup files are read.
    pub fn source(&self) -> SourceStatus {
        files::source(self.files.as_ref())
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &mut Probes, slot: u32) {
        if self.files.is_none() {
            return;
        }
        self.slots.remove(&slot);
        self.kills.retain(|key, _| key.victim != slot && key.culprit != slot);
        slot::zero(probes, slot);
        probes.memory.forget_kills(slot);
    }
}

impl Account {
    fn add(&mut self, delta: &Delta) {
        self.counters.iter_mut().zip(delta.counters).for_each(|(total, added)| *total += added);
        self.hit_ratio.add(delta);
        lanes::add(&mut self.waits, &delta.waits);
    }

    fn show(
        &mut self,
        attached: &[&str],
        is_victim_known: bool,
        subject: &Subject,
        samples: &mut Vec<Sample>,
    ) {
        let mut push = |metric: &'static Descriptor, labels: &[&'static str], value| {
            let labels = labels.iter().map(|&label| Cow::Borrowed(label)).collect();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        for ((metric, labels, program), total) in COUNTERS.iter().zip(self.counters) {
            if attached.contains(program) {
                push(metric, labels, Value::Counter(total));
            }
        }
        if let Some(ratio) = self.hit_ratio.take().filter(|_| has_hit_ratio(attached)) {
            push(&HIT_RATIO, &[], Value::Gauge(ratio));
        }
        for ((metric, labels, program), histogram) in WAITS.iter().zip(&self.waits) {
            if let Some(histogram) = histogram.as_ref().filter(|_| attached.contains(program)) {
                push(metric, labels, Value::Distribution(Arc::clone(histogram)));
            }
        }
        if is_victim_known && attached.contains(&"memory_oom") {
            for (culprit, kills) in &self.kills {
                samples.push(Sample {
                    metric: &OOM_KILLS,
                    subject: subject.clone(),
                    labels: [Cow::Owned(culprit.to_string())].into(),
                    value: Value::Counter(*kills),
                });
            }
        }
    }
}

fn has_hit_ratio(attached: &[&str]) -> bool {
    attached.contains(&"memory_cache_read") && attached.contains(&"memory_cache_add")
}

impl HitRatio {
    fn add(&mut self, delta: &Delta) {
        self.accesses += delta.counters[MemoryCounter::CacheAccessesRead as usize];
        self.misses += delta.counters[MemoryCounter::CacheMissesRead as usize];
    }

    /// That of what was added since the last time, or what it was then. More pages may be read ahead than were asked for.
    fn take(&mut self) -> Option<f64> {
        let (accesses, misses) = (self.accesses, self.misses);
        (self.accesses, self.misses) = (0, 0);
        if accesses > 0 {
            self.last = Some(accesses.saturating_sub(misses) as f64 / accesses as f64);
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_ratio_is_never_negative() {
        let mut ratio = HitRatio::default();
        let mut of = |accesses, misses| {
            (ratio.accesses, ratio.misses) = (accesses, misses);
            ratio.take()
        };
        assert_eq!(of(0, 0), None);
        assert_eq!(of(0, 5), None, "nobody asked");
        assert_eq!(of(8, 2), Some(0.75));
        assert_eq!(of(0, 0), Some(0.75), "what it was");
        assert_eq!(of(8, 32), Some(0.0), "read ahead");
    }
}
