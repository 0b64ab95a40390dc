//! Interference on CPUs: for how long a container's threads waited while another's ran where they wanted to.
//!
//! Contract: the culprits of a container sum to the waits of its threads that have ended; `idle` is a CPU that had to wake up,
//! `unknown` what ran unseen or too long ago. A culprit is told by its id: names can come later. Culprits that are gone are added up as `ended`, so that the series of a host that starts
//! thousands of containers stay few.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_common::interference::{SLOT_IDLE, SLOT_UNKNOWN, slots_of};

use super::Owned;
use crate::{
    container::{Accounts, Container},
    metric::{Descriptor, Kind, Sample, Scope, Subject, Unit, Value},
    probe::Probes,
};

static WAITED_FOR: Descriptor = Descriptor {
    name: "cgscope_sched_waited_for_seconds_total",
    help: "Time its threads waited for a CPU while the culprit's threads ran there.",
    title: "waited for",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    scope: Scope::Container,
    labels: &["culprit_id"],
    source: "tracepoints sched:sched_switch, sched_wakeup, sched_wakeup_new",
    kernel_floor: "5.8",
};

/// What this part measures.
pub(super) static DESCRIPTORS: &[&Descriptor] = &[&WAITED_FOR];

/// How long a culprit that does nothing more is shown under its own name: as long as a container that has ended.
const SHOWN_AFTER_LAST: Duration = Duration::from_secs(300);

/// Culprits of one container that are shown by name; of more, those that stood still for longest become `ended`.
const MOST_CULPRITS: usize = 64;

/// Reads who waited for whom.
pub(super) struct Interference {
    /// Sums over CPUs at the last reading.
    before: HashMap<u64, u64>,
    accounts: Accounts<BTreeMap<Arc<str>, Culprit>>,
}

/// What is known of one culprit of one container.
#[derive(Debug)]
struct Culprit {
    waited_ns: u64,
    last: Instant,
}

impl Interference {
    pub fn new() -> Self {
        Self { before: HashMap::new(), accounts: Accounts::default() }
    }

    /// Adds what was waited since the last reading, and shows it.
    pub fn collect(&mut self, probes: &Probes, owned: &[Owned], samples: &mut Vec<Sample>) {
        let now = Instant::now();
        let sums = read(probes);
        let owners: HashMap<u32, &Arc<str>> = owned.iter().map(|o| (o.slot, &o.owner)).collect();
        for owner in owners.values() {
            self.accounts.of(owner, now);
        }
        for (&key, &sum) in &sums {
            let waited_ns = sum.saturating_sub(self.before.get(&key).copied().unwrap_or(0));
            let (waiter, culprit) = slots_of(key);
            let Some(waiter) = owners.get(&waiter).filter(|_| waited_ns > 0) else { continue };
            let culprit_id = owners.get(&culprit).map(|id| Arc::clone(id));
            let culprit_id = culprit_id.unwrap_or_else(|| nobody(culprit));
            let entry = self.accounts.of(waiter, now).entry(culprit_id);
            let entry = entry.or_insert(Culprit { waited_ns: 0, last: now });
            entry.waited_ns += waited_ns;
            entry.last = now;
        }
        self.before = sums;
        self.accounts.expire(now);
        for (owner, culprits) in self.accounts.iter_mut() {
            forget_old(culprits, now);
            samples.extend(culprits.iter().map(|(id, culprit)| Sample {
                metric: &WAITED_FOR,
                subject: Subject::Container(Arc::clone(owner)),
                labels: [Cow::Owned(id.to_string())].into(),
                value: Value::Counter(culprit.waited_ns),
            }));
        }
    }

    /// Frees the entries of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &Probes, slot: u32) {
        let is_of_it = |key: u64| {
            let (waiter, culprit) = slots_of(key);
            waiter == slot || culprit == slot
        };
        self.before.retain(|&key, _| !is_of_it(key));
        for index in 0..probes.wait_pairs.len() {
            let key = probes.wait_pairs.read(index).key;
            if key != 0 && is_of_it(key) {
                probes.wait_pairs.write(index, Default::default());
            }
        }
    }
}

/// Nanoseconds by pair, over all CPUs.
fn read(probes: &Probes) -> HashMap<u64, u64> {
    let mut sums = HashMap::new();
    for index in 0..probes.wait_pairs.len() {
        let pair = probes.wait_pairs.read(index);
        if pair.key != 0 {
            *sums.entry(pair.key).or_insert(0) += pair.waited_ns;
        }
    }
    sums
}

/// The id of who has no slot.
fn nobody(slot: u32) -> Arc<str> {
    match slot {
        SLOT_IDLE => "idle".into(),
        SLOT_UNKNOWN => "unknown".into(),
        _ => Container::unattributed().id.as_str().into(),
    }
}

/// Adds those that have stood still for long, and the eldest of too many, to `ended`.
fn forget_old(culprits: &mut BTreeMap<Arc<str>, Culprit>, now: Instant) {
    const ENDED: &str = "ended";
    let ended = culprits.remove(ENDED);
    let mut ended_ns = ended.map_or(0, |culprit| culprit.waited_ns);
    culprits.retain(|_, culprit| {
        let stays = now.duration_since(culprit.last) < SHOWN_AFTER_LAST;
        ended_ns += if stays { 0 } else { culprit.waited_ns };
        stays
    });
    while culprits.len() > MOST_CULPRITS {
        let eldest = culprits.iter().min_by_key(|(_, culprit)| culprit.last);
        let Some(eldest) = eldest.map(|(id, _)| Arc::clone(id)) else { break };
        ended_ns += culprits.remove(&eldest).map_or(0, |culprit| culprit.waited_ns);
    }
    if ended_ns > 0 {
        culprits.insert(ENDED.into(), Culprit { waited_ns: ended_ns, last: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn culprits_that_are_gone_are_added_up_and_nothing_is_lost() {
        let start = Instant::now();
        let culprit =
            |waited_ns, second| Culprit { waited_ns, last: start + Duration::from_secs(second) };
        let mut culprits: BTreeMap<Arc<str>, Culprit> = BTreeMap::new();
        for i in 0..100 {
            culprits.insert(format!("{i}").into(), culprit(i, i));
        }
        forget_old(&mut culprits, start + Duration::from_secs(310));
        assert_eq!(culprits.len(), MOST_CULPRITS + 1);
        assert!(culprits.contains_key("99") && !culprits.contains_key("10"));
        assert_eq!(culprits.values().map(|c| c.waited_ns).sum::<u64>(), 4_950);
        forget_old(&mut culprits, start + Duration::from_secs(1_000));
        assert_eq!(culprits.keys().map(|id| &**id).collect::<Vec<_>>(), ["ended"]);
        assert_eq!(culprits["ended"].waited_ns, 4_950);
    }
}
