//! Interference on CPUs: who ran while a thread waited.
//!
//! Contract: see [`monitor_common::interference`]. Called under the runqueue lock of the CPU it is about, so nothing here needs
//! a lock. A wait that began on another CPU is charged to who ran where it ended.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use monitor_common::{
    drops::DropReason,
    interference::{
        PAIRS_PER_CPU, PLACES, SLICES, SLICES_OF_A_WAIT, SLOT_UNKNOWN, Slice, Timeline, WaitPair,
        key, place,
    },
};

use crate::drops;

/// Who used each CPU lately.
#[map]
static TIMELINES: Array<Timeline> = Array::with_max_entries(1, 0);

/// Who waited for whom, at `cpu * PAIRS_PER_CPU + place`: an inlined lookup where a hash costs a call.
#[map]
static WAIT_PAIRS: Array<WaitPair> = Array::with_max_entries(1, BPF_F_MMAPABLE);

const PLACE_MASK: usize = SLICES - 1;

/// Notes that `slot` used a CPU up to now.
#[inline(always)]
pub fn end_slice(cpu: u32, slot: u32, now_ns: u64) {
    let Some(timeline) = TIMELINES.get_ptr_mut(cpu) else { return };
    // SAFETY: the timeline of this CPU, with interrupts off.
    let timeline = unsafe { &mut *timeline };
    let newest = timeline.newest as usize & PLACE_MASK;
    if timeline.slices[newest].slot == slot {
        timeline.slices[newest].ended_ns = now_ns;
        return;
    }
    let newest = (newest + 1) & PLACE_MASK;
    timeline.slices[newest] = Slice { ended_ns: now_ns, slot, padding: 0 };
    timeline.newest = newest as u32;
}

/// Charges a wait that ends now to those who ran on the CPU meanwhile.
#[inline(never)]
pub fn charge(waiter: u32, cpu: u32, since_ns: u64, now_ns: u64) {
    let Some(timeline) = TIMELINES.get_ptr_mut(cpu) else { return };
    // SAFETY: as above.
    let timeline = unsafe { &*timeline };
    let mut place = timeline.newest as usize & PLACE_MASK;
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
    add(cpu, waiter, SLOT_UNKNOWN, until_ns - since_ns);
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
