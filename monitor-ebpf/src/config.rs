//! What user space sets before load: frozen read-only data, so that the verifier sees constants and prunes what is off.
//!
//! Contract: read field by field through the macros. A read of the whole record would copy it to the stack, and the
//! verifier would no longer know the values.

use core::mem::MaybeUninit;

use monitor_common::{
    files::FileCalls,
    offset::KernelOffsets,
    state::SYSCALL_LIMIT,
    syscall::CallClasses,
    tunable::{SyscallClasses, Tunables},
};

/// Offsets of the running kernel.
#[unsafe(no_mangle)]
pub static OFFSETS: MaybeUninit<KernelOffsets> = MaybeUninit::new(KernelOffsets::ABSENT);

/// Sizes and choices of this run.
#[unsafe(no_mangle)]
pub static TUNABLES: MaybeUninit<Tunables> = MaybeUninit::new(Tunables::DEFAULT);

/// The class of each system call of this architecture.
#[unsafe(no_mangle)]
pub static SYSCALL_CLASSES: MaybeUninit<SyscallClasses> = MaybeUninit::new([0; SYSCALL_LIMIT]);

/// What each system call of this architecture is for.
#[unsafe(no_mangle)]
pub static CALL_CLASSES: MaybeUninit<CallClasses> = MaybeUninit::new([0; SYSCALL_LIMIT]);

/// What each system call of this architecture does with files.
#[unsafe(no_mangle)]
pub static FILE_CALLS: MaybeUninit<FileCalls> = MaybeUninit::new([0; SYSCALL_LIMIT]);

/// The offset of a kernel member, as a constant to the verifier.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: the static is initialised; the read is volatile because user space replaces the value before load.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::config::OFFSETS.as_ptr()).$field) }
    };
}

/// A tunable, as a constant to the verifier.
macro_rules! tunable {
    ($field:ident) => {
        // SAFETY: the static is initialised; the read is volatile because user space replaces the value before load.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::config::TUNABLES.as_ptr()).$field) }
    };
}

pub(crate) use {offset, tunable};

/// The [`monitor_common::state::SyscallClass`] of a system call.
#[inline(always)]
pub fn syscall_class(number: u32) -> u8 {
    if number as usize >= SYSCALL_LIMIT {
        return 0;
    }
    // SAFETY: the index is below the length; volatile as above.
    unsafe { core::ptr::read_volatile(SYSCALL_CLASSES.as_ptr().cast::<u8>().add(number as usize)) }
}
