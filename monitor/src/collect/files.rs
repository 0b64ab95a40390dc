//! The `files` family: what each container does with files, and which layers of its image serve its opens.
//!
//! Contract: totals are kept per owner, so that a recycled slot never takes its opens with it. An operation is shown from its first
//! call on.

mod descriptor;
mod layer;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use monitor_common::files::{FileOperation, SlotFiles, SlotFilesLatency};

pub(super) use descriptor::DESCRIPTORS;
use descriptor::{BYTES, ERRORS, LATENCY, LAYER_OPENS, LAYER_TIME, OPERATIONS};
use layer::{LayerTotals, Layers};

use super::Owned;
use crate::{
    container::{Accounts, Registry},
    metric::{
        Sample, Subject, Value,
        lanes::{self, EMPTY, Lanes, Total},
    },
    probe::{Family, Probes},
};

/// Reads the family.
pub(super) struct Files {
    is_on: bool,
    slots: HashMap<u32, Slot>,
    layers: Layers,
    accounts: Accounts<Account>,
}

/// What a slot was when it was last read.
#[derive(Default)]
struct Slot {
    record: SlotFiles,
    latencies: Lanes<{ FileOperation::COUNT }>,
}

/// What an owner has done so far.
#[derive(Default)]
struct Account {
    operations: [u64; FileOperation::COUNT],
    errors: [u64; FileOperation::COUNT],
    bytes: [u64; FileOperation::COUNT],
    /// Made with the first call of an operation.
    latencies: Total<{ FileOperation::COUNT }>,
    layers: LayerTotals,
}

impl Files {
    pub fn new(probes: &Probes) -> Self {
        let is_hooked =
            probes.programs.iter().any(|p| p.name.starts_with("syscall_exit") && p.hook.is_some());
        Self {
            is_on: probes.has(Family::Files) && is_hooked,
            slots: HashMap::new(),
            layers: Layers::default(),
            accounts: Accounts::default(),
        }
    }

    /// Adds what was done since the last reading to the accounts, and shows them.
    pub fn collect(
        &mut self,
        probes: &Probes,
        registry: &Registry,
        owned: &[Owned],
        samples: &mut Vec<Sample>,
    ) {
        if !self.is_on {
            return;
        }
        let now = Instant::now();
        for Owned { slot, owner } in owned {
            let memory = self.slots.entry(*slot).or_default();
            let record = read(probes, *slot);
            if record != memory.record {
                let account = self.accounts.of(owner, now);
                memory.advance(probes, *slot, &record, account);
            } else if record != SlotFiles::default() {
                self.accounts.of(owner, now);
            }
        }
        for (owner, layer, opens) in self.layers.advance(probes.files.layers(), registry, owned) {
            self.accounts.of(&owner, now).layers.add(layer, opens);
        }
        self.accounts.expire(now);
        for (owner, account) in self.accounts.iter_mut() {
            account.show(&Subject::Container(Arc::clone(owner)), samples);
        }
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &mut Probes, slot: u32) {
        if !self.is_on {
            return;
        }
        self.slots.remove(&slot);
        self.layers.forget(slot);
        probes.files.forget_layers(slot);
        let (cpus, lanes) = (probes.tunables.cpus, probes.tunables.block_lanes);
        for cpu in 0..cpus {
            probes.files.counters.write((slot * cpus + cpu) as usize, SlotFiles::default());
        }
        for lane in 0..lanes {
            let empty = SlotFilesLatency { histograms: [EMPTY; FileOperation::COUNT] };
            probes.files.latencies.write((slot * lanes + lane) as usize, empty);
        }
    }
}

impl Slot {
    /// Adds what is new to an account: what is counted while we read is counted the next time, never twice.
    fn advance(&mut self, probes: &Probes, slot: u32, record: &SlotFiles, account: &mut Account) {
        let before = std::mem::replace(&mut self.record, *record);
        for i in 0..FileOperation::COUNT {
            account.operations[i] += record.operations[i].saturating_sub(before.operations[i]);
            account.errors[i] += record.errors[i].saturating_sub(before.errors[i]);
            account.bytes[i] += record.bytes[i].saturating_sub(before.bytes[i]);
        }
        let lanes = probes.tunables.block_lanes;
        let records = (slot * lanes..(slot + 1) * lanes)
            .map(|place| probes.files.latencies.read(place as usize));
        let gained = self.latencies.advance(records, |record| &record.histograms);
        lanes::add(&mut account.latencies, &gained);
    }
}

impl Account {
    fn show(&self, subject: &Subject, samples: &mut Vec<Sample>) {
        let mut push = |metric, label: Cow<'static, str>, value| {
            let labels = [label].into();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        let done = (0..FileOperation::COUNT).filter(|&i| self.operations[i] > 0);
        for (metric, totals) in
            [(&OPERATIONS, &self.operations), (&ERRORS, &self.errors), (&BYTES, &self.bytes)]
        {
            for i in done.clone() {
                let has_bytes =
                    i == FileOperation::Read as usize || i == FileOperation::Write as usize;
                if has_bytes || !std::ptr::eq(totals, &self.bytes) {
                    push(metric, FileOperation::NAMES[i].into(), Value::Counter(totals[i]));
                }
            }
        }
        for (i, histogram) in self.latencies.iter().enumerate() {
            if let Some(histogram) = histogram {
                let value = Value::Distribution(Arc::clone(histogram));
                push(&LATENCY, FileOperation::NAMES[i].into(), value);
            }
        }
        for (layer, opens) in self.layers.iter() {
            push(&LAYER_OPENS, layer.to_string().into(), Value::Counter(opens.opens));
        }
        for (layer, opens) in self.layers.iter() {
            push(&LAYER_TIME, layer.to_string().into(), Value::Counter(opens.time_ns));
        }
    }
}

fn read(probes: &Probes, slot: u32) -> SlotFiles {
    let cpus = probes.tunables.cpus;
    let mut sum = SlotFiles::default();
    for cpu in 0..cpus {
        let record = probes.files.counters.read((slot * cpus + cpu) as usize);
        for i in 0..FileOperation::COUNT {
            sum.operations[i] += record.operations[i];
            sum.errors[i] += record.errors[i];
            sum.bytes[i] += record.bytes[i];
        }
    }
    sum
}
