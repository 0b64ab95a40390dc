//! The slowest operations of each second, told by those who see them end, as [`crate::block`] and [`crate::files`] do.
//!
//! Contract: see [`monitor_common::outlier`]. What is not among the slowest costs a lookup in an array and two compares.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    helpers::generated::bpf_ringbuf_output,
    macros::map,
    maps::{Array, RingBuf},
};
use monitor_common::{
    drops::DropReason,
    outlier::{Admission, FileOutlier, OutlierGate, OutlierKind, OutlierRecord},
    path::{NAME_BYTES, PATH_BYTES},
};

use crate::{config::tunable, drops};

/// What must be exceeded, at `kind * cpus + cpu`.
#[map]
static OUTLIER_GATES: Array<OutlierGate> = Array::with_max_entries(1, 0);

/// Sized at load.
#[map]
static OUTLIERS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The reader polls.
const BPF_RB_NO_WAKEUP: u64 = 1;

/// Whether an operation that ends now on this CPU is to be told with [`send`].
#[inline(always)]
pub fn is_one(kind: OutlierKind, cpu: u32, now_ns: u64, took_ns: u64) -> bool {
    let index = kind as u32 * tunable!(cpus) + cpu;
    let Some(gate) = OUTLIER_GATES.get_ptr_mut(index) else { return false };
    // SAFETY: the record of this CPU, which only programs of one kind use; none of them interrupts itself.
    let gate = unsafe { &mut *gate };
    !gate.is_shut(now_ns, took_ns) && admit(gate, kind.floor_ns(), now_ns, took_ns)
}

#[inline(never)]
fn admit(gate: &mut OutlierGate, floor_ns: u64, now_ns: u64, took_ns: u64) -> bool {
    match gate.admit(now_ns, took_ns, floor_ns) {
        Admission::Sent => true,
        Admission::Refused => false,
        Admission::TooMany => {
            drops::count(DropReason::OutlierLimit);
            false
        }
    }
}

/// Tells of one.
#[inline(never)]
pub fn send(record: &OutlierRecord) {
    if OUTLIERS.output::<OutlierRecord>(record, BPF_RB_NO_WAKEUP).is_err() {
        drops::count(DropReason::OutlierRingFull);
    }
}

/// Tells of one of a file, with as much as there is of its path.
#[inline(never)]
pub fn send_file(outlier: *mut FileOutlier) {
    const WITHOUT_NAMES: u64 = (size_of::<FileOutlier>() - PATH_BYTES - NAME_BYTES) as u64;
    const { assert!(PATH_BYTES + NAME_BYTES <= 1023) };
    // SAFETY: the record of this CPU, which its program has to itself.
    let mut bytes = u64::from(unsafe { (&raw const (*outlier).path.head.bytes).read_volatile() });
    // SAFETY: arithmetic on one register: it is no more than that, which the verifier is to know.
    unsafe { asm!("{0} &= 1023", inout(reg) bytes, options(pure, nomem, nostack)) };
    if bytes > (PATH_BYTES + NAME_BYTES) as u64 {
        return;
    }
    // SAFETY: as many bytes as the record has.
    unsafe { output(outlier.cast(), WITHOUT_NAMES + bytes) };
}

/// Sends so many bytes.
///
/// # Safety
/// They are there.
#[inline(always)]
pub unsafe fn output(record: *mut c_void, bytes: u64) {
    let ring = (&raw const OUTLIERS).cast_mut().cast::<c_void>();
    // SAFETY: as for this function.
    if unsafe { bpf_ringbuf_output(ring, record, bytes, BPF_RB_NO_WAKEUP) } != 0 {
        drops::count(DropReason::OutlierRingFull);
    }
}
