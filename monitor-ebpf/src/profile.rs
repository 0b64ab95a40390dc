//! The `profile` family: one stack per sample of the CPU clock, to the stack ring.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_perf_event_data,
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns, bpf_ringbuf_output,
    },
    macros::{map, perf_event},
    maps::{PerCpuArray, RingBuf},
    programs::PerfEventContext,
};
use monitor_common::{
    drops::DropReason,
    stack::{MAX_FRAMES, StackHeader, StackSample},
};

use crate::{drops, kernel, process};

/// Sized at load.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where a sample is put together: too large for the stack.
#[map]
static STACK_SCRATCH: PerCpuArray<StackSample> = PerCpuArray::with_max_entries(1, 0);

const BPF_F_USER_STACK: u64 = 1 << 8;
const BPF_RB_NO_WAKEUP: u64 = 1;
const HALF_BYTES: u32 = (MAX_FRAMES * 8) as u32;

/// Takes one sample of the thread that runs; the idle task is nobody.
#[perf_event]
pub fn profile_sample(ctx: PerfEventContext) -> i32 {
    let task = kernel::current();
    let tid = task.tid();
    if tid == 0 {
        return 0;
    }
    let Some(sample) = STACK_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    unsafe {
        let frames = (&raw mut (*sample).frames).cast::<u8>();
        let kernel_bytes = bpf_get_stack(ctx.as_ptr(), frames.cast(), HALF_BYTES, 0);
        // A thread interrupted in user mode has no kernel half: the helper says -EFAULT.
        let kernel_bytes = if kernel_bytes > 0 { kernel_bytes as u32 } else { 0 };
        if kernel_bytes > HALF_BYTES {
            return 0;
        }
        let user = frames.add(kernel_bytes as usize);
        let is_kernel_thread = task.is_kernel_thread();
        let user_bytes = bpf_get_stack(ctx.as_ptr(), user.cast(), HALF_BYTES, BPF_F_USER_STACK);
        let user_bytes = if user_bytes > 0 { user_bytes as u32 } else { 0 };
        if user_bytes > HALF_BYTES {
            return 0;
        }
        if kernel_bytes + user_bytes == 0 {
            drops::count(DropReason::StackUnreadable);
        }
        (*sample).header = StackHeader {
            at_ns: bpf_ktime_get_ns(),
            cgroup_id: task.cgroup_id(),
            period_ns: (*ctx.as_ptr().cast::<bpf_perf_event_data>()).sample_period,
            tgid: task.tgid(),
            tid,
            cpu: bpf_get_smp_processor_id(),
            kernel_bytes,
            user_bytes,
            is_kernel_thread: u32::from(is_kernel_thread),
            comm: process::comm(task),
        };
        let bytes = size_of::<StackHeader>() as u32 + kernel_bytes + user_bytes;
        if bytes > size_of::<StackSample>() as u32 {
            return 0;
        }
        let ring = (&raw const STACKS).cast_mut().cast::<c_void>();
        if bpf_ringbuf_output(ring, sample.cast(), u64::from(bytes), BPF_RB_NO_WAKEUP) != 0 {
            drops::count(DropReason::StackRingFull);
        }
    }
    0
}
