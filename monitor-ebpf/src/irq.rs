//! The `irq` family: how often and how long hard interrupt handlers and softirqs run, by CPU and vector, and in whose time.
//!
//! Attribution: the time belongs to the cgroup of the thread that was interrupted. That thread has as a rule nothing to do with
//! the interrupt; what it is for is counted by the families of the devices. A softirq that a thread sets off itself on its way out of
//! a call, such as the receiving side of a loopback connection, runs in its time too. The idle task is nobody.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use monitor_common::irq::{
    IrqCpu, IrqVector, KIND_HARD, SOFTIRQS, SlotIrq, VECTORS_PER_CPU, line_index,
};

use crate::{config::tunable, kernel, slot};

/// By slot, at `slot * cpus + cpu`.
#[map]
static SLOT_IRQ: Array<SlotIrq> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By vector, at `cpu * VECTORS_PER_CPU + vector`.
#[map]
static IRQ_VECTORS: Array<IrqVector> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What runs on each CPU.
#[map]
static IRQ_CPUS: Array<IrqCpu> = Array::with_max_entries(1, 0);

/// `irq_handler_entry(int irq, struct irqaction *action)`.
#[btf_tracepoint(function = "irq_handler_entry")]
pub fn irq_hard_begin(_: BtfTracePointContext) -> i32 {
    on_hard_begin();
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "irq_handler_entry")]
pub fn irq_hard_begin_raw(_: RawTracePointContext) -> i32 {
    on_hard_begin();
    0
}

/// `irq_handler_exit(int irq, struct irqaction *action, int ret)`.
#[btf_tracepoint(function = "irq_handler_exit")]
pub fn irq_hard_end(ctx: BtfTracePointContext) -> i32 {
    on_hard_end(ctx.arg::<usize>(0) as u32);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "irq_handler_exit")]
pub fn irq_hard_end_raw(ctx: RawTracePointContext) -> i32 {
    on_hard_end(ctx.arg::<usize>(0) as u32);
    0
}

/// `softirq_entry(unsigned int vec_nr)`.
#[btf_tracepoint(function = "softirq_entry")]
pub fn irq_soft_begin(_: BtfTracePointContext) -> i32 {
    on_soft_begin();
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "softirq_entry")]
pub fn irq_soft_begin_raw(_: RawTracePointContext) -> i32 {
    on_soft_begin();
    0
}

/// `softirq_exit(unsigned int vec_nr)`.
#[btf_tracepoint(function = "softirq_exit")]
pub fn irq_soft_end(ctx: BtfTracePointContext) -> i32 {
    on_soft_end(ctx.arg::<usize>(0) as u32);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "softirq_exit")]
pub fn irq_soft_end_raw(ctx: RawTracePointContext) -> i32 {
    on_soft_end(ctx.arg::<usize>(0) as u32);
    0
}

/// Where we are, and the record of what runs there.
#[inline(always)]
fn here() -> Option<(u32, &'static mut IrqCpu)> {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let running = IRQ_CPUS.get_ptr_mut(cpu)?;
    // SAFETY: the record of this CPU; a hard handler that interrupts a softirq writes other fields of it.
    Some((cpu, unsafe { &mut *running }))
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn on_hard_begin() {
    if let Some((_, running)) = here() {
        running.hard_since_ns = now_ns();
    }
}

#[inline(always)]
fn on_hard_end(line: u32) {
    let Some((cpu, running)) = here() else { return };
    let since_ns = core::mem::take(&mut running.hard_since_ns);
    // One that began before we came is counted without its time.
    let time_ns = if since_ns == 0 { 0 } else { now_ns().wrapping_sub(since_ns) };
    running.hard_ns = running.hard_ns.wrapping_add(time_ns);
    count(cpu, line_index(line), KIND_HARD, time_ns);
}

#[inline(always)]
fn on_soft_begin() {
    if let Some((_, running)) = here() {
        running.hard_before_ns = running.hard_ns;
        running.soft_since_ns = now_ns();
    }
}

#[inline(always)]
fn on_soft_end(vector: u32) {
    let vector = as_checked(vector);
    if vector >= SOFTIRQS {
        return;
    }
    let Some((cpu, running)) = here() else { return };
    let since_ns = core::mem::take(&mut running.soft_since_ns);
    let time_ns = if since_ns == 0 {
        0
    } else {
        let hard_ns = running.hard_ns.wrapping_sub(running.hard_before_ns);
        now_ns().wrapping_sub(since_ns).saturating_sub(hard_ns)
    };
    count(cpu, vector as u32, 1 + vector, time_ns);
}

/// A number below 16 that LLVM knows nothing of: else it compares one copy of the argument and counts with another, of which the
/// verifier does not know that it is small.
#[inline(always)]
fn as_checked(vector: u32) -> usize {
    let mut vector = vector as usize;
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} &= 15", inout(reg) vector, options(pure, nomem, nostack)) };
    vector
}

#[inline(always)]
fn count(cpu: u32, vector: u32, kind: usize, time_ns: u64) {
    if let Some(record) = IRQ_VECTORS.get_ptr_mut(cpu * VECTORS_PER_CPU + vector) {
        // SAFETY: a map value; a vector does not interrupt itself on its CPU.
        unsafe {
            (*record).count += 1;
            (*record).time_ns += time_ns;
        }
    }
    let task = kernel::current();
    if task.tid() == 0 {
        return;
    }
    let slot = slot::of_current(task);
    if let Some(record) = SLOT_IRQ.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: the record of this CPU, of which this kind's numbers are written by nobody else; the kind is below their number.
        unsafe {
            *(&raw mut (*record).counts).cast::<u64>().add(kind) += 1;
            *(&raw mut (*record).time_ns).cast::<u64>().add(kind) += time_ns;
        }
    }
}
