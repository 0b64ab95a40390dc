//! The `syscall` family: what the threads of each container ask of the kernel.
//!
//! Contract: totals are kept per owner, so that a recycled slot never takes its calls with it. A class is shown from its first
//! call on.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use monitor_common::syscall::{
    CallClass, SINGLE_CALLS, SlotCalls, SlotCallsLatency, SlotSyscall, SlotSyscallLatency,
};

use super::Owned;
use crate::{
    container::Accounts,
    metric::{
        Descriptor, Sample, Subject, Value, descriptor,
        lanes::{self, EMPTY, Lanes, Total},
    },
    probe::{Family, Probes, Single},
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

descriptor!(
    static SINGLE,
    "cgscope_syscall_single_calls_total",
    "calls one by one",
    Count,
    Counter,
    Container,
    &["call"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "Calls of its threads that returned, of each system call that --syscalls names; they are in their class as well."
);
descriptor!(
    static SINGLE_ERRORS,
    "cgscope_syscall_single_errors_total",
    "failed calls one by one",
    Count,
    Counter,
    Container,
    &["call"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "Calls of its threads that returned an error, of each system call that --syscalls names."
);
descriptor!(
    static SINGLE_LATENCY,
    "cgscope_syscall_single_latency_seconds",
    "call time one by one",
    Seconds,
    Distribution,
    Container,
    &["call"],
    "tracepoints raw_syscalls:sys_enter, sys_exit",
    "5.8",
    "How long each call took of the system calls that --syscalls names, waiting included."
);

/// What this family measures.
pub(super) static DESCRIPTORS: &[&Descriptor] =
    &[&CALLS, &ERRORS, &LATENCY, &SINGLE, &SINGLE_ERRORS, &SINGLE_LATENCY];

/// Reads the family.
pub(super) struct Syscall {
    is_on: bool,
    slots: HashMap<u32, Slot>,
    accounts: Accounts<Account>,
}

/// What a slot was when it was last read.
#[derive(Default)]
struct Slot {
    record: Record,
    latencies: Lanes<{ CallClass::COUNT }>,
    single_latencies: Lanes<SINGLE_CALLS>,
}

/// What is counted of a slot, over all CPUs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Record {
    classes: SlotSyscall,
    singles: SlotCalls,
}

/// What an owner has called so far.
#[derive(Default)]
struct Account {
    calls: [u64; CallClass::COUNT],
    errors: [u64; CallClass::COUNT],
    /// Made with the first call of a class.
    latencies: Total<{ CallClass::COUNT }>,
    /// Calls one by one, which are in their class too.
    single_calls: [u64; SINGLE_CALLS],
    single_errors: [u64; SINGLE_CALLS],
    single_latencies: Total<SINGLE_CALLS>,
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
                memory.advance(probes, *slot, &record, account);
            } else if record != Record::default() {
                self.accounts.of(owner, now);
            }
        }
        self.accounts.expire(now);
        for (owner, account) in self.accounts.iter_mut() {
            let subject = Subject::Container(Arc::clone(owner));
            account.show(&subject, &probes.syscall.singles, samples);
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
        if probes.syscall.singles.is_empty() {
            return;
        }
        for cpu in 0..cpus {
            let place = (slot * cpus + cpu) as usize;
            probes.syscall.single_counters.write(place, SlotCalls::default());
        }
        for lane in 0..lanes {
            let empty = SlotCallsLatency { histograms: [EMPTY; SINGLE_CALLS] };
            probes.syscall.single_latencies.write((slot * lanes + lane) as usize, empty);
        }
    }
}

impl Slot {
    /// Adds what is new to an account: what is counted while we read is counted the next time, never twice.
    fn advance(&mut self, probes: &Probes, slot: u32, record: &Record, account: &mut Account) {
        let before = std::mem::replace(&mut self.record, *record);
        let (now, was) = (&record.classes, &before.classes);
        for class in 0..CallClass::COUNT {
            account.calls[class] += now.calls[class].saturating_sub(was.calls[class]);
            account.errors[class] += now.errors[class].saturating_sub(was.errors[class]);
        }
        let lanes = probes.tunables.block_lanes;
        let places = || (slot * lanes..(slot + 1) * lanes).map(|place| place as usize);
        let maps = &probes.syscall;
        let records = places().map(|place| maps.latencies.read(place));
        let gained = self.latencies.advance(records, |record| &record.histograms);
        lanes::add(&mut account.latencies, &gained);

        if maps.singles.is_empty() {
            return;
        }
        let (now, was) = (&record.singles, &before.singles);
        for (i, single) in maps.singles.iter().enumerate() {
            let calls = now.calls[i].saturating_sub(was.calls[i]);
            let errors = now.errors[i].saturating_sub(was.errors[i]);
            account.single_calls[i] += calls;
            account.calls[single.class] += calls;
            account.single_errors[i] += errors;
            account.errors[single.class] += errors;
        }
        let records = places().map(|place| maps.single_latencies.read(place));
        let gained = self.single_latencies.advance(records, |record| &record.histograms);
        for (single, gained) in maps.singles.iter().zip(&gained) {
            lanes::add_one(&mut account.latencies[single.class], gained.as_ref());
        }
        lanes::add(&mut account.single_latencies, &gained);
    }
}

impl Account {
    fn show(&self, subject: &Subject, singles: &[Single], samples: &mut Vec<Sample>) {
        let mut push = |metric, label: &'static str, value| {
            let labels = [Cow::Borrowed(label)].into();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        for (metric, of_class) in [(&CALLS, &self.calls), (&ERRORS, &self.errors)] {
            for (class, &total) in of_class.iter().enumerate() {
                if self.calls[class] > 0 {
                    push(metric, CallClass::NAMES[class], Value::Counter(total));
                }
            }
        }
        for (class, histogram) in CallClass::NAMES.iter().zip(&self.latencies) {
            if let Some(histogram) = histogram {
                push(&LATENCY, class, Value::Distribution(Arc::clone(histogram)));
            }
        }
        for (metric, of_call) in
            [(&SINGLE, &self.single_calls), (&SINGLE_ERRORS, &self.single_errors)]
        {
            for ((single, &total), &calls) in singles.iter().zip(of_call).zip(&self.single_calls) {
                if calls > 0 {
                    push(metric, single.name, Value::Counter(total));
                }
            }
        }
        for (single, histogram) in singles.iter().zip(&self.single_latencies) {
            if let Some(histogram) = histogram {
                push(&SINGLE_LATENCY, single.name, Value::Distribution(Arc::clone(histogram)));
            }
        }
    }
}

fn read(probes: &Probes, slot: u32) -> Record {
    let cpus = probes.tunables.cpus;
    let mut sum = Record::default();
    let add = |totals: &mut [u64], counts: &[u64]| {
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    };
    for place in slot * cpus..(slot + 1) * cpus {
        let record = probes.syscall.counters.read(place as usize);
        add(&mut sum.classes.calls, &record.calls);
        add(&mut sum.classes.errors, &record.errors);
        if !probes.syscall.singles.is_empty() {
            let record = probes.syscall.single_counters.read(place as usize);
            add(&mut sum.singles.calls, &record.calls);
            add(&mut sum.singles.errors, &record.errors);
        }
    }
    sum
}
