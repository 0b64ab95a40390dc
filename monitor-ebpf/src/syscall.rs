//! The `syscall` family: calls, errors and time by class. Off unless asked for: with a hook on them, all calls of the host leave
//! the kernel's short way in and out.
//!
//! Attribution: a call belongs to the cgroup its thread is in when it returns.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use monitor_common::{
    bucket::RawHistogram,
    drops::DropReason,
    offset::ABSENT,
    state::SYSCALL_LIMIT,
    syscall::{
        CallClass, CallStart, SINGLE_CALLS, SlotCalls, SlotCallsLatency, SlotSyscall,
        SlotSyscallLatency,
    },
};

use crate::{
    config::{CALL_CLASSES, offset, tunable},
    drops, files, histogram,
    kernel::{self, Direct, Read},
    slot,
};

/// Counters, at `slot * cpus + cpu`.
#[map]
static SLOT_SYSCALL: Array<SlotSyscall> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `slot * lanes + lane`, with the lanes of the `block` family.
#[map]
static SLOT_SYSCALL_LATENCY: Array<SlotSyscallLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Counters of calls one by one, at `slot * cpus + cpu`; one entry where none was named.
#[map]
static SLOT_CALLS: Array<SlotCalls> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Their distributions, at `slot * lanes + lane`.
#[map]
static SLOT_CALLS_LATENCY: Array<SlotCallsLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The call each thread is in, at `tid & thread_mask`.
#[map]
static CALLS: Array<CallStart> = Array::with_max_entries(1, 0);

/// `-MAX_ERRNO`: results from there to -1 are errors.
const LOWEST_ERROR: i64 = -4095;
/// `-ERESTART_RESTARTBLOCK` to `-ERESTARTSYS`: the call was interrupted; it goes on, or the program sees `EINTR`.
const RESTARTS: core::ops::RangeInclusive<i64> = -516..=-512;
/// `__USER32_CS`: the thread runs 32-bit code, whose calls have numbers of their own.
const USER32_CS: u64 = 0x23;

/// `sys_enter(struct pt_regs *regs, long id)`.
#[btf_tracepoint(function = "sys_enter")]
pub fn syscall_enter(ctx: BtfTracePointContext) -> i32 {
    on_enter(ctx.arg::<usize>(1) as i64);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall_enter_raw(ctx: RawTracePointContext) -> i32 {
    on_enter(ctx.arg::<usize>(1) as i64);
    0
}

/// `sys_exit(struct pt_regs *regs, long ret)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn syscall_exit(ctx: BtfTracePointContext) -> i32 {
    on_exit(ctx.arg::<usize>(1) as i64);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn syscall_exit_raw(ctx: RawTracePointContext) -> i32 {
    on_exit(ctx.arg::<usize>(1) as i64);
    0
}

#[inline(always)]
fn on_enter(number: i64) {
    let task = kernel::current();
    let tid = task.tid();
    let Some(place) = CALLS.get_ptr_mut(tid & tunable!(thread_mask)) else { return };
    // SAFETY: no arguments.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let start = call(tid, number, at_ns);
    // SAFETY: a map value. Of two threads in one place, the call of one is counted without its time.
    unsafe { *place = start };
}

#[inline(always)]
fn on_exit(result: i64) {
    let task = kernel::current();
    let tid = task.tid();
    let Some(place) = CALLS.get_ptr_mut(tid & tunable!(thread_mask)) else { return };
    // SAFETY: a map value, copied at once.
    let mut start = unsafe { *place };
    if start.tid != tid || start.at_ns == 0 {
        drops::count(DropReason::CallMissed);
        let number = match offset!(regs_syscall) {
            ABSENT => -1,
            offset => Direct::at::<i64>(kernel::user_registers(task), offset),
        };
        start = call(tid, number, 0);
    } else {
        // SAFETY: as above. Used up, so that it cannot be taken for the beginning of another.
        unsafe { (*place).at_ns = 0 };
    }
    files::on_exit(task, u32::from(start.file_operation), result, start.at_ns);
    let slot = slot::of_current(task);
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let is_shared = tunable!(block_shared_lanes) != 0;
    let lane = if is_shared { cpu & (tunable!(block_lanes) - 1) } else { cpu };
    let (place, lane) = (slot * tunable!(cpus) + cpu, slot * tunable!(block_lanes) + lane);
    let class = start.class as usize;
    let single = class.wrapping_sub(CallClass::COUNT);
    if class < CallClass::COUNT {
        if let Some(record) = SLOT_SYSCALL.get_ptr_mut(place) {
            // SAFETY: the record of this CPU, in process context with preemption off; the index is inside.
            unsafe {
                count((&raw mut (*record).calls).cast(), class);
                if is_error(result) {
                    count((&raw mut (*record).errors).cast(), class);
                }
            }
        }
        if let Some(record) = SLOT_SYSCALL_LATENCY.get_ptr_mut(lane) {
            // SAFETY: a map value; the index is inside.
            unsafe { time((&raw mut (*record).histograms).cast(), class, &start, is_shared) };
        }
    } else if single < SINGLE_CALLS {
        if let Some(record) = SLOT_CALLS.get_ptr_mut(place) {
            // SAFETY: as above.
            unsafe {
                count((&raw mut (*record).calls).cast(), single);
                if is_error(result) {
                    count((&raw mut (*record).errors).cast(), single);
                }
            }
        }
        if let Some(record) = SLOT_CALLS_LATENCY.get_ptr_mut(lane) {
            // SAFETY: as above.
            unsafe { time((&raw mut (*record).histograms).cast(), single, &start, is_shared) };
        }
    }
}

#[inline(always)]
fn is_error(result: i64) -> bool {
    (LOWEST_ERROR..0).contains(&result) && !RESTARTS.contains(&result)
}

/// # Safety
/// `counters` has more than `index`, and only this CPU writes it.
#[inline(always)]
unsafe fn count(counters: *mut u64, index: usize) {
    // SAFETY: as for this function.
    unsafe { *counters.add(index) += 1 };
}

/// Records how long a call took, if its beginning was seen.
///
/// # Safety
/// `histograms` has more than `index`, in a map value.
#[inline(always)]
unsafe fn time(histograms: *mut RawHistogram, index: usize, start: &CallStart, is_shared: bool) {
    if start.at_ns == 0 {
        return;
    }
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if let Some(elapsed_ns) = histogram::elapsed_ns(start.at_ns, now_ns) {
        // SAFETY: as for this function.
        unsafe { histogram::record_in(histograms.add(index), elapsed_ns, is_shared) };
    }
}

/// A system call of the running thread.
#[inline(always)]
fn call(tid: u32, number: i64, at_ns: u64) -> CallStart {
    let other = CallStart { tid, class: CallClass::Other as u16, file_operation: 0, at_ns };
    if number < 0 || number >= SYSCALL_LIMIT as i64 {
        return other;
    }
    if offset!(regs_cs) != ABSENT {
        let segment: u64 = Direct::at(kernel::user_registers(kernel::current()), offset!(regs_cs));
        if segment & 0xffff == USER32_CS {
            return other;
        }
    }
    // SAFETY: the index is below the length; volatile because user space replaces the value before load.
    let class = unsafe {
        let classes = CALL_CLASSES.as_ptr().cast::<u8>();
        core::ptr::read_volatile(classes.add(number as usize))
    };
    CallStart {
        tid,
        class: u16::from(class),
        file_operation: files::operation(number) as u16,
        at_ns,
    }
}
