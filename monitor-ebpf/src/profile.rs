//! The `profile` family: one stack per sample of the CPU clock, to the stack ring.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, bpf_perf_event_data},
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns, bpf_ringbuf_output,
    },
    macros::{map, perf_event},
    maps::{Array, RingBuf},
    programs::PerfEventContext,
};
use monitor_common::{
    drops::DropReason,
    known::KnownRows,
    stack::{MAX_FRAMES, StackHeader, StackSample},
    unwind::{MAX_USER_FRAMES, WalkEnd},
    wakeup::Woken,
};

use crate::{
    config::tunable,
    drops,
    kernel::{self, Direct, Task},
    process, python, unwind,
};

/// Sized at load.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where each CPU puts a sample together: too large for the stack. An array that can be mapped begins with a page.
#[map]
static STACK_SCRATCH: Array<Scratch> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What a sample is put together in. A sample comes after 10 ms of something else, and each page that it is the first to touch costs
/// more than what is done there: what every sample needs lies in one.
#[repr(C, align(4096))]
pub struct Scratch {
    /// 1 while a program of this CPU puts a stack together: an interrupt may come in between, and what it calls must not do the same.
    entered: u64,
    pub walk: unwind::Walk,
    pub sample: StackSample,
    pub known_processes: unwind::KnownProcesses,
    pub known_rows: KnownRows,
    pub python: python::PythonWalk,
}

const _: () = assert!(core::mem::offset_of!(Scratch, known_rows) <= 4096);

const BPF_F_USER_STACK: u64 = 1 << 8;
const BPF_RB_NO_WAKEUP: u64 = 1;
const HALF_BYTES: u32 = (MAX_FRAMES * 8) as u32;
const USER_BYTES: u32 = (MAX_USER_FRAMES * 8) as u32;

/// Enters the scratch record of this CPU; `None`, which is counted, if somebody is there. Whoever enters leaves.
#[inline(always)]
pub fn enter() -> Option<*mut u64> {
    // SAFETY: within the record of this CPU.
    let entered = unsafe { &raw mut (*scratch()?).entered };
    // SAFETY: the word of this CPU. An interrupt leaves it as it was; volatile, so that it is written before the record is.
    unsafe {
        if entered.read_volatile() != 0 {
            drops::count(DropReason::StackNested);
            return None;
        }
        entered.write_volatile(1);
    }
    Some(entered)
}

/// Leaves it.
#[inline(always)]
pub fn leave(entered: *mut u64) {
    // SAFETY: what [`enter`] gave.
    unsafe { entered.write_volatile(0) };
}

/// How much of a number that is meant for a CPU each may have: with more than 16 of them less, for the one ring they share.
#[inline(always)]
pub fn share(of_one: u32) -> u32 {
    let share = of_one * 16 / tunable!(cpus);
    if share < of_one { share + 1 } else { of_one }
}

/// What this CPU has.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    // SAFETY: no arguments.
    STACK_SCRATCH.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

/// Takes one sample of the thread that runs; the idle task is nobody.
#[perf_event]
pub fn profile_sample(ctx: PerfEventContext) -> i32 {
    entered(&ctx, WalkEnd::UnknownProcess, unwind::walk)
}

/// The same for kernels that refuse walks by tables: by frame pointers only.
#[perf_event]
pub fn profile_sample_plain(ctx: PerfEventContext) -> i32 {
    entered(&ctx, WalkEnd::FramePointers, |_, _, _| None)
}

#[inline(always)]
fn entered(
    ctx: &PerfEventContext,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) -> i32 {
    let task = kernel::current();
    if task.tid() == 0 {
        return 0;
    }
    if let Some(entered) = enter() {
        sample(ctx, task, without_tables, walk);
        leave(entered);
    }
    0
}

/// What a sample is of, beside its stack.
pub struct Told {
    /// See [`StackHeader`].
    pub at_ns: u64,
    pub cgroup_id: u64,
    pub period: u64,
    pub word: u32,
    /// Whether it came while user code ran: then there is no kernel stack.
    pub is_in_user_mode: bool,
    /// Whom the thread wakes, if that is what it is of.
    pub woken: Option<Woken>,
}

#[inline(always)]
fn sample(
    ctx: &PerfEventContext,
    task: Task<Direct>,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) {
    // SAFETY: the verifier turns the load into one from the event; the helper takes no arguments.
    let told = unsafe {
        Told {
            at_ns: bpf_ktime_get_ns(),
            cgroup_id: task.cgroup_id(),
            period: (*ctx.as_ptr().cast::<bpf_perf_event_data>()).sample_period,
            word: 0,
            is_in_user_mode: is_in_user_mode(ctx),
            woken: None,
        }
    };
    if !send(ctx.as_ptr(), task, &told, without_tables, walk) {
        drops::count(DropReason::StackRingFull);
    }
}

/// Takes both stacks of the running thread and sends them; false if it is lost, the ring being full. The scratch record must be entered.
#[inline(always)]
pub fn send(
    ctx: *mut c_void,
    task: Task<Direct>,
    told: &Told,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) -> bool {
    match take(ctx, task, told, without_tables, walk) {
        // SAFETY: as many bytes as were taken.
        Some((sample, bytes)) => unsafe { output(sample, bytes) },
        None => false,
    }
}

/// Takes both stacks of the running thread into the scratch record, which must be entered: the sample, and how many bytes of it there are.
/// `None` if it is lost: never, as lengths go, but the verifier is to be told, and whoever calls counts.
#[inline(always)]
pub fn take(
    ctx: *mut c_void,
    task: Task<Direct>,
    told: &Told,
    without_tables: WalkEnd,
    walk: impl Fn(Task<Direct>, u64, u32) -> Option<(u32, u32)>,
) -> Option<(*mut StackSample, u32)> {
    let scratch = scratch()?;
    // SAFETY: the record of this CPU, which is entered; helpers write as many bytes as they are told.
    unsafe {
        let sample = &raw mut (*scratch).sample;
        let first = (&raw mut (*sample).frames).cast::<u8>();
        let mut lead_bytes = 0;
        if let Some(woken) = told.woken {
            first.cast::<Woken>().write(woken);
            lead_bytes = size_of::<Woken>() as u32;
        }
        let frames = first.add(lead_bytes as usize);
        // The helper takes its time to say that there is none.
        let kernel_bytes =
            if told.is_in_user_mode { 0 } else { bpf_get_stack(ctx, frames.cast(), HALF_BYTES, 0) };
        let kernel_bytes = if kernel_bytes > 0 { kernel_bytes as u32 } else { 0 };
        if kernel_bytes > HALF_BYTES {
            return None;
        }
        let is_kernel_thread = task.is_kernel_thread();
        // A thread on its way out has no memory any more, and no user stack: nothing is missing.
        let start_stack = kernel::start_stack(task);
        let (user_bytes, walk_end) = if is_kernel_thread || start_stack.is_none() {
            (0, WalkEnd::Complete as u32)
        } else if let Some((user_frames, end)) =
            walk(task, start_stack.unwrap_or(0), (lead_bytes + kernel_bytes) / 8)
        {
            let mut user_frames = u64::from(user_frames);
            // The compiler knows that it is no more than that, and the verifier does not where the walk is a function of its own.
            asm!("{0} &= 255", inout(reg) user_frames, options(pure, nomem, nostack));
            (user_frames as u32 * 8, end)
        } else {
            let user = frames.add(kernel_bytes as usize);
            let bytes = bpf_get_stack(ctx, user.cast(), HALF_BYTES, BPF_F_USER_STACK);
            (if bytes > 0 { bytes as u32 } else { 0 }, without_tables as u32)
        };
        if user_bytes > USER_BYTES {
            return None;
        }
        if walk_end != WalkEnd::Complete as u32 {
            drops::count(DropReason::StackTruncated);
        }
        if kernel_bytes + user_bytes == 0 {
            drops::count(DropReason::StackUnreadable);
        }
        (*sample).header = StackHeader {
            at_ns: told.at_ns,
            cgroup_id: told.cgroup_id,
            period_ns: told.period,
            tgid: task.tgid(),
            tid: task.tid(),
            cpu: bpf_get_smp_processor_id(),
            kernel_bytes,
            user_bytes,
            is_kernel_thread: u32::from(is_kernel_thread),
            walk_end,
            wait: told.word,
            start_stack: start_stack.unwrap_or(0),
            comm: process::comm(task),
        };
        let bytes = size_of::<StackHeader>() as u32 + lead_bytes + kernel_bytes + user_bytes;
        (bytes <= size_of::<StackSample>() as u32).then_some((sample, bytes))
    }
}

/// Whether the sample came while user code ran. The context shows the registers as words of `struct pt_regs`.
#[inline(always)]
fn is_in_user_mode(ctx: &PerfEventContext) -> bool {
    // x86-64: the privilege in the code segment. arm64: the exception level in the processor state.
    #[cfg(bpf_target_arch = "x86_64")]
    const WORD_MASK_USER: (usize, u64, u64) = (17, 3, 3);
    #[cfg(bpf_target_arch = "aarch64")]
    const WORD_MASK_USER: (usize, u64, u64) = (33, 0xf, 0);
    let (word, mask, user) = WORD_MASK_USER;
    // SAFETY: the registers are the first member of the context, and have more words than that.
    let word = unsafe { ctx.as_ptr().cast::<u64>().add(word).read_volatile() };
    word & mask == user
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
