//! The ring of rare events: cgroups and processes that come and go.

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::map, maps::RingBuf};
use monitor_common::{
    drops::DropReason,
    event::{EventHeader, EventKind},
};

use crate::drops;

/// Sized at load.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The reader polls: no wake-up of its thread from inside the scheduler.
const BPF_RB_NO_WAKEUP: u64 = 1;

/// The head of an event that happens now.
#[inline(always)]
pub fn header(kind: EventKind) -> EventHeader {
    // SAFETY: no arguments.
    EventHeader { kind: kind as u32, padding: 0, at_ns: unsafe { bpf_ktime_get_ns() } }
}

/// Sends one record, which must begin with an [`EventHeader`]; a full ring is counted.
#[inline(always)]
pub fn send<T>(record: &T) -> bool {
    let is_sent = EVENTS.output::<T>(record, BPF_RB_NO_WAKEUP).is_ok();
    if !is_sent {
        drops::count(DropReason::EventRingFull);
    }
    is_sent
}

/// Room in the ring for one record, to fill in place where it is too large for the stack.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<aya_ebpf::maps::ring_buf::RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        drops::count(DropReason::EventRingFull);
    }
    entry
}

/// Hands a filled record over.
#[inline(always)]
pub fn submit<T: 'static>(entry: aya_ebpf::maps::ring_buf::RingBufEntry<T>) {
    entry.submit(BPF_RB_NO_WAKEUP);
}
