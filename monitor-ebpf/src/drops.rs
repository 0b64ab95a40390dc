//! Loss is data: each way to lose something is counted, per CPU, where it happens.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE, helpers::generated::bpf_get_smp_processor_id, macros::map,
    maps::Array,
};
use monitor_common::drops::{DropCounters, DropReason};

/// One record per CPU.
#[map]
static DROPS: Array<DropCounters> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Counts one loss.
#[inline(always)]
pub fn count(reason: DropReason) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(counters) = DROPS.get_ptr_mut(cpu) {
        // SAFETY: the record of this CPU; an interrupt in between can only lose a count of a loss.
        unsafe { (*counters).by_reason[reason as usize] += 1 };
    }
}
