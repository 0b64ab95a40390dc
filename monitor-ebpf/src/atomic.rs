//! Additions that nothing gets between: neither another CPU nor an interrupt.

use core::arch::asm;

// `core` has no atomics for this target: it lacks compare-and-swap before v3 of the instruction set.

/// Adds, wrapping.
///
/// # Safety
/// `place` is in a map value, aligned to 8.
#[inline(always)]
pub unsafe fn add_u64(place: *mut u64, value: u64) {
    // SAFETY: as for this function; map values live as long as the map.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {v}", p = in(reg) place, v = in(reg) value) };
}

/// Adds, wrapping.
///
/// # Safety
/// `place` is in a map value, aligned to 4.
#[inline(always)]
pub unsafe fn add_u32(place: *mut u32, value: u64) {
    // SAFETY: as for this function; map values live as long as the map.
    unsafe { asm!("lock *(u32 *)({p} + 0) += {v}", p = in(reg) place, v = in(reg) value) };
}
