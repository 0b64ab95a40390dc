//! Interference on CPUs: who ran while a thread waited.
//!
//! Contract: see [`monitor_common::interference`]. Called under the runqueue lock of the CPU it is about, so nothing here needs
//! a lock. A wait that began on another CPU is charged to who ran where it ended.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use monitor_common::{
    drops::DropReason,
    interference::{
        PAIRS_PER_CPU, PLACES, ROW_NS, ROW_STEPS, ROWS, RUNNER_PLACES, RUNNERS, SLICES,
        SLICES_OF_A_WAIT, SLOT_UNKNOWN, Slice, Timeline, Totals, WaitPair, key, place, runner,
        runner_place, slot_of,
    },
};

use crate::drops;

/// Who used each CPU lately.
#[map]
static TIMELINES: Array<Timeline> = Array::with_max_entries(1, 0);

/// How long each ran on each CPU.
#[map]
static RUN_TOTALS: Array<Totals> = Array::with_max_entries(1, 0);

/// Who waited for whom, at `cpu * PAIRS_PER_CPU + place`: an inlined lookup where a hash costs a call.
#[map]
static WAIT_PAIRS: Array<WaitPair> = Array::with_max_entries(1, BPF_F_MMAPABLE);

const PLACE_MASK: usize = SLICES - 1;
const ROW_MASK: u64 = ROWS as u64 - 1;
const RUNNER_MASK: usize = RUNNERS - 1;

/// Notes that `slot` used a CPU up to now.
#[inline(always)]
pub fn end_slice(cpu: u32, slot: u32, now_ns: u64) {
    let Some(timeline) = TIMELINES.get_ptr_mut(cpu) else { return };
    // SAFETY: the timeline of this CPU, with interrupts off.
    let timeline = unsafe { &mut *timeline };
    let newest = timeline.newest as usize & PLACE_MASK;
    add_total(cpu, slot, now_ns.wrapping_sub(timeline.slices[newest].ended_ns), now_ns);
    if timeline.slices[newest].slot == slot {
        timeline.slices[newest].ended_ns = now_ns;
        return;
    }
    let newest = (newest + 1) & PLACE_MASK;
    timeline.slices[newest] = Slice { ended_ns: now_ns, slot, padding: 0 };
    timeline.newest = newest as u32;
}

/// Adds to what `slot` ran on a CPU, and begins another row when it is time.
#[inline(always)]
fn add_total(cpu: u32, slot: u32, ran_ns: u64, now_ns: u64) {
    let Some(totals) = RUN_TOTALS.get_ptr_mut(cpu) else { return };
    // SAFETY: the totals of this CPU, with interrupts off.
    let totals = unsafe { &mut *totals };
    let newest = totals.newest;
    let row = (newest & ROW_MASK) as usize;
    let runner = runner(slot);
    let first = runner_place(runner);
    for i in 0..RUNNER_PLACES {
        let place = (first + i) & RUNNER_MASK;
        let there = totals.runners[place];
        if there == runner || there == 0 {
            totals.runners[place] = runner;
            totals.ran_ns[row][place] = totals.ran_ns[row][place].wrapping_add(ran_ns);
            break;
        }
    }
    totals.ended_ns[row] = now_ns;
    let before = totals.ended_ns[(newest.wrapping_sub(1) & ROW_MASK) as usize];
    if now_ns.wrapping_sub(before) >= ROW_NS {
        begin_row(totals, newest.wrapping_add(1));
    }
}

/// The row goes on from where the one before it is; and one place whose runner is idle for as long as rows are kept is free again.
#[inline(always)]
fn begin_row(totals: &mut Totals, number: u64) {
    let (row, before) =
        ((number & ROW_MASK) as usize, (number.wrapping_sub(1) & ROW_MASK) as usize);
    let place = number as usize & RUNNER_MASK;
    // What is there still is the oldest row.
    if totals.ran_ns[row][place] == totals.ran_ns[before][place] {
        totals.runners[place] = 0;
    }
    totals.ran_ns[row] = totals.ran_ns[before];
    totals.ended_ns[row] = totals.ended_ns[before];
    totals.newest = number;
}

/// Charges a wait that ends now to those who ran on the CPU meanwhile.
#[inline(never)]
pub fn charge(waiter: u32, cpu: u32, since_ns: u64, now_ns: u64) {
    let Some(timeline) = TIMELINES.get_ptr_mut(cpu) else { return };
    // SAFETY: as above.
    let timeline = unsafe { &*timeline };
    let mut place = timeline.newest as usize & PLACE_MASK;
    let beyond = place.wrapping_sub(SLICES_OF_A_WAIT as usize) & PLACE_MASK;
    if timeline.slices[beyond].ended_ns > since_ns {
        return charge_long(waiter, cpu, since_ns, now_ns);
    }
    let mut until_ns = now_ns;
    for _ in 0..SLICES_OF_A_WAIT {
        let slot = timeline.slices[place].slot;
        place = place.wrapping_sub(1) & PLACE_MASK;
        let from_ns = timeline.slices[place].ended_ns.max(since_ns).min(until_ns);
        add(cpu, waiter, slot, until_ns - from_ns);
        until_ns = from_ns;
        if until_ns <= since_ns {
            return;
        }
    }
    // Never, as the slices tile the time since the one that is beyond.
    add(cpu, waiter, SLOT_UNKNOWN, until_ns - since_ns);
}

/// A wait of many slices: by what each ran since the row that ended next to its beginning.
#[inline(never)]
fn charge_long(waiter: u32, cpu: u32, since_ns: u64, now_ns: u64) {
    let Some(totals) = RUN_TOTALS.get_ptr_mut(cpu) else { return };
    // SAFETY: as above.
    let totals = unsafe { &*totals };
    let newest = totals.newest;
    // How far back a row is that ended at or before the beginning; the newest goes on.
    let (mut near, mut far) = (1u64, ROWS as u64 - 1);
    for _ in 0..ROW_STEPS {
        let middle = (near + far) / 2;
        if totals.ended_ns[(newest.wrapping_sub(middle) & ROW_MASK) as usize] <= since_ns {
            far = middle;
        } else {
            near = middle + 1;
        }
    }
    let ended_ns = |back: u64| totals.ended_ns[(newest.wrapping_sub(back) & ROW_MASK) as usize];
    // The one after it may be nearer.
    if far > 1 && ended_ns(far - 1).wrapping_sub(since_ns) < since_ns.wrapping_sub(ended_ns(far)) {
        far -= 1;
    }
    let began_ns = ended_ns(far);
    let span_ns = now_ns.wrapping_sub(began_ns);
    let mut left_ns = now_ns - since_ns;
    // More than a row before the oldest: nobody knows.
    if began_ns > since_ns + ROW_NS {
        left_ns = span_ns;
        add(cpu, waiter, SLOT_UNKNOWN, began_ns - since_ns);
    }
    if span_ns == 0 {
        return add(cpu, waiter, SLOT_UNKNOWN, left_ns);
    }
    let (row, then) =
        ((newest & ROW_MASK) as usize, (newest.wrapping_sub(far) & ROW_MASK) as usize);
    let waited_ns = left_ns;
    for place in 0..RUNNERS {
        let ran_ns = totals.ran_ns[row][place].wrapping_sub(totals.ran_ns[then][place]);
        if ran_ns != 0 {
            // In parts of 2^20: a product of two times does not fit into a word.
            let part_ns = (waited_ns * ((ran_ns << 20) / span_ns) >> 20).min(left_ns);
            left_ns -= part_ns;
            add(cpu, waiter, slot_of(totals.runners[place]), part_ns);
        }
    }
    // What was rounded, and of those that had no place.
    add(cpu, waiter, SLOT_UNKNOWN, left_ns);
}

#[inline(always)]
fn add(cpu: u32, waiter: u32, culprit: u32, waited_ns: u64) {
    if waited_ns == 0 {
        return;
    }
    let (key, first) = (key(waiter, culprit), place(waiter, culprit));
    for i in 0..PLACES {
        let index = cpu * PAIRS_PER_CPU + ((first + i) & (PAIRS_PER_CPU - 1));
        let Some(pair) = WAIT_PAIRS.get_ptr_mut(index) else { return };
        // SAFETY: only this CPU adds here; the daemon frees entries of slots that nobody has.
        let pair = unsafe { &mut *pair };
        if pair.key == key {
            pair.waited_ns = pair.waited_ns.wrapping_add(waited_ns);
            return;
        }
        if pair.key == 0 {
            // SAFETY: valid references. Volatile, so that a reader who sees the key sees its time: x86 keeps the order of stores.
            unsafe {
                core::ptr::write_volatile(&raw mut pair.waited_ns, waited_ns);
                core::ptr::write_volatile(&raw mut pair.key, key);
            }
            return;
        }
    }
    drops::count(DropReason::InterferenceTableFull);
}
