//! The `sched` family: each container's thread time by state, its latencies, its switches.
//!
//! Contract: the states of a container sum to the wall time of its threads; what the kernel counts while we read is
//! counted the next time, never twice.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
    time::Instant,
};

use monitor_common::{
    bucket::{self, RawHistogram},
    sched::{Latency, SlotLatency, SlotTime, StateTime, Thread},
    state::ThreadState,
};

use super::Owned;
use crate::{
    container::Accounts,
    kernel::ids::Tgid,
    metric::{Descriptor, Histogram, KtimeNs, Sample, Subject, Value, add_lane, descriptor},
    probe::Probes,
};

const SWITCH: &str = "tracepoint sched:sched_switch";
const SWITCH_AND_WAKEUP: &str = "tracepoints sched:sched_switch, sched_wakeup, sched_wakeup_new";

descriptor!(
    static STATE,
    "cgscope_sched_state_seconds_total",
    "thread time",
    Seconds,
    Counter,
    Container,
    &["state"],
    SWITCH_AND_WAKEUP,
    "5.8",
    "Time of all threads by state; the states sum to threads times wall time."
);
descriptor!(
    static CPU,
    "cgscope_sched_cpu_seconds_total",
    "CPU",
    Seconds,
    Counter,
    Container,
    &[],
    SWITCH,
    "5.8",
    "Time on a CPU, without what interrupts (where the kernel accounts them) and the hypervisor took."
);
descriptor!(
    static THREADS,
    "cgscope_sched_threads",
    "threads",
    Count,
    Gauge,
    Container,
    &[],
    SWITCH_AND_WAKEUP,
    "5.8",
    "Threads that are alive."
);
descriptor!(
    static SWITCHES,
    "cgscope_sched_switches_total",
    "switches",
    Count,
    Counter,
    Container,
    &["kind"],
    SWITCH,
    "5.8",
    "Context switches away from its threads, voluntary or forced by the scheduler."
);
descriptor!(
    static MIGRATIONS,
    "cgscope_sched_migrations_total",
    "migrations",
    Count,
    Counter,
    Container,
    &[],
    SWITCH,
    "5.8",
    "Times a thread ran on another CPU than the last time."
);
descriptor!(
    static WAKEUPS,
    "cgscope_sched_wakeups_total",
    "wake-ups",
    Count,
    Counter,
    Container,
    &[],
    SWITCH_AND_WAKEUP,
    "5.8",
    "Wake-ups that ended a wait."
);
descriptor!(
    static RUNQUEUE,
    "cgscope_sched_runqueue_latency_seconds",
    "runqueue latency",
    Seconds,
    Distribution,
    Container,
    &[],
    SWITCH_AND_WAKEUP,
    "5.8",
    "How long its threads waited for a CPU, from runnable to running."
);
descriptor!(
    static ON_CPU,
    "cgscope_sched_on_cpu_seconds",
    "on-CPU",
    Seconds,
    Distribution,
    Container,
    &[],
    SWITCH,
    "5.8",
    "How long its threads stayed on a CPU, from switched in to switched out, less what was stolen."
);
descriptor!(
    static OFF_CPU,
    "cgscope_sched_off_cpu_seconds",
    "off-CPU",
    Seconds,
    Distribution,
    Container,
    &[],
    SWITCH,
    "5.8",
    "How long its threads stayed off the CPU, from switched out to switched in."
);

/// What this family measures.
pub(super) static DESCRIPTORS: &[&Descriptor] =
    &[&STATE, &CPU, &THREADS, &SWITCHES, &MIGRATIONS, &WAKEUPS, &RUNQUEUE, &ON_CPU, &OFF_CPU];

/// In the order of [`monitor_common::sched::Latency`].
static LATENCIES: [&Descriptor; Latency::COUNT] = [&RUNQUEUE, &ON_CPU, &OFF_CPU];

/// Reads the family.
pub(super) struct Sched {
    cpus: usize,
    lanes: usize,
    slots: HashMap<u32, Slot>,
    accounts: Accounts<Account>,
}

/// What a slot was when it was last read.
struct Slot {
    /// Per CPU: unchanged means nothing has happened there.
    sequences: Box<[u64]>,
    /// Sums over CPUs of the accumulators; the time of open intervals grows without a change of these.
    states: [StateTime; ThreadState::COUNT],
    /// State times at the last reading.
    state_ns: [u64; ThreadState::COUNT],
    counters: Counters,
    latencies: Box<[RawHistogram; Latency::COUNT]>,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    system_time_ns: u64,
    stolen_ns: u64,
    voluntary: u64,
    involuntary: u64,
    migrations: u64,
    wakeups: u64,
}

/// `Running`, divided. Its parts sum to what was published of it.
#[derive(Clone, Copy, Default)]
struct Running {
    user_ns: u64,
    kernel_ns: u64,
    stolen_ns: u64,
    /// Kernel-mode and stolen time not yet assigned: the kernel accounts both by tick, up to one tick ahead of the running time they
    /// lie in.
    kernel_ahead_ns: u64,
    stolen_ahead_ns: u64,
}

/// What an owner has used so far.
#[derive(Default)]
struct Account {
    /// Signed: a transition between two readings of the clock can make a state's time step back by its few ns.
    state_ns: [i64; ThreadState::COUNT],
    running: Running,
    threads: u64,
    counters: Counters,
    latencies: [Arc<Histogram>; Latency::COUNT],
    /// What was published, so that a counter never steps back.
    published_ns: [u64; ThreadState::COUNT],
}

impl Sched {
    pub fn new(probes: &Probes) -> Self {
        Self {
            cpus: probes.tunables.cpus as usize,
            lanes: probes.tunables.lanes as usize,
            slots: HashMap::new(),
            accounts: Accounts::default(),
        }
    }

    /// Adds what happened since the last reading to the accounts, and shows them. Tells whose threads did something.
    pub fn collect(
        &mut self,
        probes: &Probes,
        owned: &[Owned],
        taken: KtimeNs,
        samples: &mut Vec<Sample>,
        mut on_active: impl FnMut(&Arc<str>),
    ) {
        // Before the first switch on any CPU there is nothing to see.
        let Some(clock_ns) = probes.scheduler_clock_ns(taken) else { return };
        let now = Instant::now();
        for (_, account) in self.accounts.iter_mut() {
            account.threads = 0;
        }
        for Owned { slot, owner } in owned {
            let (cpus, lanes) = (self.cpus, self.lanes);
            let memory = self.slots.entry(*slot).or_insert_with(|| Slot::new(cpus));
            let account = self.accounts.of(owner, now);
            if memory.advance(probes, *slot, lanes, clock_ns, account) {
                on_active(owner);
            }
        }
        self.accounts.expire(now);
        for (owner, account) in self.accounts.iter_mut() {
            account.show(&Subject::Container(Arc::clone(owner)), samples);
        }
    }

    /// Zeroes the records of a slot that nobody has any more.
    pub fn forget(&mut self, probes: &Probes, slot: u32) {
        // A family that is off has no records.
        if slot as usize * self.cpus >= probes.slot_times.len() {
            return;
        }
        self.slots.remove(&slot);
        // SAFETY: integers only: zero is a value of both.
        let (time, latency): (SlotTime, SlotLatency) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for cpu in 0..self.cpus {
            probes.slot_times.write(slot as usize * self.cpus + cpu, time);
        }
        for lane in 0..self.lanes {
            probes.slot_latencies.write(slot as usize * self.lanes + lane, latency);
        }
    }

    /// Begins anew with a slot that threads may still count in: what it holds is from before.
    pub fn resume(&mut self, probes: &Probes, slot: u32) {
        let mut memory = Slot::new(self.cpus);
        let clock_ns = probes.scheduler_clock_ns(KtimeNs::now()).unwrap_or_default();
        memory.advance(probes, slot, self.lanes, clock_ns, &mut Account::default());
        self.slots.insert(slot, memory);
    }

    /// The watches' slots that threads count in now, whether they still should or not.
    pub fn watching(&self, probes: &Probes) -> HashSet<u32> {
        let threads = (0..probes.threads.len()).map(|index| probes.threads.read(index));
        threads.map(|thread| thread.watching).filter(|&slot| slot != 0).collect()
    }

    /// Has the threads of a process counted in `slot` too, from their next event on.
    pub fn set_watch(&self, probes: &Probes, tgid: Tgid, slot: u32) {
        let Ok(threads) = fs::read_dir(format!("/proc/{tgid}/task")) else { return };
        for tid in
            threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        {
            let index = (tid & probes.tunables.thread_mask) as usize;
            if probes.threads.read(index).tid == tid {
                set_watch_slot(probes, index, slot);
            }
        }
    }

    /// Ends that.
    pub fn clear_watch(&self, probes: &Probes, slot: u32) {
        for index in 0..probes.threads.len() {
            let thread = probes.threads.read(index);
            if thread.watch_slot == slot {
                set_watch_slot(probes, index, 0);
            }
        }
    }
}

/// Writes the one field of a thread that belongs to user space.
fn set_watch_slot(probes: &Probes, index: usize, slot: u32) {
    let thread: *mut Thread = probes.threads.as_ptr(index);
    // SAFETY: inside the mapping; the kernel half only reads this field.
    unsafe { (&raw mut (*thread).watch_slot).write_volatile(slot) };
}

impl Slot {
    fn new(cpus: usize) -> Self {
        let empty = RawHistogram { sum_ns: 0, counts: [0; bucket::COUNT] };
        Self {
            // No record has this number: the first reading finds every CPU changed.
            sequences: vec![u64::MAX; cpus].into(),
            states: Default::default(),
            state_ns: [0; ThreadState::COUNT],
            counters: Counters::default(),
            latencies: Box::new([empty; Latency::COUNT]),
        }
    }

    /// Gives whether anything happened.
    fn advance(
        &mut self,
        probes: &Probes,
        slot: u32,
        lanes: usize,
        clock_ns: u64,
        account: &mut Account,
    ) -> bool {
        let first = slot as usize * self.sequences.len();
        let changed = |(cpu, seen): (usize, &u64)| probes.slot_times.sequence(first + cpu) != *seen;
        let is_active = self.sequences.iter().enumerate().any(changed);
        if is_active {
            self.read_times(probes, first, account);
            self.read_latencies(probes, slot as usize * lanes, lanes, account);
        }
        for (i, state) in self.states.iter().enumerate() {
            let total = state.offset_ns.wrapping_add(state.threads.wrapping_mul(clock_ns));
            account.state_ns[i] += total.wrapping_sub(self.state_ns[i]) as i64;
            self.state_ns[i] = total;
            account.threads = account.threads.wrapping_add(state.threads);
        }
        is_active
    }

    fn read_times(&mut self, probes: &Probes, first: usize, account: &mut Account) {
        let mut states = [StateTime::default(); ThreadState::COUNT];
        let mut sums = Counters::default();
        for (cpu, seen) in self.sequences.iter_mut().enumerate() {
            let Some(record) = probes.slot_times.read_consistent(first + cpu) else {
                // Its writer never rested: the whole slot waits for the next reading rather than mixing two instants.
                return;
            };
            *seen = record.seq;
            for (sum, state) in states.iter_mut().zip(&record.states) {
                sum.offset_ns = sum.offset_ns.wrapping_add(state.offset_ns);
                sum.threads = sum.threads.wrapping_add(state.threads);
            }
            sums.system_time_ns = sums.system_time_ns.wrapping_add(record.system_time_ns);
            sums.stolen_ns = sums.stolen_ns.wrapping_add(record.stolen_ns);
            sums.voluntary += record.voluntary_switches;
            sums.involuntary += record.involuntary_switches;
            sums.migrations += record.migrations;
            sums.wakeups += record.wakeups;
        }
        self.states = states;
        let before = std::mem::replace(&mut self.counters, sums);
        let total = &mut account.counters;
        let running = &mut account.running;
        running.kernel_ahead_ns += sums.system_time_ns.saturating_sub(before.system_time_ns);
        running.stolen_ahead_ns += sums.stolen_ns.saturating_sub(before.stolen_ns);
        total.voluntary += sums.voluntary.saturating_sub(before.voluntary);
        total.involuntary += sums.involuntary.saturating_sub(before.involuntary);
        total.migrations += sums.migrations.saturating_sub(before.migrations);
        total.wakeups += sums.wakeups.saturating_sub(before.wakeups);
    }

    fn read_latencies(
        &mut self,
        probes: &Probes,
        first: usize,
        lanes: usize,
        account: &mut Account,
    ) {
        let empty = RawHistogram { sum_ns: 0, counts: [0; bucket::COUNT] };
        let mut sums = [empty; Latency::COUNT];
        for lane in 0..lanes {
            let record = probes.slot_latencies.read(first + lane);
            for (sum, lane) in sums.iter_mut().zip(&record.histograms) {
                add_lane(sum, lane);
            }
        }
        for ((total, sum), before) in
            account.latencies.iter_mut().zip(sums).zip(self.latencies.iter_mut())
        {
            if sum == *before {
                continue;
            }
            Arc::make_mut(total).merge(&Histogram::between(&sum, before));
            *before = sum;
        }
    }
}

impl Running {
    /// Divides new running time, by what is known to have been stolen and to have been in kernel mode so far.
    fn divide(&mut self, running_ns: u64) {
        let stolen_ns = running_ns.min(self.stolen_ahead_ns);
        self.stolen_ahead_ns -= stolen_ns;
        self.stolen_ns += stolen_ns;
        let work_ns = running_ns - stolen_ns;
        let kernel_ns = work_ns.min(self.kernel_ahead_ns);
        self.kernel_ahead_ns -= kernel_ns;
        self.kernel_ns += kernel_ns;
        self.user_ns += work_ns - kernel_ns;
    }
}

impl Account {
    fn show(&mut self, subject: &Subject, samples: &mut Vec<Sample>) {
        let running = ThreadState::Running as usize;
        let ran_ns = self.published_ns[running];
        for (published, now) in self.published_ns.iter_mut().zip(self.state_ns) {
            *published = (*published).max(now.max(0) as u64);
        }
        self.running.divide(self.published_ns[running] - ran_ns);
        let mut push = |metric, label: Option<&'static str>, value| {
            let labels = label.map(Cow::Borrowed).into_iter().collect();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        for (state, ns) in ThreadState::ALL.into_iter().zip(self.published_ns) {
            if state != ThreadState::Running {
                push(&STATE, Some(state.name()), Value::Counter(ns));
            }
        }
        let Running { user_ns, kernel_ns, stolen_ns, .. } = self.running;
        push(&STATE, Some("running.user"), Value::Counter(user_ns));
        push(&STATE, Some("running.kernel"), Value::Counter(kernel_ns));
        push(&STATE, Some("stolen"), Value::Counter(stolen_ns));
        push(&CPU, None, Value::Counter(user_ns + kernel_ns));
        push(&THREADS, None, Value::Gauge(self.threads as i64 as f64));
        push(&SWITCHES, Some("voluntary"), Value::Counter(self.counters.voluntary));
        push(&SWITCHES, Some("involuntary"), Value::Counter(self.counters.involuntary));
        push(&MIGRATIONS, None, Value::Counter(self.counters.migrations));
        push(&WAKEUPS, None, Value::Counter(self.counters.wakeups));
        for (metric, histogram) in LATENCIES.iter().zip(&self.latencies) {
            push(metric, None, Value::Distribution(Arc::clone(histogram)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_accounted_ahead_is_divided_later_and_nothing_is_made_up() {
        let mut running =
            Running { kernel_ahead_ns: 4_000_000, stolen_ahead_ns: 500_000, ..Running::default() };
        let parts = |r: Running| (r.user_ns, r.kernel_ns, r.stolen_ns);
        running.divide(1_000_000);
        assert_eq!(parts(running), (0, 500_000, 500_000));
        running.divide(5_000_000);
        assert_eq!(parts(running), (1_500_000, 4_000_000, 500_000));
    }

    /// A thread found to have left its CPU long ago takes time back that was published already.
    #[test]
    fn running_time_that_is_taken_back_is_not_divided_twice() {
        let mut account = Account::default();
        for ran_ns in [10, 4, 12] {
            account.state_ns[ThreadState::Running as usize] = ran_ns;
            account.show(&Subject::Host, &mut Vec::new());
        }
        assert_eq!(account.running.user_ns, 12);
    }

    #[test]
    fn counters_never_step_back() {
        let mut account = Account::default();
        account.state_ns[ThreadState::Sleeping as usize] = 500;
        account.show(&Subject::Host, &mut Vec::new());
        account.state_ns[ThreadState::Sleeping as usize] = 490;
        let mut samples = Vec::new();
        account.show(&Subject::Host, &mut samples);
        let sleeping = samples.iter().find(|s| s.labels.iter().any(|l| l == "sleeping")).unwrap();
        assert_eq!(sleeping.value, Value::Counter(500));
    }
}
