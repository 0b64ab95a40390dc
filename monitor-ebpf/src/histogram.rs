//! Recording a latency in a distribution that user space reads through its mapping.

use monitor_common::{
    bucket::{self, RawHistogram},
    drops::DropReason,
};

use crate::{atomic, config::tunable, drops};

/// The time from `start_ns` to `end_ns`, unless it runs backwards: then the loss is counted.
#[inline(always)]
pub fn elapsed_ns(start_ns: u64, end_ns: u64) -> Option<u64> {
    if end_ns < start_ns {
        drops::count(DropReason::ClockSkew);
        return None;
    }
    Some(end_ns - start_ns)
}

/// Records one latency.
///
/// # Safety
/// `histogram` points into a map value.
#[inline(always)]
pub unsafe fn record(histogram: *mut RawHistogram, latency_ns: u64) {
    let is_shared = tunable!(shared_lanes) != 0;
    // SAFETY: as for this function.
    unsafe { record_in(histogram, latency_ns, is_shared) };
}

/// The same for a family whose CPUs share distributions at other numbers.
///
/// # Safety
/// `histogram` points into a map value.
#[inline(always)]
pub unsafe fn record_in(histogram: *mut RawHistogram, latency_ns: u64, is_shared: bool) {
    let index = bucket::index(latency_ns);
    if index >= bucket::COUNT {
        return;
    }
    // SAFETY: the index is inside; the pointer is into a map value.
    let (sum, count) = unsafe {
        (&raw mut (*histogram).sum_ns, (&raw mut (*histogram).counts).cast::<u32>().add(index))
    };
    if !is_shared {
        // SAFETY: only this CPU writes here, with interrupts off.
        unsafe {
            *sum = (*sum).wrapping_add(latency_ns);
            *count = (*count).wrapping_add(1);
        }
    } else {
        // SAFETY: both are in a map value, whose histograms are aligned to 8.
        unsafe {
            atomic::add_u64(sum, latency_ns);
            atomic::add_u32(count, 1);
        }
    }
}
