//! Interference in the queues of devices: whose requests a device finished while another's waited to be issued.
//!
//! Contract: see [`monitor_common::block::DeviceTimeline`]. The slices of a device tile its time from one completion to the next, and
//! each belongs to whom the request was that completed at its end: that is what the device was at work on. What of a wait lies after
//! the last completion is nobody's: nothing stood in its way but the way to the device itself.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use monitor_common::{
    block::{
        DEVICE_PLACES, DEVICE_SLICES, DEVICE_SLICES_OF_A_WAIT, DEVICES, DeviceTimeline, QueueWait,
        device_place,
    },
    drops::DropReason,
};

use crate::{atomic, drops};

/// What each device finished lately.
#[map]
static DEVICE_TIMELINES: Array<DeviceTimeline> = Array::with_max_entries(1, 0);

/// How long the requests of one pair waited for those of another, ns.
#[map]
static QUEUE_WAITS: HashMap<QueueWait, u64> = HashMap::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;
const PLACE_MASK: usize = DEVICE_SLICES - 1;

/// The timeline of a device.
#[inline(always)]
fn timeline(device: u32, is_new: bool) -> Option<*mut DeviceTimeline> {
    // A device is never 0 here, nor is a queue without a disk asked for.
    let first = device_place(device);
    for i in 0..DEVICE_PLACES {
        let timeline = DEVICE_TIMELINES.get_ptr_mut((first + i) & (DEVICES - 1))?;
        // SAFETY: a map value.
        unsafe {
            if (*timeline).device == device {
                return Some(timeline);
            }
            if (*timeline).device == 0 {
                if is_new {
                    (*timeline).device = device;
                    return Some(timeline);
                }
                return None;
            }
        }
    }
    None
}

/// Notes that a device finished a request of `pair` now. CPUs that do so at the same instant may lose a slice to each other: then its
/// time is the next one's.
#[inline(always)]
pub fn finished(device: u32, pair: u32, now_ns: u64) {
    if device == 0 {
        return;
    }
    let Some(timeline) = timeline(device, true) else {
        drops::count(DropReason::DeviceTableFull);
        return;
    };
    // SAFETY: a map value; each field is a word.
    let timeline = unsafe { &mut *timeline };
    let newest = timeline.newest as usize & PLACE_MASK;
    if timeline.slices[newest].pair == pair {
        timeline.slices[newest].ended_ns = now_ns;
        return;
    }
    let newest = (newest + 1) & PLACE_MASK;
    timeline.slices[newest].ended_ns = now_ns;
    timeline.slices[newest].pair = pair;
    timeline.newest = newest as u32;
}

/// Whether a device finished anything since an instant.
#[inline(always)]
pub fn has_finished_since(device: u32, since_ns: u64) -> bool {
    let Some(timeline) = timeline(device, false) else { return false };
    // SAFETY: a map value.
    let timeline = unsafe { &*timeline };
    timeline.slices[timeline.newest as usize & PLACE_MASK].ended_ns > since_ns
}

/// Charges the wait of a request, which is issued now, to those whose requests were finished meanwhile.
#[inline(never)]
pub fn charge(device: u32, waiter: u32, since_ns: u64) {
    let Some(timeline) = timeline(device, false) else { return };
    // SAFETY: a map value.
    let timeline = unsafe { &*timeline };
    let mut place = timeline.newest as usize & PLACE_MASK;
    let mut until_ns = timeline.slices[place].ended_ns;
    for _ in 0..DEVICE_SLICES_OF_A_WAIT {
        if until_ns <= since_ns {
            return;
        }
        let pair = timeline.slices[place].pair;
        place = place.wrapping_sub(1) & PLACE_MASK;
        let from_ns = timeline.slices[place].ended_ns.max(since_ns).min(until_ns);
        add(QueueWait { waiter, culprit: pair }, until_ns - from_ns);
        until_ns = from_ns;
    }
}

#[inline(always)]
fn add(key: QueueWait, waited_ns: u64) {
    if waited_ns == 0 {
        return;
    }
    let add = || {
        let Some(sum) = QUEUE_WAITS.get_ptr_mut(&key) else { return false };
        // SAFETY: a map value.
        unsafe { atomic::add_u64(sum, waited_ns) };
        true
    };
    // Of two CPUs that insert at once, one finds the entry of the other.
    if !add() && QUEUE_WAITS.insert(&key, &waited_ns, BPF_NOEXIST).is_err() && !add() {
        drops::count(DropReason::DeviceTableFull);
    }
}
