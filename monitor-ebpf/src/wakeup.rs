//! The `wakeup` family: the stacks of those who end waits, weighted by how long the wait was. Attached only while somebody records them,
//! beside the programs of the `sched` family.
//!
//! The waker's stacks are there while it wakes, at `sched_waking`; how long the wait was is known when the thread can run again, at
//! `sched_wakeup`, which may be on another CPU. So what is drawn of the first is kept by thread, and weighed and sent by the
//! second: see [`monitor_common::wakeup`]. Only what is drawn costs more than the filter and a look at the thread.
//!
//! Attribution: a wake-up belongs to the thread that waited, and so does the filter: who wakes it is what one wants to learn. Who is running when an
//! interrupt wakes somebody is not the waker: both stacks are sent as they are, and user space cuts off what was interrupted.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::HashMap,
    programs::BtfTracePointContext,
};
use monitor_common::{
    drops::DropReason,
    sched::MARK_WAKER_KEPT,
    stack::{StackHeader, StackSample},
    state::ThreadState,
    wakeup::{MARGIN_NS, Woken, corrected_ns, wake_word},
    weight::{WeightDraw, WeightKind},
};

use crate::{
    drops, histogram,
    kernel::{self, Direct, Task},
    process, profile, sched, thread,
    weight::{self, Plain, Tables, Walks, program},
};

/// Stacks of wakers whose wake-up is under way, by the thread they wake. Of their heads the weight is that of the draw, and the instant the beginning of
/// the wait by the scheduler's clock, 0 if the thread has not left its CPU yet. Nothing is taken for it before somebody records; kernels
/// before 6.1 allocate in a way that is not safe here, and are not given these programs.
#[map]
static WAKINGS: HashMap<u32, StackSample> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

// sched_waking(struct task_struct *p): in the waker, before the thread is put on a runqueue.
program!(
    #[btf_tracepoint(function = "sched_waking")]
    wakeup_waking,
    wakeup_waking_plain,
    BtfTracePointContext,
    on_waking
);

/// `sched_wakeup(struct task_struct *p)`: it can run.
#[btf_tracepoint(function = "sched_wakeup")]
pub fn wakeup_woken(ctx: BtfTracePointContext) -> i32 {
    let tid = Task::<Direct>::new(ctx.arg(0)).tid();
    let Some(thread) = thread::known(tid) else { return 0 };
    if thread.marks & MARK_WAKER_KEPT == 0 {
        return 0;
    }
    thread.marks &= !MARK_WAKER_KEPT;
    let Some(waking) = WAKINGS.get_ptr_mut(tid) else { return 0 };
    // One that had not left its CPU, or left it to come back, has not waited.
    if thread.state == ThreadState::Runnable as u8 {
        // SAFETY: freed entries stay readable until this program ends; the runqueue lock keeps other wake-ups of the thread away.
        let header = unsafe { &(*waking).header };
        // Who was seen to leave its CPU after the waker began has that noted.
        let since_ns = if header.at_ns == 0 { thread.switched_out_ns } else { header.at_ns };
        if let Some(wait_ns) = histogram::elapsed_ns(since_ns, thread.since_ns) {
            send(waking, thread.since_ns, wait_ns);
        }
    }
    // It is there, and nobody else takes it.
    let _ = WAKINGS.remove(tid);
    0
}

#[inline(always)]
fn on_waking<W: Walks>(ctx: &BtfTracePointContext) {
    let woken = Task::<Direct>::new(ctx.arg(0));
    let tid = woken.tid();
    let Some(thread) = thread::glimpse(tid) else { return };
    let is_waiting = thread.state >= ThreadState::Disk as u8;
    // One that runs may be about to leave its CPU, unseen as yet.
    if !is_waiting && thread.state != ThreadState::Running as u8 {
        return;
    }
    let task = kernel::current();
    if task.tid() == tid || !weight::is_wanted(WeightKind::Wakeup, woken, Some(thread.slot)) {
        return;
    }
    // SAFETY: no arguments.
    let (cpu, at_ns) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_ns()) };
    let since_ns = if is_waiting { thread.since_ns } else { 0 };
    let expected_ns = MARGIN_NS + if is_waiting { waited_ns(cpu, at_ns, since_ns) } else { 0 };
    let Some(draw) = weight::draw_of(WeightKind::Wakeup, cpu) else { return };
    let weight_ns = weight::weigh(draw, at_ns, expected_ns);
    if weight_ns == 0 {
        return;
    }
    let told = profile::Told {
        at_ns: since_ns,
        cgroup_id: task.cgroup_id(),
        period: weight_ns,
        word: wake_word(u32::from(state_of(is_waiting, thread.state)), weight_ns != expected_ns),
        is_in_user_mode: false,
        woken: Some(Woken {
            cgroup_id: woken.cgroup_id(),
            expected_ns,
            tgid: woken.tgid(),
            tid,
            is_kernel_thread: u32::from(woken.is_kernel_thread()),
            taking_ns: 0,
            comm: process::comm(woken),
        }),
    };
    let is_kept = match profile::enter() {
        Some(entered) => {
            let is_kept = keep::<W>(ctx, task, tid, &told);
            profile::leave(entered);
            is_kept
        }
        None => false,
    };
    if is_kept {
        note_taking(tid, at_ns);
        thread::mark(tid, MARK_WAKER_KEPT);
    } else {
        lose(draw, weight_ns);
    }
}

/// What it waited in.
#[inline(always)]
fn state_of(is_waiting: bool, state: u8) -> u8 {
    if is_waiting { state } else { ThreadState::Unknown as u8 }
}

/// How long a thread has waited by now.
#[inline(always)]
fn waited_ns(cpu: u32, at_ns: u64, since_ns: u64) -> u64 {
    let waited_ns = at_ns.wrapping_sub(sched::ktime_distance_ns(cpu)).wrapping_sub(since_ns);
    // Two CPUs may disagree by a little, and it has just begun.
    if (waited_ns as i64) < 0 { 0 } else { waited_ns }
}

/// Notes how long it took, with what is kept.
#[inline(always)]
fn note_taking(tid: u32, since_ns: u64) {
    let Some(waking) = WAKINGS.get_ptr_mut(tid) else { return };
    // SAFETY: no arguments; a map value, whose thread is not woken before this program ends.
    unsafe {
        let taking_ns = bpf_ktime_get_ns().wrapping_sub(since_ns);
        (*(&raw mut (*waking).frames).cast::<Woken>()).taking_ns = taking_ns as u32;
    }
}

/// Keeps both stacks of the running thread until the wake-up; false if they are lost, for want of room.
#[inline(always)]
fn keep<W: Walks>(
    ctx: &BtfTracePointContext,
    task: Task<Direct>,
    tid: u32,
    told: &profile::Told,
) -> bool {
    let taken = profile::take(ctx.as_ptr(), task, told, W::WITHOUT_TABLES, W::walk);
    // SAFETY: the record of this CPU, which is entered.
    let is_kept =
        taken.is_some_and(|(sample, _)| WAKINGS.insert(tid, unsafe { &*sample }, 0).is_ok());
    if !is_kept {
        drops::count(DropReason::WakingTableFull);
    }
    is_kept
}

/// Sends what was kept, with what the wait weighs.
#[inline(always)]
fn send(waking: *mut StackSample, end_ns: u64, wait_ns: u64) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(draw) = weight::draw_of(WeightKind::Wakeup, cpu) else { return };
    // SAFETY: a map value, which is this program's until it is removed; what is read of it was written before.
    let is_sent = unsafe {
        let woken = (&raw const (*waking).frames).cast::<Woken>();
        let header = &mut (*waking).header;
        let (expected_ns, taking_ns) = ((*woken).expected_ns, u64::from((*woken).taking_ns));
        let weight_ns = corrected_ns(wait_ns, header.period_ns, expected_ns, taking_ns);
        header.at_ns = end_ns.wrapping_add(sched::ktime_distance_ns(cpu));
        header.period_ns = weight_ns;
        let (kernel_bytes, user_bytes) = (header.kernel_bytes, header.user_bytes);
        let bytes =
            (size_of::<StackHeader>() + size_of::<Woken>()) as u32 + kernel_bytes + user_bytes;
        if weight_ns == 0 {
            return;
        }
        // Never longer: said to the verifier.
        bytes <= size_of::<StackSample>() as u32 && profile::output(waking, bytes)
    };
    if !is_sent {
        drops::count(DropReason::WeightRingFull);
        // SAFETY: as above.
        lose(draw, unsafe { (*waking).header.period_ns });
    }
}

#[inline(always)]
fn lose(draw: &mut WeightDraw, weight_ns: u64) {
    draw.lost += 1;
    draw.lost_weight += weight_ns;
}
