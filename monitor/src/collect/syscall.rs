//! The `syscall` family: what the threads of each container ask of the kernel.
//!
//! Contract: totals are kept per owner, so that a recycled slot never takes its calls with it. A class is shown from its first
//! call on.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use monitor_common::{
    bucket::{self, RawHistogram},
    syscall::{CallClass, SlotSyscall, SlotSyscallLatency},
};

use super::Owned;
use crate::{
    container::Accounts,
    metric::{Descriptor, Histogram, Sample, Subject, Value, add_lane, descriptor},
    probe::{Family, Probes},
};

descriptor!(
    static CALLS,
    "cgscope_syscall_calls_total",
    "system calls",
    Count,
    Counter,
    Container,
    &["class"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "System calls of its threads that returned, by what they are for. Only with --enable syscall."
);
descriptor!(
    static ERRORS,
    "cgscope_syscall_errors_total",
    "failed calls",
    Count,
    Counter,
    Container,
    &["class"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "System calls of its threads that returned an error; calls that a signal interrupted and that go on are none. Only with \
     --enable syscall."
);
descriptor!(
    static LATENCY,
    "cgscope_syscall_latency_seconds",
    "call time",
    Seconds,
    Distribution,
    Container,
    &["class"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "How long each system call of its threads took, waiting included. Only with --enable syscall."
);

/// What this family measures.
pub(super) static DESCRIPTORS: &[&Descriptor] = &[&CALLS, &ERRORS, &LATENCY];

const EMPTY: RawHistogram = RawHistogram { sum_ns: 0, counts: [0; bucket::COUNT] };
type Histograms = [RawHistogram; CallClass::COUNT];

/// Reads the family.
pub(super) struct Syscall {
    is_on: bool,
    slots: HashMap<u32, Slot>,
    accounts: Accounts<Account>,
}

/// What a slot was when it was last read.
struct Slot {
    record: SlotSyscall,
    histograms: Box<Histograms>,
}

/// What an owner has called so far.
#[derive(Default)]
struct Account {
    calls: [u64; CallClass::COUNT],
    errors: [u64; CallClass::COUNT],
    /// Made with the first call of a class.
    latencies: [Option<Arc<Histogram>>; CallClass::COUNT],
}

impl Syscall {
    pub fn new(probes: &Probes) -> Self {
        Self {
            // Its programs are there for the family `files` too.
            is_on: probes.has(Family::Syscall) && probes.is_whole(Family::Syscall),
            slots: HashMap::new(),
            accounts: Accounts::default(),
        }
    }

    /// Adds what was called since the last reading to the accounts, and shows them.
    pub fn collect(&mut self, probes: &Probes, owned: &[Owned], samples: &mut Vec<Sample>) {
        if !self.is_on {
            return;
        }
        let now = Instant::now();
        for Owned { slot, owner } in owned {
            let memory = self.slots.entry(*slot).or_default();
            let record = read(probes, *slot);
            if record != memory.record {
                let account = self.accounts.of(owner, now);
                memory.advance(&record, read_latencies(probes, *slot), account);
            } else if record != SlotSyscall::default() {
                self.accounts.of(owner, now);
            }
        }
        self.accounts.expire(now);
        for (owner, account) in self.accounts.iter_mut() {
            account.show(&Subject::Container(Arc::clone(owner)), samples);
        }
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &Probes, slot: u32) {
        if !self.is_on {
            return;
        }
        self.slots.remove(&slot);
        let (cpus, lanes) = (probes.tunables.cpus, probes.tunables.block_lanes);
        for cpu in 0..cpus {
            probes.syscall.counters.write((slot * cpus + cpu) as usize, SlotSyscall::default());
        }
        for lane in 0..lanes {
            let empty = SlotSyscallLatency { histograms: [EMPTY; CallClass::COUNT] };
            probes.syscall.latencies.write((slot * lanes + lane) as usize, empty);
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self { record: SlotSyscall::default(), histograms: Box::new([EMPTY; CallClass::COUNT]) }
    }
}

impl Slot {
    /// Adds what is new to an account: what is counted while we read is counted the next time, never twice.
    fn advance(
        &mut self,
        record: &SlotSyscall,
        histograms: Box<Histograms>,
        account: &mut Account,
    ) {
        let before = std::mem::replace(&mut self.record, *record);
        for class in 0..CallClass::COUNT {
            account.calls[class] += record.calls[class].saturating_sub(before.calls[class]);
            account.errors[class] += record.errors[class].saturating_sub(before.errors[class]);
            if histograms[class] != self.histograms[class] {
                let added = Histogram::between(&histograms[class], &self.histograms[class]);
                Arc::make_mut(account.latencies[class].get_or_insert_default()).merge(&added);
            }
        }
        self.histograms = histograms;
    }
}

impl Account {
    fn show(&self, subject: &Subject, samples: &mut Vec<Sample>) {
        let mut push = |metric, class: usize, value| {
            let labels = [Cow::Borrowed(CallClass::NAMES[class])].into();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        let called = || (0..CallClass::COUNT).filter(|&class| self.calls[class] > 0);
        for class in called() {
            push(&CALLS, class, Value::Counter(self.calls[class]));
        }
        for class in called() {
            push(&ERRORS, class, Value::Counter(self.errors[class]));
        }
        for (class, histogram) in self.latencies.iter().enumerate() {
            if let Some(histogram) = histogram {
                push(&LATENCY, class, Value::Distribution(Arc::clone(histogram)));
            }
        }
    }
}

fn read(probes: &Probes, slot: u32) -> SlotSyscall {
    let cpus = probes.tunables.cpus;
    let mut sum = SlotSyscall::default();
    for cpu in 0..cpus {
        let record = probes.syscall.counters.read((slot * cpus + cpu) as usize);
        sum.calls.iter_mut().zip(record.calls).for_each(|(total, count)| *total += count);
        sum.errors.iter_mut().zip(record.errors).for_each(|(total, count)| *total += count);
    }
    sum
}

fn read_latencies(probes: &Probes, slot: u32) -> Box<Histograms> {
    let lanes = probes.tunables.block_lanes;
    let mut sums = Box::new([EMPTY; CallClass::COUNT]);
    for lane in 0..lanes {
        let record = probes.syscall.latencies.read((slot * lanes + lane) as usize);
        for (sum, lane) in sums.iter_mut().zip(&record.histograms) {
            add_lane(sum, lane);
        }
    }
    sums
}
