//! The `process` family: births and deaths per container.

use std::{collections::HashMap, time::Instant};

use monitor_common::process::SlotProcess;

use super::Owned;
use crate::{
    container::Accounts,
    metric::{Descriptor, LabelValues, Sample, Subject, Value, descriptor},
    probe::Probes,
};

descriptor!(
    static FORKS,
    "cgscope_process_forks_total",
    "forks",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sched:sched_process_fork",
    "5.8",
    "Processes forked."
);
descriptor!(
    static CLONES,
    "cgscope_process_clones_total",
    "clones",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sched:sched_process_fork",
    "5.8",
    "Threads created."
);
descriptor!(
    static EXECS,
    "cgscope_process_execs_total",
    "execs",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sched:sched_process_exec",
    "5.8",
    "Programs executed."
);
descriptor!(
    static EXITS,
    "cgscope_process_exits_total",
    "exits",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sched:sched_process_exit",
    "5.8",
    "Processes ended."
);

/// What this family measures, in the order of [`Totals`].
pub(super) static DESCRIPTORS: &[&Descriptor] = &[&FORKS, &CLONES, &EXECS, &EXITS];

type Totals = [u64; 4];

/// Reads the family.
pub(super) struct Process {
    cpus: usize,
    before: HashMap<u32, Totals>,
    accounts: Accounts<Totals>,
}

impl Process {
    pub fn new(probes: &Probes) -> Self {
        Self {
            cpus: probes.tunables.cpus as usize,
            before: HashMap::new(),
            accounts: Accounts::default(),
        }
    }

    pub fn collect(&mut self, probes: &Probes, owned: &[Owned], samples: &mut Vec<Sample>) {
        let now = Instant::now();
        for Owned { slot, owner } in owned {
            let totals = self.read(probes, *slot);
            let before = self.before.insert(*slot, totals).unwrap_or_default();
            let account = self.accounts.of(owner, now);
            for i in 0..totals.len() {
                account[i] += totals[i].saturating_sub(before[i]);
            }
        }
        self.accounts.expire(now);
        for (owner, totals) in self.accounts.iter_mut() {
            samples.extend(DESCRIPTORS.iter().zip(totals).map(|(metric, total)| Sample {
                metric,
                subject: Subject::Container(owner.clone()),
                labels: LabelValues::default(),
                value: Value::Counter(*total),
            }));
        }
    }

    fn read(&self, probes: &Probes, slot: u32) -> Totals {
        let mut totals = Totals::default();
        for cpu in 0..self.cpus {
            let record = probes.slot_processes.read(slot as usize * self.cpus + cpu);
            let counts = [record.forks, record.clones, record.execs, record.exits];
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        totals
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &Probes, slot: u32) {
        self.before.remove(&slot);
        for cpu in 0..self.cpus {
            let index = slot as usize * self.cpus + cpu;
            if index < probes.slot_processes.len() {
                probes.slot_processes.write(index, SlotProcess::default());
            }
        }
    }
}
