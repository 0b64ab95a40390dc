//! The `tcp` family: what the sockets of each container send, receive and lose.
//!
//! Contract: totals are kept per owner, so that a recycled slot never takes its bytes with it. A container is shown from its
//! first use of the network on; a number whose program this kernel refused is not shown at all.

mod descriptor;
mod slot;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use monitor_common::{
    sched::SLOT_UNATTRIBUTED,
    tcp::{PacketDropKey, STATE_NAMES, STATES, TcpCounter, TcpLatency},
};

pub(super) use descriptor::DESCRIPTORS;
use descriptor::{CONNECT_LATENCY, DNS, DNS_LATENCY, PACKET_DROPS, ROUND_TRIP, SERIES, SOCKETS};
use slot::{Delta, Slot};

use super::Owned;
use crate::{
    container::Accounts,
    metric::{Descriptor, Histogram, Sample, Subject, Value},
    probe::{Family, Probes},
};

/// In the order of [`TcpLatency`], with the program that records each.
static LATENCIES: [(&Descriptor, &str); TcpLatency::COUNT] =
    [(&CONNECT_LATENCY, "tcp_state"), (&ROUND_TRIP, "tcp_send"), (&DNS_LATENCY, "tcp_receive")];

/// Reads the family.
pub(super) struct Tcp {
    /// Programs that are attached, by the name of their task.
    attached: Vec<&'static str>,
    slots: HashMap<u32, Slot>,
    /// Packets dropped, when they were last read.
    drops: HashMap<PacketDropKey, u64>,
    accounts: Accounts<Account>,
}

/// What an owner has used so far.
#[derive(Default)]
struct Account {
    counters: [u64; TcpCounter::COUNT],
    /// Sockets now.
    states: [u64; STATES],
    latencies: [Arc<Histogram>; TcpLatency::COUNT],
    drops: BTreeMap<String, u64>,
}

impl Tcp {
    pub fn new(probes: &Probes) -> Self {
        let of_family = probes.programs.iter().filter(|program| program.family == Family::Tcp);
        let attached = of_family.filter(|program| program.hook.is_some());
        Self {
            attached: attached.map(|p| p.name.strip_suffix("_raw").unwrap_or(p.name)).collect(),
            slots: HashMap::new(),
            drops: HashMap::new(),
            accounts: Accounts::default(),
        }
    }

    fn has(&self, program: &str) -> bool {
        self.attached.contains(&program)
    }

    /// Adds what happened since the last reading to the accounts, and shows them.
    pub fn collect(&mut self, probes: &Probes, owned: &[Owned], samples: &mut Vec<Sample>) {
        if self.attached.is_empty() {
            return;
        }
        let now = Instant::now();
        for (_, account) in self.accounts.iter_mut() {
            account.states = Default::default();
        }
        let mut owners = HashMap::new();
        for Owned { slot, owner } in owned {
            owners.insert(*slot, owner);
            let memory = self.slots.entry(*slot).or_default();
            let delta = memory.advance(probes, *slot);
            if memory.is_used() {
                self.accounts.of(owner, now).add(&delta, memory);
            }
        }
        if self.has("tcp_packet_drop") {
            self.read_drops(probes, &owners, now);
        }
        self.accounts.expire(now);
        let Self { attached, accounts, .. } = self;
        for (owner, account) in accounts.iter_mut() {
            account.show(attached, &Subject::Container(Arc::clone(owner)), samples);
        }
    }

    fn read_drops(&mut self, probes: &Probes, owners: &HashMap<u32, &Arc<str>>, now: Instant) {
        for (key, total) in probes.tcp.packet_drops() {
            // A slot given just now has its owner the next time.
            let Some(owner) = owners.get(&key.slot) else { continue };
            let before = self.drops.insert(key, total).unwrap_or(0);
            let account = self.accounts.of(owner, now);
            *account.drops.entry(probes.tcp.reason_name(key.reason)).or_default() +=
                total.saturating_sub(before);
        }
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &mut Probes, slot: u32) {
        if self.attached.is_empty() || slot == SLOT_UNATTRIBUTED {
            return;
        }
        self.slots.remove(&slot);
        self.drops.retain(|key, _| key.slot != slot);
        slot::zero(probes, slot);
        probes.tcp.forget_packet_drops(slot);
    }
}

impl Account {
    fn add(&mut self, delta: &Delta, memory: &Slot) {
        self.counters.iter_mut().zip(delta.counters).for_each(|(total, added)| *total += added);
        let states = self.states.iter_mut().zip(memory.states());
        states.for_each(|(total, added)| *total += added);
        for (total, added) in self.latencies.iter_mut().zip(&delta.latencies) {
            if let Some(added) = added {
                Arc::make_mut(total).merge(added);
            }
        }
    }

    fn show(&self, attached: &[&str], subject: &Subject, samples: &mut Vec<Sample>) {
        let mut push = |metric, label: Option<Cow<'static, str>>, value| {
            let labels = label.into_iter().collect();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        let asks = self.counters[TcpCounter::DnsQueries as usize] > 0;
        let is_shown = |metric: &Descriptor| asks || DNS.iter().all(|dns| dns.name != metric.name);
        for (series, total) in SERIES.iter().zip(self.counters) {
            if attached.contains(&series.program) && is_shown(series.metric) {
                push(series.metric, series.label.map(Cow::Borrowed), Value::Counter(total));
            }
        }
        // Without the sockets that were there before, those that close would make it negative.
        if attached.contains(&"tcp_state") && attached.contains(&"tcp_sockets") {
            for (name, sockets) in STATE_NAMES.iter().zip(self.states) {
                if !name.is_empty() {
                    push(&SOCKETS, Some(Cow::Borrowed(name)), Value::Gauge(sockets as f64));
                }
            }
        }
        for ((metric, program), histogram) in LATENCIES.iter().zip(&self.latencies) {
            if attached.contains(program) && is_shown(metric) {
                push(metric, None, Value::Distribution(Arc::clone(histogram)));
            }
        }
        for (reason, total) in &self.drops {
            push(&PACKET_DROPS, Some(Cow::Owned(reason.clone())), Value::Counter(*total));
        }
    }
}
