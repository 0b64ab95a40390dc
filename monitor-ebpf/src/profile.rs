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
    unwind::{MAX_USER_FRAMES, WalkEnd},
};

use crate::{
    drops,
    kernel::{self, Direct, Task},
    process, unwind,
};

/// Sized at load.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where a sample is put together: too large for the stack.
#[map]
static STACK_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What a sample is put together in.
#[repr(C)]
pub struct Scratch {
    pub sample: StackSample,
    pub walk: unwind::Walk,
}

const BPF_F_USER_STACK: u64 = 1 << 8;
const BPF_RB_NO_WAKEUP: u64 = 1;
const HALF_BYTES: u32 = (MAX_FRAMES * 8) as u32;
const USER_BYTES: u32 = (MAX_USER_FRAMES * 8) as u32;

/// What this CPU has.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    STACK_SCRATCH.get_ptr_mut(0)
}

/// Takes one sample of the thread that runs; the idle task is nobody.
#[perf_event]
pub fn profile_sample(ctx: PerfEventContext) -> i32 {
    sample(&ctx, WalkEnd::UnknownProcess, unwind::walk)
}

/// The same for kernels that refuse walks by tables: by frame pointers only.
#[perf_event]
pub fn profile_sample_plain(ctx: PerfEventContext) -> i32 {
    sample(&ctx, WalkEnd::FramePointers, |_, _, _| None)
}

#[inline(always)]
fn sample(
    ctx: &PerfEventContext,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) -> i32 {
    let task = kernel::current();
    let tid = task.tid();
    if tid == 0 {
        return 0;
    }
    let Some(scratch) = scratch() else { return 0 };
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    unsafe {
        let sample = &raw mut (*scratch).sample;
        let frames = (&raw mut (*sample).frames).cast::<u8>();
        let kernel_bytes = bpf_get_stack(ctx.as_ptr(), frames.cast(), HALF_BYTES, 0);
        // A thread interrupted in user mode has no kernel half: the helper says -EFAULT.
        let kernel_bytes = if kernel_bytes > 0 { kernel_bytes as u32 } else { 0 };
        if kernel_bytes > HALF_BYTES {
            return 0;
        }
        let is_kernel_thread = task.is_kernel_thread();
        // A thread on its way out has no memory any more, and no user stack: nothing is missing.
        let start_stack = kernel::start_stack(task);
        let (user_bytes, walk_end) = if is_kernel_thread || start_stack.is_none() {
            (0, WalkEnd::Complete as u32)
        } else if let Some((user_frames, end)) =
            walk(task, start_stack.unwrap_or(0), kernel_bytes / 8)
        {
            (user_frames * 8, end)
        } else {
            let user = frames.add(kernel_bytes as usize);
            let bytes = bpf_get_stack(ctx.as_ptr(), user.cast(), HALF_BYTES, BPF_F_USER_STACK);
            (if bytes > 0 { bytes as u32 } else { 0 }, without_tables as u32)
        };
        if user_bytes > USER_BYTES {
            return 0;
        }
        if walk_end != WalkEnd::Complete as u32 {
            drops::count(DropReason::StackTruncated);
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
            walk_end,
            wait: 0,
            start_stack: start_stack.unwrap_or(0),
            comm: process::comm(task),
        };
        let bytes = size_of::<StackHeader>() as u32 + kernel_bytes + user_bytes;
        if bytes > size_of::<StackSample>() as u32 {
            return 0;
        }
        if !output(sample, bytes) {
            drops::count(DropReason::StackRingFull);
        }
    }
    0
}

/// Sends so many bytes of a sample; false if the ring is full.
///
/// # Safety
/// They are within it.
#[inline(always)]
pub unsafe fn output(sample: *mut StackSample, bytes: u32) -> bool {
    let ring = (&raw const STACKS).cast_mut().cast::<c_void>();
    // SAFETY: as for this function.
    unsafe { bpf_ringbuf_output(ring, sample.cast(), u64::from(bytes), BPF_RB_NO_WAKEUP) == 0 }
}
