//! The table of threads, and moving a thread's time from state to state.
//!
//! Contract: see [`monitor_common::sched`]. An entry is written under the runqueue lock of its thread, which the hooks
//! hold, so it needs no lock of its own; the record of a slot is written by its own CPU with interrupts off.

use core::{
    arch::asm,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, LruHashMap},
};
use monitor_common::{
    drops::DropReason,
    sched::{Latency, SlotLatency, SlotTime, StateTime, Thread},
};

use crate::{
    config::tunable,
    drops, histogram,
    kernel::{Read, Task},
    slot,
};

/// Live threads, at `tid & thread_mask`.
#[map]
static THREADS: Array<Thread> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Time by state, at `slot * cpus + cpu`.
#[map]
static SLOT_TIMES: Array<SlotTime> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `slot * lanes + lane`.
#[map]
static SLOT_LATENCIES: Array<SlotLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Where a thread, or the process it is the first of, was moved to lately, by its id. As many as are moved between two switches
/// of one of them.
#[map]
static MOVES: LruHashMap<u32, Moves> = LruHashMap::with_max_entries(256, 0);

/// As many moves of one process as are told apart between two switches of one of its threads: of more, the latest.
const MOVES_KEPT: usize = 4;

/// The latest moves, the oldest at `next`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Moves {
    latest: [Move; MOVES_KEPT],
    next: u64,
}

/// One move to another cgroup.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Move {
    /// ns of the scheduler's clock.
    at_ns: u64,
    cgroup_id: u64,
}

/// The entry of a thread that has one.
#[inline(always)]
pub fn known(tid: u32) -> Option<&'static mut Thread> {
    let pointer = THREADS.get_ptr_mut(tid & tunable!(thread_mask))?;
    // SAFETY: map values live as long as the map; the runqueue lock keeps others away.
    let thread = unsafe { &mut *pointer };
    (thread.tid == tid).then_some(thread)
}

/// What is seen of a thread that another CPU may write at the same time.
pub struct Glimpse {
    pub slot: u32,
    pub state: u8,
    pub since_ns: u64,
}

/// A look at a thread without its runqueue's lock, as wakers are; `None` if it has no entry.
#[inline(always)]
pub fn glimpse(tid: u32) -> Option<Glimpse> {
    let pointer = THREADS.get_ptr(tid & tunable!(thread_mask))?;
    // SAFETY: map values live as long as the map; each field is read whole.
    unsafe {
        let is_it = (&raw const (*pointer).tid).read_volatile() == tid;
        is_it.then(|| Glimpse {
            slot: (&raw const (*pointer).slot).read_volatile(),
            state: (&raw const (*pointer).state).read_volatile(),
            since_ns: (&raw const (*pointer).since_ns).read_volatile(),
        })
    }
}

/// Marks a thread that waits. Of its wakers one is let through to here at a time; a request that ends on another CPU just then may
/// lose its mark, and with it a stack.
#[inline(always)]
pub fn mark(tid: u32, mark: u8) {
    if let Some(pointer) = THREADS.get_ptr_mut(tid & tunable!(thread_mask)) {
        // SAFETY: as for `glimpse`; nobody else writes the byte before the wake-up that follows.
        unsafe {
            let marks = &raw mut (*pointer).marks;
            marks.write_volatile(marks.read_volatile() | mark);
        }
    }
}

/// Forgets of which kind the running thread's descriptor was: a new program opens others by the same numbers. What runc waited for on its
/// sockets made the first 16 waits of the program it became waits for the network.
#[inline(always)]
pub fn forget_descriptor(tid: u32) {
    if let Some(pointer) = THREADS.get_ptr_mut(tid & tunable!(thread_mask)) {
        // SAFETY: as for `glimpse`; a byte, which switches of this thread alone write, and it runs here.
        unsafe {
            if (&raw const (*pointer).tid).read_volatile() == tid {
                (&raw mut (*pointer).descriptor_uses).write_volatile(0);
            }
        }
    }
}

/// The entry of a thread, made if it is new; `None` when another live thread holds it.
#[inline(always)]
pub fn entry<R: Read>(task: Task<R>, tid: u32) -> Option<&'static mut Thread> {
    let pointer = THREADS.get_ptr_mut(tid & tunable!(thread_mask))?;
    // SAFETY: map values live as long as the map; the runqueue lock keeps others away.
    let thread = unsafe { &mut *pointer };
    if thread.tid != tid {
        if thread.tid != 0 {
            drops::count(DropReason::ThreadTableCollision);
            return None;
        }
        let cgroup_id = task.cgroup_id();
        *thread = Thread {
            tid,
            cgroups: task.cgroups(),
            slot: slot::of_task(task, cgroup_id),
            system_time_ns: task.system_time_ns(),
            voluntary: task.voluntary_switches(),
            cpu: u32::MAX,
            state: NEW,
            ..Thread::default()
        };
    }
    Some(thread)
}

/// The state of an entry just made: it has no time to be moved out of.
pub const NEW: u8 = u8::MAX;

/// The records of one slot on this CPU.
#[inline(always)]
pub fn time(slot: u32, cpu: u32) -> Option<&'static mut SlotTime> {
    let pointer = SLOT_TIMES.get_ptr_mut(slot * tunable!(cpus) + cpu)?;
    // SAFETY: map values live as long as the map; only this CPU writes this record.
    Some(unsafe { &mut *pointer })
}

/// Records a latency for one slot.
#[inline(always)]
pub fn record(slot: u32, cpu: u32, latency: Latency, latency_ns: u64) {
    let lane = if tunable!(shared_lanes) == 0 { cpu } else { cpu & (tunable!(lanes) - 1) };
    if let Some(record) = SLOT_LATENCIES.get_ptr_mut(slot * tunable!(lanes) + lane) {
        // SAFETY: the pointer is into a map value, and the index is one of its histograms.
        unsafe { histogram::record(&raw mut (*record).histograms[latency as usize], latency_ns) };
    }
}

/// Kernel-mode time of a thread since it was last looked at, ns.
#[inline(always)]
pub fn take_system_time_ns<R: Read>(task: Task<R>, thread: &mut Thread) -> u64 {
    let now = task.system_time_ns();
    now.wrapping_sub(core::mem::replace(&mut thread.system_time_ns, now))
}

/// Opens and closes the writing of a record: readers retry while `seq` is odd or has moved.
#[inline(always)]
fn write(record: &mut SlotTime, update: impl FnOnce(&mut SlotTime)) {
    // SAFETY: a valid reference. Volatile and fenced so that the marks stay outside the update; x86 keeps the order of stores.
    unsafe { core::ptr::write_volatile(&raw mut record.seq, record.seq | 1) };
    compiler_fence(Ordering::SeqCst);
    update(record);
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(&raw mut record.seq, (record.seq | 1).wrapping_add(1)) };
}

/// What changes in one slot when a thread moves from one state to another.
#[derive(Clone, Copy)]
pub struct Transition {
    /// The state it leaves; [`NEW`] for a thread that had none.
    pub from: u8,
    /// The state it enters; [`NEW`] for a thread that ends.
    pub to: u8,
    /// When.
    pub now_ns: u64,
}

/// The accumulator of a state; none of [`NEW`].
///
/// The index is made anew right where it is compared and used. The compiler otherwise compares once, keeps both outcomes for
/// later and indexes with another copy; verifiers before Linux 6.8 then know the bound of the wrong copy, or follow a branch
/// that cannot be, and refuse the program.
#[inline(always)]
fn accumulator(record: &mut SlotTime, state: u8) -> Option<&mut StateTime> {
    let mut index = u64::from(state);
    // SAFETY: arithmetic on one register, which changes nothing: the value is a byte.
    unsafe { asm!("{0} &= 255", inout(reg) index, options(nomem, nostack)) };
    record.states.get_mut(index as usize)
}

#[inline(always)]
fn leave(record: &mut SlotTime, state: u8, now_ns: u64) {
    if let Some(accumulator) = accumulator(record, state) {
        accumulator.offset_ns = accumulator.offset_ns.wrapping_add(now_ns);
        accumulator.threads = accumulator.threads.wrapping_sub(1);
    }
}

#[inline(always)]
fn enter(record: &mut SlotTime, state: u8, now_ns: u64) {
    if let Some(accumulator) = accumulator(record, state) {
        accumulator.offset_ns = accumulator.offset_ns.wrapping_sub(now_ns);
        accumulator.threads = accumulator.threads.wrapping_add(1);
    }
}

/// Moves a thread's time in its slot, with `counters` for what else the hook counts there; then in the slot it is watched in, if any.
#[inline(always)]
pub fn apply(
    thread: &mut Thread,
    cpu: u32,
    transition: Transition,
    counters: impl Fn(&mut SlotTime),
) {
    if let Some(record) = time(thread.slot, cpu) {
        write(record, |record| {
            leave(record, transition.from, transition.now_ns);
            enter(record, transition.to, transition.now_ns);
            counters(record);
        });
    }
    if thread.watch_slot != 0 || thread.watching != 0 {
        watch(thread, cpu, transition, counters);
    }
}

/// The same for a watched thread. A watch begins and ends at a transition, where what was open is known.
#[inline(always)]
fn watch(thread: &mut Thread, cpu: u32, transition: Transition, counters: impl Fn(&mut SlotTime)) {
    let was_watched = thread.watching == thread.watch_slot;
    if !was_watched && thread.watching != 0 {
        if let Some(record) = time(thread.watching, cpu) {
            write(record, |record| leave(record, transition.from, transition.now_ns));
        }
    }
    thread.watching = thread.watch_slot;
    if thread.watching == 0 {
        return;
    }
    if let Some(record) = time(thread.watching, cpu) {
        write(record, |record| {
            if was_watched {
                leave(record, transition.from, transition.now_ns);
                counters(record);
            }
            enter(record, transition.to, transition.now_ns);
        });
    }
}

/// Notes the instant at which a thread, or with it its whole process, was moved.
#[inline(always)]
pub fn note_move<R: Read>(task: Task<R>, cgroup_id: u64, now_ns: u64) {
    let tid = task.tid();
    let mut moves = moves_of(tid).unwrap_or_default();
    if let Some(oldest) = moves.latest.get_mut(moves.next as usize % MOVES_KEPT) {
        *oldest = Move { at_ns: now_ns, cgroup_id };
    }
    moves.next = moves.next.wrapping_add(1);
    // Full never: the map forgets the oldest.
    let _ = MOVES.insert(tid, moves, 0);
}

#[inline(always)]
fn moves_of(tid: u32) -> Option<Moves> {
    // SAFETY: the value is copied at once.
    unsafe { MOVES.get(tid) }.copied()
}

/// Moves what a thread has open to another slot, as of an instant.
#[inline(always)]
fn change_slot(thread: &mut Thread, cpu: u32, slot: u32, moved_ns: u64) {
    if slot == thread.slot {
        return;
    }
    if let Some(record) = time(thread.slot, cpu) {
        write(record, |record| leave(record, thread.state, moved_ns));
    }
    if let Some(record) = time(slot, cpu) {
        write(record, |record| enter(record, thread.state, moved_ns));
    }
    thread.slot = slot;
}

/// The move of this age, 0 the oldest, if it was between two instants: when, and to which slot.
#[inline(always)]
fn move_between(moves: &Moves, age: usize, since_ns: u64, now_ns: u64) -> Option<(u64, u32)> {
    let index = (moves.next as usize).wrapping_add(age) % MOVES_KEPT;
    let &Move { at_ns, cgroup_id } = moves.latest.get(index)?;
    (since_ns..=now_ns).contains(&at_ns).then(|| (at_ns, slot::of_cgroup(cgroup_id)))
}

/// Moves a thread's open time along the cgroups it was moved through since it was last looked at.
#[inline(never)]
fn follow_moves(thread: &mut Thread, cpu: u32, id: u32, now_ns: u64) {
    let Some(moves) = moves_of(id) else { return };
    // The beginning of its slice is older than its last look when it was settled meanwhile: what led to its slot is done.
    let mut since_ns = thread.since_ns;
    for age in 0..MOVES_KEPT {
        match move_between(&moves, age, since_ns, now_ns) {
            Some((at_ns, slot)) if slot == thread.slot => since_ns = at_ns,
            _ => {}
        }
    }
    for age in 0..MOVES_KEPT {
        if let Some((at_ns, slot)) = move_between(&moves, age, since_ns, now_ns) {
            change_slot(thread, cpu, slot, at_ns);
        }
    }
}

/// Moves a thread that has changed its cgroup to the slot of the new one, from the instant it was moved: the kernel's own account
/// (`cpu.stat`) divides a slice there.
#[inline(always)]
pub fn follow_cgroup<R: Read>(task: Task<R>, thread: &mut Thread, cpu: u32, now_ns: u64) {
    // The address alone: one load where the id takes four. It stays the thread's own until it is moved.
    let cgroups = task.cgroups();
    if cgroups == thread.cgroups {
        return;
    }
    thread.cgroups = cgroups;
    let slot = slot::of_task(task, task.cgroup_id());
    if slot != thread.slot {
        let (tid, tgid) = (thread.tid, task.tgid());
        follow_moves(thread, cpu, tgid, now_ns);
        if tid != tgid {
            follow_moves(thread, cpu, tid, now_ns);
        }
        // Where it is now, should the moves not lead there: what is not known is from now on.
        change_slot(thread, cpu, slot, now_ns);
    }
}
