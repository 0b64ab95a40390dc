//! The `offcpu` family: the stacks of those who wait, weighted by how long. Attached only while somebody records waits; then it is the second
//! program on `sched_switch`, after that of the `sched` family, whose table tells the state a thread left in.
//!
//! How long a wait takes is known at its end, and the user stack can be read only at its beginning: the memory that is mapped at a switch
//! is that of who leaves. So the user stack is walked at the switch out and kept with the thread, and at the switch in what is kept is
//! weighed with the time, and sent if it is drawn. The kernel stack of who comes is still that of its wait, so it is taken then, of what is sent only.
//!
//! A walk costs ten times the rest. Threads that wait so often that it would be too much are walked with a probability, chosen
//! from how long they waited before and how much this CPU has spent, never from the wait itself, which has not happened yet. So
//! those that were walked, scaled up, stand without bias for those that were not. A long wait is sent even if it was not walked, under
//! a frame that says so: scaled up, a few of them would be most of the picture. How short waits are drawn: see [`monitor_common::offcpu`].
//!
//! Others walk and send each wait (libbpf-tools' `offcputime` 1.5 us a switch), drop those below a limit, which takes their time out of the
//! picture, or draw before the wait without its length (Parca, OpenTelemetry: one in N switches), which loses the few long ones.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_get_stack, bpf_get_task_stack,
        bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap, PerCpuArray},
    programs::BtfTracePointContext,
};
use monitor_common::{
    drops::DropReason,
    offcpu::{
        MAX_SCALE, MAX_WAIT_FRAMES, SENT_PER_WINDOW, SLOT_REFUSED, Wait, WaitDraw, WaitFilter,
        wait_word,
    },
    sched::Thread,
    stack::{MAX_FRAMES, StackHeader, StackSample},
    state::ThreadState,
    unwind::WalkEnd,
};

use crate::{
    atomic, drops, histogram,
    kernel::{self, Direct, Task},
    process, profile, sched, thread, unwind,
};

/// Whose waits are wanted.
#[map]
static WAIT_FILTER: Array<WaitFilter> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By slot, [`SLOT_REFUSED`] or 0.
#[map]
static WAIT_SLOTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each CPU goes by.
#[map]
static WAIT_DRAWS: Array<WaitDraw> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The last wait of each thread that is wanted. Nothing is taken for it before somebody records: kernels before 6.1 allocate in a way
/// that is not safe here, and are not given these programs.
#[map]
static WAITS: HashMap<u32, Wait> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Room outside of the stack.
#[map]
static WAIT_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Scratch {
    /// What an entry begins as: never written.
    empty: Wait,
    /// Of the iterator, which a switch may interrupt.
    sample: StackSample,
}

const TASK_DEAD: u32 = 0x80;
const BPF_NOEXIST: u64 = 1;
const BPF_F_USER_STACK: u64 = 1 << 8;
const KERNEL_BYTES: u32 = (MAX_FRAMES * 8) as u32;
const USER_BYTES: u32 = (MAX_WAIT_FRAMES * 8) as u32;

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
#[btf_tracepoint(function = "sched_switch")]
pub fn offcpu_switch(ctx: BtfTracePointContext) -> i32 {
    on_switch(&ctx, WalkEnd::UnknownProcess, unwind::walk)
}

/// The same where walks by tables are not made.
#[btf_tracepoint(function = "sched_switch")]
pub fn offcpu_switch_plain(ctx: BtfTracePointContext) -> i32 {
    on_switch(&ctx, WalkEnd::FramePointers, |_, _, _| None)
}

/// Run for each thread as a recording begins: waits that last are recorded from here on, without their user stack.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn offcpu_begin(ctx: *mut c_void) -> i32 {
    let Some((task, tid, thread)) = iterated(ctx) else { return 0 };
    if !is_wait(thread.state) || !is_wanted(thread, task.tgid()) {
        return 0;
    }
    let Some(wait) = entry(tid) else { return 0 };
    if wait.is_open != 0 {
        return 0;
    }
    wait.since_ns = sched::clock_ns();
    (wait.scale_up, wait.scale_down, wait.walk_ns) = (1, 1, 0);
    wait.state = u32::from(thread.state);
    wait.start_stack = kernel::start_stack(task).unwrap_or(0);
    wait.user_frames = 0;
    wait.walk_end =
        if has_user_stack(task) { WalkEnd::BeganBefore } else { WalkEnd::Complete } as u32;
    wait.is_open = 1;
    0
}

/// Run for each thread as a recording ends: waits that last are sent as they are.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn offcpu_end(ctx: *mut c_void) -> i32 {
    let Some((task, tid, thread)) = iterated(ctx) else { return 0 };
    if !is_wanted(thread, task.tgid()) {
        return 0;
    }
    let Some(wait) = known(tid) else { return 0 };
    let is_waiting = u32::from(thread.state) == wait.state;
    let is_woken = thread.state == ThreadState::Runnable as u8 && thread.since_ns >= wait.since_ns;
    if wait.is_open == 0 || !(is_waiting || is_woken) {
        return 0;
    }
    let now_ns = sched::clock_ns();
    let end_ns = if is_woken { thread.since_ns } else { now_ns };
    let Some(wait_ns) = histogram::elapsed_ns(wait.since_ns, end_ns) else { return 0 };
    // SAFETY: no arguments.
    let (cpu, at_ns) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_ns()) };
    let Some(scratch) = WAIT_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: the record of this CPU, used by this iterator alone, of which one runs at a time.
    let sample = unsafe { &raw mut (*scratch).sample };
    let sent = Sent {
        weight_ns: wait_ns,
        at_ns: at_ns.wrapping_sub(now_ns.wrapping_sub(end_ns)),
        is_open: true,
        is_walked: wait.scale_up != 0,
        is_off_cpu: true,
    };
    if !send(sample, task, wait, cpu, &sent) {
        if let Some(draw) = WAIT_DRAWS.get_ptr_mut(cpu) {
            // SAFETY: in a map value, aligned to 8; a switch may come in between.
            unsafe {
                atomic::add_u64(&raw mut (*draw).lost, 1);
                atomic::add_u64(&raw mut (*draw).lost_ns, wait_ns);
            }
        }
    }
    0
}

/// The thread that an iterator is at, if it is one that is known.
#[inline(always)]
fn iterated(ctx: *mut c_void) -> Option<(Task<Direct>, u32, &'static mut Thread)> {
    // SAFETY: `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`.
    let task = unsafe { *ctx.cast::<*const c_void>().add(1) };
    if task.is_null() {
        return None;
    }
    let task = Task::<Direct>::new(task);
    let tid = task.tid();
    if tid == 0 {
        return None;
    }
    Some((task, tid, thread::known(tid)?))
}

#[inline(always)]
fn on_switch(
    ctx: &BtfTracePointContext,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) -> i32 {
    let previous = Task::<Direct>::new(ctx.arg(1));
    let next = Task::<Direct>::new(ctx.arg(2));
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(draw) = WAIT_DRAWS.get_ptr_mut(cpu) else { return 0 };
    // SAFETY: the record of this CPU, with interrupts off.
    let draw = unsafe { &mut *draw };
    let previous_tid = previous.tid();
    if previous_tid != 0 {
        if let Some(end_ns) = sched::take_unseen(cpu, previous_tid) {
            // The stack that its kernel half had then is gone.
            arrive(previous, previous_tid, cpu, Some(end_ns));
        }
        if let Some(wait) = leave(previous, previous_tid, draw) {
            if wait.scale_up != 0 {
                let is_scaled = wait.scale_up > 1;
                // SAFETY: no arguments.
                let before_ns = if is_scaled { unsafe { bpf_ktime_get_ns() } } else { 0 };
                if let Some(entered) = profile::enter() {
                    keep_stack(ctx, previous, wait, without_tables, walk);
                    profile::leave(entered);
                } else {
                    wait.walk_end = WalkEnd::NotWalked as u32;
                }
                if is_scaled {
                    // SAFETY: as above.
                    wait.walk_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(before_ns);
                }
            }
        }
    }
    let next_tid = next.tid();
    if next_tid != 0 {
        arrive(next, next_tid, cpu, None);
    }
    0
}

/// A thread leaves its CPU: the wait that begins, if one does. `scale_up` is 0 if it is not to be walked.
#[inline(always)]
fn leave(task: Task<Direct>, tid: u32, draw: &mut WaitDraw) -> Option<&'static mut Wait> {
    if task.state() & TASK_DEAD != 0 {
        // Absent is as good.
        let _ = WAITS.remove(tid);
        return None;
    }
    let thread = thread::known(tid)?;
    if !is_wait(thread.state) || !is_wanted(thread, task.tgid()) {
        return None;
    }
    let Some(wait) = entry(tid) else {
        draw.untracked += 1;
        return None;
    };
    // It came back unseen, and the scheduler's program could not tell when.
    draw.endless += u64::from(wait.is_open != 0);
    wait.since_ns = thread.since_ns;
    wait.state = u32::from(thread.state);
    wait.start_stack = 0;
    wait.user_frames = 0;
    wait.walk_end = WalkEnd::Complete as u32;
    wait.is_open = 1;
    wait.walk_ns = 0;
    (wait.scale_up, wait.scale_down) = (1, 1);
    if !has_user_stack(task) {
        return None;
    }
    if draw.step_ns != 0 && wait.expected_ns < draw.step_ns {
        let least_ns = draw.step_ns / MAX_SCALE;
        let expected_ns = if wait.expected_ns < least_ns { least_ns } else { wait.expected_ns };
        // SAFETY: no arguments.
        let random = u64::from(unsafe { bpf_get_prandom_u32() } as u32 >> 1);
        // Of 2^31 numbers as many as the expectation is of a step.
        if random * draw.step_ns >= expected_ns << 31 {
            wait.scale_up = 0;
            wait.walk_end = WalkEnd::NotWalked as u32;
            return Some(wait);
        }
        (wait.scale_up, wait.scale_down) = (draw.step_ns, expected_ns);
    }
    draw.walks += 1;
    Some(wait)
}

/// Walks the user stack of who leaves, and keeps it with its wait.
#[inline(always)]
fn keep_stack(
    ctx: &BtfTracePointContext,
    task: Task<Direct>,
    wait: &mut Wait,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) {
    wait.start_stack = kernel::start_stack(task).unwrap_or(0);
    let place = (&raw mut wait.frames).cast::<c_void>();
    let (mut frames, mut end) = match walk(task, wait.start_stack, 0) {
        Some(walked) => walked,
        None => {
            // SAFETY: the helper writes at most so many bytes.
            let bytes = unsafe { bpf_get_stack(ctx.as_ptr(), place, USER_BYTES, BPF_F_USER_STACK) };
            wait.user_frames = if bytes > 0 { bytes as u32 / 8 } else { 0 };
            wait.walk_end = without_tables as u32;
            return;
        }
    };
    if frames > MAX_WAIT_FRAMES as u32 {
        (frames, end) = (MAX_WAIT_FRAMES as u32, WalkEnd::TooDeep as u32);
    }
    let Some(scratch) = profile::scratch() else { return };
    // SAFETY: the frames lie in the record of this CPU, as many as the wait has room for.
    unsafe {
        let walked = (&raw const (*scratch).sample.frames).cast::<c_void>();
        bpf_probe_read_kernel(place, frames * 8, walked);
    }
    wait.user_frames = frames;
    wait.walk_end = end;
}

/// A thread is put on a CPU; or was unseen, after a wait that ended at `unseen_end_ns`.
#[inline(always)]
fn arrive(task: Task<Direct>, tid: u32, cpu: u32, unseen_end_ns: Option<u64>) {
    let Some(thread) = thread::known(tid) else { return };
    if is_wanted(thread, task.tgid()) {
        let runnable_ns = unseen_end_ns.unwrap_or(thread.switched_out_ns);
        end(task, tid, cpu, runnable_ns, unseen_end_ns.is_none());
    }
}

/// What a thread waited that could run again at `runnable_ns`, 0 if that cannot be told, is drawn and sent.
#[inline(never)]
fn end(task: Task<Direct>, tid: u32, cpu: u32, runnable_ns: u64, is_off_cpu: bool) {
    let (Some(wait), Some(draw)) = (known(tid), WAIT_DRAWS.get_ptr_mut(cpu)) else { return };
    if wait.is_open == 0 {
        return;
    }
    wait.is_open = 0;
    // SAFETY: the record of this CPU, with interrupts off.
    let draw = unsafe { &mut *draw };
    if runnable_ns == 0 {
        draw.endless += 1;
        return;
    }
    let Some(wait_ns) = histogram::elapsed_ns(wait.since_ns, runnable_ns) else { return };
    draw.settle(runnable_ns, profile::share(SENT_PER_WINDOW));
    // Its mean over some waits: long ones count for more than their number.
    wait.expected_ns = wait.expected_ns - wait.expected_ns / 4 + wait_ns / 4;
    let weight_ns = if wait_ns >= draw.always_ns() {
        wait_ns
    } else {
        // Who waits for what this thread does waits longer for its walk, and those it stands for do not: of waits of 2 us that is half.
        let scaled_ns = (wait.scale_up != 0).then(|| {
            let walk_ns = if wait.walk_ns < wait_ns { wait.walk_ns } else { wait_ns };
            walk_ns + (wait_ns - walk_ns) * wait.scale_up / wait.scale_down
        });
        // SAFETY: no arguments.
        draw.weigh(wait_ns, scaled_ns, || unsafe { bpf_get_prandom_u32() } as u32)
    };
    if weight_ns == 0 {
        return;
    }
    draw.sent += 1;
    let Some(scratch) = profile::scratch() else { return };
    // SAFETY: the record of this CPU, which is entered.
    let sample = unsafe { &raw mut (*scratch).sample };
    let at_ns = runnable_ns.wrapping_add(sched::ktime_distance_ns(cpu));
    let sent = Sent { weight_ns, at_ns, is_open: false, is_walked: wait.scale_up != 0, is_off_cpu };
    let is_sent = match profile::enter() {
        Some(entered) => {
            let is_sent = send(sample, task, wait, cpu, &sent);
            profile::leave(entered);
            is_sent
        }
        None => false,
    };
    if !is_sent {
        draw.lost += 1;
        draw.lost_ns += weight_ns;
    }
}

/// What is said of a wait beside its stack.
struct Sent {
    weight_ns: u64,
    at_ns: u64,
    is_open: bool,
    is_walked: bool,
    /// Its kernel stack is still that of the wait.
    is_off_cpu: bool,
}

/// Sends a wait with the kernel stack of its thread, if it is off its CPU; false if it is lost, the ring being full.
#[inline(always)]
fn send(sample: *mut StackSample, task: Task<Direct>, wait: &Wait, cpu: u32, sent: &Sent) -> bool {
    // SAFETY: the sample is a record of this CPU that nobody else writes now; helpers write as many bytes as they are told.
    unsafe {
        let frames = (&raw mut (*sample).frames).cast::<u8>();
        let bytes = if sent.is_off_cpu {
            bpf_get_task_stack(task.as_ptr() as *mut _, frames.cast(), KERNEL_BYTES, 0)
        } else {
            0
        };
        let kernel_bytes = if bytes > 0 { bytes as u32 } else { 0 };
        // Never, nor below: said to the verifier.
        if kernel_bytes > KERNEL_BYTES {
            return false;
        }
        // As many as it may be, in a way that the verifier follows.
        const { assert!(MAX_WAIT_FRAMES == 0x7f) };
        let user_bytes = if sent.is_walked { (wait.user_frames & 0x7f) * 8 } else { 0 };
        let walked = (&raw const wait.frames).cast::<c_void>();
        bpf_probe_read_kernel(frames.add(kernel_bytes as usize).cast(), user_bytes, walked);
        (*sample).header = StackHeader {
            at_ns: sent.at_ns,
            cgroup_id: task.cgroup_id(),
            period_ns: sent.weight_ns,
            tgid: task.tgid(),
            tid: task.tid(),
            cpu,
            kernel_bytes,
            user_bytes,
            is_kernel_thread: u32::from(task.is_kernel_thread()),
            walk_end: wait.walk_end,
            wait: wait_word(wait.state, sent.is_open),
            start_stack: wait.start_stack,
            comm: process::comm(task),
        };
        let bytes = size_of::<StackHeader>() as u32 + kernel_bytes + user_bytes;
        let is_sent = bytes <= size_of::<StackSample>() as u32 && profile::output(sample, bytes);
        if !is_sent {
            drops::count(DropReason::WaitRingFull);
        }
        is_sent
    }
}

/// Whether a state is a wait for something else than a CPU.
#[inline(always)]
fn is_wait(state: u8) -> bool {
    state >= ThreadState::Disk as u8 && state < ThreadState::COUNT as u8
}

#[inline(always)]
fn is_wanted(thread: &Thread, tgid: u32) -> bool {
    let Some(filter) = WAIT_FILTER.get_ptr(0) else { return false };
    // SAFETY: an entry of the array; user space writes it while we read.
    let filter = unsafe { &*filter };
    if filter.all != 0 {
        return true;
    }
    if filter.by_slot != 0 {
        if let Some(slot) = WAIT_SLOTS.get(thread.slot) {
            if *slot != SLOT_REFUSED {
                return true;
            }
        }
    }
    filter.processes.iter().any(|&process| process == tgid)
}

#[inline(always)]
fn has_user_stack(task: Task<Direct>) -> bool {
    !task.is_kernel_thread()
}

#[inline(always)]
fn known(tid: u32) -> Option<&'static mut Wait> {
    // SAFETY: freed entries stay readable until this program ends; the runqueue lock keeps other switches of the thread away.
    WAITS.get_ptr_mut(tid).map(|wait| unsafe { &mut *wait })
}

#[inline(always)]
fn entry(tid: u32) -> Option<&'static mut Wait> {
    if let Some(wait) = known(tid) {
        return Some(wait);
    }
    let scratch = WAIT_SCRATCH.get_ptr(0)?;
    // SAFETY: the record of this CPU, of which this part is never written.
    let empty = unsafe { &(*scratch).empty };
    if WAITS.insert(tid, empty, BPF_NOEXIST).is_err() {
        drops::count(DropReason::WaitTableFull);
        return None;
    }
    known(tid)
}
