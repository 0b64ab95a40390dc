//! The stack of who waits for a slow request of a disk.
//!
//! Who makes a request and waits for it sleeps until it is done, in the kernel stack in which it made it or a caller of that. So nothing
//! is taken when requests are made: a request that ends as one of the slowest marks its thread, if that waits for a disk, and the
//! switch that brings the thread back to a CPU takes the stack of its wait, which is still there. For all other switches that is a look at a
//! byte beside others they need. User space compares instants, so a mark that comes too late gives nobody's request a stack.
//!
//! Not told: the stacks of those who do not wait (writeback, io_uring, libaio), and the user's part, whose memory is not mapped at the switch.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    helpers::generated::{bpf_get_task_stack, bpf_ktime_get_ns},
    macros::map,
    maps::Array,
};
use monitor_common::{
    outlier::{OUTLIER_STACK, OutlierStack, STACK_FRAMES},
    sched::MARK_STACK_WANTED,
    state::ThreadState,
};

use crate::{config::tunable, outlier, sched, thread};

/// Where each CPU puts one together.
#[map]
static OUTLIER_STACKS: Array<OutlierStack> = Array::with_max_entries(1, 0);

const STACK_BYTES: u32 = (STACK_FRAMES * 8) as u32;

/// Asks for the stack of a thread whose request has just ended, if it waits for a disk: it is woken after this.
#[inline(always)]
pub fn ask(tid: u32) {
    if tunable!(outlier_stacks) == 0 || tid == 0 {
        return;
    }
    let is_waiting = thread::glimpse(tid).is_some_and(|seen| seen.state == ThreadState::Disk as u8);
    if is_waiting {
        thread::mark(tid, MARK_STACK_WANTED);
    }
}

/// Tells the stack of a thread that comes back to this CPU from a wait that began at `since_ns` of the scheduler's clock. `task` is typed.
#[inline(never)]
pub fn send(task: *const c_void, tid: u32, cpu: u32, since_ns: u64) {
    let Some(stack) = OUTLIER_STACKS.get_ptr_mut(cpu) else { return };
    // SAFETY: the record of this CPU, with interrupts off; the helper writes at most so many bytes.
    unsafe {
        let frames = (&raw mut (*stack).frames).cast();
        let mut bytes = bpf_get_task_stack(task.cast_mut().cast(), frames, STACK_BYTES, 0) as u64;
        if bytes == 0 || bytes > u64::from(STACK_BYTES) {
            return;
        }
        // As it is; the verifier does not follow it through the comparison on all kernels.
        asm!("{0} &= 1023", inout(reg) bytes, options(pure, nomem, nostack));
        (*stack).kind = OUTLIER_STACK;
        (*stack).tid = tid;
        (*stack).since_ns = since_ns.wrapping_add(sched::ktime_distance_ns(cpu));
        (*stack).until_ns = bpf_ktime_get_ns();
        let head = (size_of::<OutlierStack>() - size_of::<[u64; STACK_FRAMES]>()) as u64;
        outlier::output(stack.cast(), head + bytes);
    }
}
