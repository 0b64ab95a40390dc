//! The `irq` family: hard interrupts and softirqs of the host by CPU and vector, and what they took from each container.
//!
//! Contract: totals of containers are kept per owner, so that a recycled slot never takes its interruptions with it. A vector is
//! shown on a CPU, and a kind of a container, from its first time on.

mod descriptor;
mod line;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use monitor_common::irq::{
    IRQ_KINDS, IrqVector, KIND_HARD, LINES, SOFTIRQ_NAMES, SlotIrq, VECTORS_PER_CPU, line_index,
};

pub(super) use descriptor::DESCRIPTORS;
use descriptor::{HARD, HARD_TIME, INTERRUPTIONS, SOFT, SOFT_TIME, STOLEN};
use line::Lines;

use super::Owned;
use crate::{
    container::Accounts,
    metric::{Descriptor, Sample, Subject, Value},
    probe::{Family, Probes},
};

type Label = Cow<'static, str>;

/// Reads the family.
pub(super) struct Irq {
    /// Whether all programs of hard interrupts, and of softirqs, are attached: a half of a pair measures nothing.
    has_hard: bool,
    has_soft: bool,
    lines: Lines,
    slots: HashMap<u32, SlotIrq>,
    accounts: Accounts<Account>,
}

/// What was taken from an owner so far.
#[derive(Default)]
struct Account {
    counts: [u64; IRQ_KINDS],
    time_ns: [u64; IRQ_KINDS],
}

impl Irq {
    pub fn new(probes: &Probes) -> Self {
        let is_whole = |prefix: &str| {
            let of_family = probes.programs.iter().filter(|p| p.family == Family::Irq);
            let mut programs = of_family.filter(|p| p.name.starts_with(prefix)).peekable();
            programs.peek().is_some() && programs.all(|program| program.hook.is_some())
        };
        Self {
            has_hard: is_whole("irq_hard"),
            has_soft: is_whole("irq_soft"),
            lines: Lines::default(),
            slots: HashMap::new(),
            accounts: Accounts::default(),
        }
    }

    /// Adds what was interrupted since the last reading to the accounts, and shows them and the vectors.
    pub fn collect(&mut self, probes: &Probes, owned: &[Owned], samples: &mut Vec<Sample>) {
        if !self.has_hard && !self.has_soft {
            return;
        }
        let now = Instant::now();
        for Owned { slot, owner } in owned {
            let record = read_slot(probes, *slot);
            let before = self.slots.insert(*slot, record).unwrap_or_default();
            if record != SlotIrq::default() {
                self.accounts.of(owner, now).add(&record, &before);
            }
        }
        self.accounts.expire(now);
        for (owner, account) in self.accounts.iter_mut() {
            account.show(&Subject::Container(Arc::clone(owner)), samples);
        }
        if self.has_soft {
            show_softirqs(probes, samples);
        }
        if self.has_hard {
            self.show_lines(probes, now, samples);
        }
    }

    fn show_lines(&mut self, probes: &Probes, now: Instant, samples: &mut Vec<Sample>) {
        for line in self.lines.up_to_highest(now).chain([LINES]) {
            for cpu in 0..probes.tunables.cpus {
                let vector = read_vector(probes, cpu, line_index(line));
                if vector.count > 0 {
                    let (number, device) = self.lines.labels(line);
                    let labels = [cpu.to_string().into(), number, device];
                    show_vector([&HARD, &HARD_TIME], &labels, vector, samples);
                }
            }
        }
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &Probes, slot: u32) {
        if !self.has_hard && !self.has_soft {
            return;
        }
        self.slots.remove(&slot);
        let cpus = probes.tunables.cpus;
        for cpu in 0..cpus {
            probes.irq.slots.write((slot * cpus + cpu) as usize, SlotIrq::default());
        }
    }
}

impl Account {
    fn add(&mut self, record: &SlotIrq, before: &SlotIrq) {
        for kind in 0..IRQ_KINDS {
            self.counts[kind] += record.counts[kind].saturating_sub(before.counts[kind]);
            self.time_ns[kind] += record.time_ns[kind].saturating_sub(before.time_ns[kind]);
        }
    }

    fn show(&self, subject: &Subject, samples: &mut Vec<Sample>) {
        for (metric, totals) in [(&INTERRUPTIONS, self.counts), (&STOLEN, self.time_ns)] {
            for kind in (0..IRQ_KINDS).filter(|&kind| self.counts[kind] > 0) {
                let labels = [Label::Borrowed(kind_name(kind))].into();
                let value = Value::Counter(totals[kind]);
                samples.push(Sample { metric, subject: subject.clone(), labels, value });
            }
        }
    }
}

fn kind_name(kind: usize) -> &'static str {
    if kind == KIND_HARD { "hard" } else { SOFTIRQ_NAMES[kind - 1] }
}

fn read_slot(probes: &Probes, slot: u32) -> SlotIrq {
    let cpus = probes.tunables.cpus;
    let mut sum = SlotIrq::default();
    for cpu in 0..cpus {
        let record = probes.irq.slots.read((slot * cpus + cpu) as usize);
        sum.counts.iter_mut().zip(record.counts).for_each(|(total, count)| *total += count);
        sum.time_ns.iter_mut().zip(record.time_ns).for_each(|(total, ns)| *total += ns);
    }
    sum
}

fn read_vector(probes: &Probes, cpu: u32, index: u32) -> IrqVector {
    probes.irq.vectors.read((cpu * VECTORS_PER_CPU + index) as usize)
}

fn show_softirqs(probes: &Probes, samples: &mut Vec<Sample>) {
    for (index, kind) in (0..).zip(SOFTIRQ_NAMES) {
        for cpu in 0..probes.tunables.cpus {
            let vector = read_vector(probes, cpu, index);
            if vector.count > 0 {
                let labels = [cpu.to_string().into(), Label::Borrowed(kind)];
                show_vector([&SOFT, &SOFT_TIME], &labels, vector, samples);
            }
        }
    }
}

fn show_vector(
    metrics: [&'static Descriptor; 2],
    labels: &[Label],
    vector: IrqVector,
    samples: &mut Vec<Sample>,
) {
    for (metric, total) in metrics.into_iter().zip([vector.count, vector.time_ns]) {
        let (labels, value) = (labels.into(), Value::Counter(total));
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    }
}
