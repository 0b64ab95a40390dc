//! Interference on CPUs: for how long a container's threads waited while another's ran where they wanted to.
//!
//! Contract: the culprits of a container sum to the waits of its threads that have ended; `idle` is a CPU that had to wake up,
//! `unknown` what ran unseen or too long ago. A culprit is told by its id: names can come later. Culprits that are gone are added up as `ended`, so that the series of a host that starts
//! thousands of containers stay few.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use monitor_common::interference::{SLOT_IDLE, SLOT_UNKNOWN, slots_of};

use super::Owned;
use crate::{
    container::{Accounts, Container, Culprits},
    metric::{Descriptor, Sample, Subject, Value, descriptor},
    probe::Probes,
};

descriptor!(
    static WAITED_FOR,
    "cgscope_sched_waited_for_seconds_total",
    "waited for",
    Seconds,
    Counter,
    Container,
    &["culprit_id"],
    "tracepoints sched:sched_switch, sched_wakeup, sched_wakeup_new",
    "5.8",
    "Time its threads waited for a CPU while the culprit's threads ran there."
);

/// What this part measures.
pub(super) static DESCRIPTORS: &[&Descriptor] = &[&WAITED_FOR];

/// Reads who waited for whom.
pub(super) struct Interference {
    /// Sums over CPUs at the last reading.
    before: HashMap<u64, u64>,
    accounts: Accounts<Culprits>,
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
            self.accounts.of(waiter, now).add(culprit_id, waited_ns, now);
        }
        self.before = sums;
        self.accounts.expire(now);
        for (owner, culprits) in self.accounts.iter_mut() {
            culprits.forget_old(now);
            samples.extend(culprits.iter().map(|(id, waited_ns)| Sample {
                metric: &WAITED_FOR,
                subject: Subject::Container(Arc::clone(owner)),
                labels: [Cow::Owned(id.to_string())].into(),
                value: Value::Counter(waited_ns),
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
