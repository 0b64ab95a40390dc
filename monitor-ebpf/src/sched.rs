//! The `sched` family: one program on `sched_switch`, one on `sched_wakeup` and `sched_wakeup_new`, one that takes stock of
//! the threads that are there before them, one that brings the account of a running thread up to date.
//!
//! Attribution: runqueue wait belongs to the thread that waited (`next`), never to `current` or the waker. The idle task
//! is nobody.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use monitor_common::{
    drops::DropReason,
    interference::{SLOT_IDLE, SLOT_UNKNOWN},
    sched::{CALIBRATION_INTERVAL_NS, Cpu, Latency, MARK_STACK_WANTED, Thread},
    state::ThreadState,
};

use crate::{
    config::tunable,
    drops, histogram, interference,
    kernel::{self, Clocks, Direct, Probe, Read, Task},
    outlier_stack,
    thread::{self, NEW, Transition},
    wait,
};

/// Each CPU, for two things: to notice when a thread left unseen (some platforms hide the threads of their own agent from every
/// tracepoint while they are current, which halves the pairs), and to relate the scheduler's clock to everyone's.
#[map]
static CPUS: Array<Cpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

const TASK_DEAD: u32 = 0x80;

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    on_switch::<Direct>(ctx.arg::<usize>(0) & 1 != 0, Task::new(ctx.arg(1)), Task::new(ctx.arg(2)));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch_raw(ctx: RawTracePointContext) -> i32 {
    on_switch::<Probe>(ctx.arg::<usize>(0) & 1 != 0, Task::new(ctx.arg(1)), Task::new(ctx.arg(2)));
    0
}

/// `sched_wakeup(struct task_struct *p)`.
#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    on_wakeup::<Direct>(Task::new(ctx.arg(0)));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn sched_wakeup_raw(ctx: RawTracePointContext) -> i32 {
    on_wakeup::<Probe>(Task::new(ctx.arg(0)));
    0
}

/// `sched_wakeup_new(struct task_struct *p)`.
#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    on_wakeup::<Direct>(Task::new(ctx.arg(0)));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub fn sched_wakeup_new_raw(ctx: RawTracePointContext) -> i32 {
    on_wakeup::<Probe>(Task::new(ctx.arg(0)));
    0
}

/// Run for each thread before the hooks are attached: what sleeps already is counted from the start. And once more after
/// they are: what went to sleep in between is put right.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn sched_threads(ctx: *mut c_void) -> i32 {
    // SAFETY: `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`.
    let task = unsafe { *ctx.cast::<*const c_void>().add(1) };
    if task.is_null() {
        return 0;
    }
    let task = Task::<Direct>::new(task);
    let tid = task.tid();
    if tid == 0 {
        return 0;
    }
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // Of our own CPU: that of an idle one stands still.
    let now_ns = kernel::current().runqueue_clock_ns();
    let Some(thread) = thread::entry(task, tid) else { return 0 };
    // Of a thread that is known already, only this can be wrong: that it runs.
    let is_on_cpu = task.is_on_cpu();
    if thread.state != NEW && (is_on_cpu || thread.state != ThreadState::Running as u8) {
        return 0;
    }
    let state = match task.state() {
        _ if is_on_cpu => ThreadState::Running,
        0 => ThreadState::Runnable,
        dead if dead & TASK_DEAD != 0 => {
            thread.tid = 0;
            return 0;
        }
        blocked => wait::classify(task, task, blocked, thread),
    };
    move_to(thread, cpu, state as u8, now_ns, |_| {});
    0
}

/// Run on a busy CPU before the accounts are read: what the thread there did in kernel mode since it came, and what was taken from it,
/// is known otherwise only when it leaves, which a busy loop never does. It also begins a watch of it.
#[raw_tracepoint(tracepoint = "sched_settle")]
pub fn sched_settle(_: RawTracePointContext) -> i32 {
    let task = kernel::current();
    let tid = task.tid();
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let clocks = task.runqueue_clocks();
    let stolen_ns = change_over(cpu, clocks, tid, task, tid);
    if tid == 0 {
        return 0;
    }
    let Some(thread) = thread::known(tid) else { return 0 };
    if thread.state != ThreadState::Running as u8 || thread.cpu != cpu {
        return 0;
    }
    let stolen_ns = stolen_ns.min(clocks.now_ns.wrapping_sub(thread.since_ns));
    if let Some(record) = CPUS.get_ptr_mut(cpu) {
        // SAFETY: the record of this CPU.
        unsafe { (*record).settled_ns += stolen_ns };
    }
    thread::follow_cgroup(task, thread, cpu, clocks.now_ns);
    let system_ns = thread::take_system_time_ns(task, thread);
    // From a state to itself: the time goes on, and `since_ns` stays the beginning of the slice.
    let transition = Transition { from: thread.state, to: thread.state, now_ns: clocks.now_ns };
    thread::apply(thread, cpu, transition, |record| {
        record.system_time_ns = record.system_time_ns.wrapping_add(system_ns);
        record.stolen_ns = record.stolen_ns.wrapping_add(stolen_ns);
    });
    0
}

#[inline(always)]
fn on_switch<R: Read>(is_preempted: bool, previous: Task<R>, next: Task<R>) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let clocks = previous.runqueue_clocks();
    let now_ns = clocks.now_ns;
    let (previous_tid, next_tid) = (previous.tid(), next.tid());
    let stolen_ns = change_over(cpu, clocks, previous_tid, next, next_tid);
    let (mut late_ns, mut settled_ns) = (0, 0);
    if let Some(record) = CPUS.get_ptr_mut(cpu) {
        // SAFETY: the record of this CPU, with interrupts off.
        let record = unsafe { &mut *record };
        late_ns = lateness_ns(record, now_ns);
        settled_ns = core::mem::take(&mut record.settled_ns);
    }
    let mut ran = SLOT_IDLE;
    if previous_tid != 0 {
        let stolen = Stolen { now_ns: stolen_ns, settled_ns };
        ran = switch_out(is_preempted, previous, previous_tid, cpu, now_ns, stolen);
    }
    interference::end_slice(cpu, ran, now_ns);
    if next_tid != 0 {
        switch_in(next, next_tid, cpu, now_ns, late_ns);
    }
}

/// What was taken of a CPU while a thread ran there, ns.
struct Stolen {
    /// Since the last switch or settling.
    now_ns: u64,
    /// Since the last switch, and accounted already.
    settled_ns: u64,
}

/// Notes who runs on a CPU from now on. Loses whom we thought to run there if it is not `previous_tid`. Gives what was taken of the CPU
/// since the last time.
#[inline(always)]
fn change_over<R: Read>(
    cpu: u32,
    clocks: Clocks,
    previous_tid: u32,
    next: Task<R>,
    next_tid: u32,
) -> u64 {
    let Some(record) = CPUS.get_ptr_mut(cpu) else { return 0 };
    // SAFETY: the record of this CPU, with interrupts off.
    let record = unsafe { &mut *record };
    let expected = core::mem::replace(&mut record.tid, next_tid);
    let task = core::mem::replace(&mut record.task, next.as_ptr() as u64);
    if expected != previous_tid && expected != 0 {
        lose(expected, task, cpu, clocks);
    }
    let before_ns = core::mem::replace(&mut record.taken_ns, clocks.taken_ns);
    // The first time, all since boot.
    if before_ns == 0 { 0 } else { clocks.taken_ns.wrapping_sub(before_ns) }
}

/// The scheduler's clock, read outside of the scheduler: there it stands still between its own readings.
#[inline(always)]
pub fn clock_ns() -> u64 {
    // SAFETY: no arguments.
    let (cpu, now_ns) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_ns()) };
    match CPUS.get_ptr_mut(cpu) {
        // SAFETY: the record of this CPU; one field is read.
        Some(record) => now_ns.wrapping_sub(unsafe { (*record).ktime_distance_ns }),
        None => now_ns,
    }
}

/// `CLOCK_MONOTONIC` less the scheduler's clock on this CPU, wrapping.
#[inline(always)]
pub fn ktime_distance_ns(cpu: u32) -> u64 {
    // SAFETY: the record of this CPU; one field is read.
    CPUS.get_ptr_mut(cpu).map_or(0, |record| unsafe { (*record).ktime_distance_ns })
}

/// How late the scheduler's clock of this CPU is; see [`Cpu`].
#[inline(always)]
fn lateness_ns(record: &mut Cpu, now_ns: u64) -> u64 {
    // SAFETY: no arguments.
    let distance_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(now_ns);
    if record.calibrated_at_ns == 0 {
        record.least_distance_ns = distance_ns;
    }
    // Signed: the distance wraps where the scheduler's clock began earlier.
    if (distance_ns.wrapping_sub(record.least_distance_ns) as i64) < 0 {
        record.least_distance_ns = distance_ns;
    }
    if now_ns.wrapping_sub(record.calibrated_at_ns) > CALIBRATION_INTERVAL_NS {
        record.ktime_distance_ns = record.least_distance_ns;
        record.least_distance_ns = distance_ns;
        record.calibrated_at_ns = now_ns;
    }
    let late_ns = distance_ns.wrapping_sub(record.ktime_distance_ns) as i64;
    if late_ns > 0 { late_ns as u64 } else { 0 }
}

/// A thread that is no longer on its CPU although nobody saw it leave: what it does since is not known.
#[inline(never)]
fn lose(tid: u32, task: u64, cpu: u32, clocks: Clocks) {
    let Some(thread) = thread::known(tid) else { return };
    if thread.state == ThreadState::Running as u8 && thread.cpu == cpu {
        drops::count(DropReason::SwitchMissed);
        let left_ns = left_at_ns(Task::new(task as *const c_void), tid, thread.since_ns, clocks);
        move_to(thread, cpu, ThreadState::Unknown as u8, left_ns, |_| {});
    }
}

/// Notes for those who record waits that a thread was put on this CPU unseen.
#[inline(always)]
fn note_unseen(cpu: u32, tid: u32, wait_end_ns: u64) {
    if let Some(record) = CPUS.get_ptr_mut(cpu) {
        // SAFETY: the record of this CPU, with interrupts off.
        unsafe {
            (*record).unseen_tid = tid;
            (*record).unseen_end_ns = wait_end_ns;
        }
    }
}

/// When the wait ended that a thread came from which leaves this CPU now, if it was put there unseen; 0 if that cannot be told.
#[inline(always)]
pub fn take_unseen(cpu: u32, tid: u32) -> Option<u64> {
    // SAFETY: as above.
    let record = unsafe { &mut *CPUS.get_ptr_mut(cpu)? };
    if record.unseen_tid != tid {
        return None;
    }
    record.unseen_tid = 0;
    Some(record.unseen_end_ns)
}

/// When a thread left this CPU, on the scheduler's clock. The kernel accounted its time for the last time then; without that it
/// would have run until somebody else was seen, on a CPU that may have been idle for long. Its memory may be another's by now.
#[inline(always)]
fn left_at_ns(task: Task<Probe>, tid: u32, since_ns: u64, clocks: Clocks) -> u64 {
    if task.tid() != tid {
        return clocks.now_ns;
    }
    let left_ns = task.exec_start_ns().wrapping_add(clocks.taken_ns);
    if (since_ns..=clocks.now_ns).contains(&left_ns) { left_ns } else { clocks.now_ns }
}

/// Gives the slot of the thread that leaves.
#[inline(always)]
fn switch_out<R: Read>(
    is_preempted: bool,
    task: Task<R>,
    tid: u32,
    cpu: u32,
    now_ns: u64,
    stolen: Stolen,
) -> u32 {
    let Some(thread) = thread::entry(task, tid) else { return SLOT_UNKNOWN };
    if thread.state != ThreadState::Running as u8 {
        // It was put on this CPU unseen: the switch was from a thread that is hidden from us.
        let arrived_ns = task.last_arrival_ns();
        let mut wait_end_ns = 0;
        if (thread.since_ns..=now_ns).contains(&arrived_ns) && arrived_ns != 0 {
            interference::end_slice(cpu, SLOT_UNKNOWN, arrived_ns);
            arrive(thread, cpu, arrived_ns, 0);
            wait_end_ns = thread.switched_out_ns;
        } else {
            drops::count(DropReason::SwitchMissed);
        }
        note_unseen(cpu, tid, wait_end_ns);
    }
    thread::follow_cgroup(task, thread, cpu, now_ns);
    let mut stolen_ns = 0;
    if thread.state == ThreadState::Running as u8 {
        if let Some(slice_ns) = histogram::elapsed_ns(thread.since_ns, now_ns) {
            stolen_ns = stolen.now_ns.min(slice_ns);
            let on_cpu_ns = slice_ns.saturating_sub(stolen_ns + stolen.settled_ns);
            record(thread, cpu, Latency::OnCpu, on_cpu_ns);
        }
    }

    let state = task.state();
    let is_dead = state & TASK_DEAD != 0;
    let to = if is_dead {
        NEW
    } else if is_preempted || state == 0 {
        if task.is_throttled() { ThreadState::Throttled as u8 } else { ThreadState::Runnable as u8 }
    } else {
        wait::classify(task, kernel::current(), state, thread) as u8
    };

    let voluntary = task.voluntary_switches();
    let is_voluntary = voluntary != thread.voluntary;
    thread.voluntary = voluntary;
    let system_ns = thread::take_system_time_ns(task, thread);

    thread.switched_out_ns = now_ns;
    move_to(thread, cpu, to, now_ns, |record| {
        record.system_time_ns = record.system_time_ns.wrapping_add(system_ns);
        record.stolen_ns = record.stolen_ns.wrapping_add(stolen_ns);
        // One increment whose place depends, not two branches: the verifier walks each path.
        record.voluntary_switches += u64::from(is_voluntary);
        record.involuntary_switches += u64::from(!is_voluntary);
    });
    if is_dead {
        thread.tid = 0;
    }
    thread.slot
}

#[inline(always)]
fn switch_in<R: Read>(task: Task<R>, tid: u32, cpu: u32, now_ns: u64, late_ns: u64) {
    let Some(thread) = thread::entry(task, tid) else { return };
    // A process is moved while it sleeps, and goes on in its new cgroup: its first time on a CPU belongs there.
    thread::follow_cgroup(task, thread, cpu, now_ns);
    if thread.state != NEW && !is_waiting_for_cpu(thread.state) {
        // It was woken unseen: the waker is hidden from us, or our program was refused in a nested call.
        let queued_ns = task.last_queued_ns();
        if (thread.since_ns..=now_ns).contains(&queued_ns) && queued_ns != 0 {
            move_to(thread, cpu, ThreadState::Runnable as u8, queued_ns, |r| r.wakeups += 1);
        } else {
            drops::count(DropReason::WakeupMissed);
        }
    }
    if R::IS_TYPED && tunable!(outlier_stacks) != 0 && thread.marks & MARK_STACK_WANTED != 0 {
        thread.marks &= !MARK_STACK_WANTED;
        outlier_stack::send(task.as_ptr(), tid, cpu, thread.switched_out_ns);
    }
    arrive(thread, cpu, now_ns, late_ns);
}

#[inline(always)]
fn is_waiting_for_cpu(state: u8) -> bool {
    state == ThreadState::Runnable as u8 || state == ThreadState::Throttled as u8
}

/// A thread is put on a CPU, `late_ns` after the instant its time is accounted from.
#[inline(always)]
fn arrive(thread: &mut Thread, cpu: u32, now_ns: u64, late_ns: u64) {
    let from = thread.state;
    if from == ThreadState::Runnable as u8 {
        if let Some(wait_ns) = histogram::elapsed_ns(thread.since_ns, now_ns) {
            record(thread, cpu, Latency::Runqueue, wait_ns + late_ns);
            if wait_ns > 0 {
                interference::charge(thread.slot, cpu, thread.since_ns, now_ns);
            }
        }
    }
    if thread.switched_out_ns != 0 {
        if let Some(off_ns) = histogram::elapsed_ns(thread.switched_out_ns, now_ns) {
            record(thread, cpu, Latency::OffCpu, off_ns);
        }
    }
    let is_migrated = thread.cpu != cpu && thread.cpu != u32::MAX;
    thread.cpu = cpu;
    // Not needed any more for the time off the CPU: who records waits looks there for the end of the wait.
    thread.switched_out_ns = if is_waiting_for_cpu(from) { thread.since_ns } else { now_ns };
    move_to(thread, cpu, ThreadState::Running as u8, now_ns, |record| {
        record.migrations += u64::from(is_migrated);
    });
}

#[inline(always)]
fn on_wakeup<R: Read>(task: Task<R>) {
    let tid = task.tid();
    if tid == 0 {
        return;
    }
    let Some(thread) = thread::entry(task, tid) else { return };
    // A thread that is woken before it has left its CPU goes on running; one that is woken twice waits since the first time.
    if thread.state == ThreadState::Running as u8 || thread.state == ThreadState::Runnable as u8 {
        return;
    }
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let now_ns = task.runqueue_clock_ns();
    move_to(thread, cpu, ThreadState::Runnable as u8, now_ns, |record| record.wakeups += 1);
}

/// Moves a thread to a state at an instant.
#[inline(always)]
fn move_to(
    thread: &mut Thread,
    cpu: u32,
    to: u8,
    now_ns: u64,
    counters: impl Fn(&mut monitor_common::sched::SlotTime),
) {
    thread::apply(thread, cpu, Transition { from: thread.state, to, now_ns }, counters);
    thread.state = to;
    thread.since_ns = now_ns;
}

/// Records a latency for a thread's slot, and for the slot it is watched in.
#[inline(always)]
fn record(thread: &Thread, cpu: u32, latency: Latency, latency_ns: u64) {
    thread::record(thread.slot, cpu, latency, latency_ns);
    if thread.watching != 0 {
        thread::record(thread.watching, cpu, latency, latency_ns);
    }
}
