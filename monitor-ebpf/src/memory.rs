//! The `memory` family: faults and how long they take, use of the page cache, stalls, and kills for want of memory.
//!
//! Attribution: all of it happens in the thread concerned, so it belongs to that thread's cgroup; of a kill, to the victim's
//! and to that of the thread that asked for memory.
//!
//! The kernel has a tracepoint where a fault begins and none where it ends. It ends where the kernel counts it for
//! `/proc/PID/stat`, which is a software event of perf: with a period of 1 that event calls us for each.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, bpf_perf_event_data},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, perf_event, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, PerfEventContext, RawTracePointContext},
};
use monitor_common::{
    drops::DropReason,
    memory::{
        CACHE_READS, CALL_WORDS, CacheRead, FAULT_STARTS, FaultStart, MemoryCounter, MemoryWait,
        OOM_VICTIMS, OomKey, OomVictim, SlotMemory, SlotMemoryWaits,
    },
    offset::ABSENT,
};

use crate::{
    atomic,
    config::{offset, tunable},
    drops, histogram,
    kernel::{self, Direct, Probe, Read, Task, pointer},
    slot,
};

/// Counters, at `slot * cpus + cpu`.
#[map]
static SLOT_MEMORY: Array<SlotMemory> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `slot * lanes + lane`, with the lanes of the `block` family.
#[map]
static SLOT_MEMORY_WAITS: Array<SlotMemoryWaits> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// At `mode * FAULT_STARTS + (tid & (FAULT_STARTS - 1))`. A fault of kernel mode may come from an interrupt in the middle of one of
/// user mode, so each mode has its own.
#[map]
static FAULTS: Array<FaultStart> = Array::with_max_entries(1, 0);

/// When a stall began, `CLOCK_MONOTONIC` ns, at `tid << 8 | wait`.
#[map]
static STALLS: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// At `tid & (CACHE_READS - 1)`.
#[map]
static CACHE_READ: Array<CacheRead> = Array::with_max_entries(1, 0);

/// Kills so far.
#[map]
static OOM_KILLS: HashMap<OomKey, u64> = HashMap::with_max_entries(1, 0);

/// At `tgid & (OOM_VICTIMS - 1)`.
#[map]
static OOM_MARKED: Array<OomVictim> = Array::with_max_entries(OOM_VICTIMS, 0);

const PAGE_SHIFT: u64 = 12;
/// `PG_head`: the page is the first of several.
const PG_HEAD: u64 = 1 << 6;
/// Where the order of a large folio is, in `_flags_1`.
const ORDER_MASK: u64 = 0xff;
const BPF_NOEXIST: u64 = 1;
/// A process that is marked again within this time is the same one, not another of its number.
const SAME_VICTIM_NS: u64 = 60_000_000_000;

/// A pair of programs for one hook: with typed arguments, and where the verifier types none.
macro_rules! hook {
    ($target:literal, $typed:ident, $untyped:ident, |$ctx:ident, $read:ident| $body:expr) => {
        #[doc = concat!("`", $target, "`.")]
        #[btf_tracepoint(function = $target)]
        pub fn $typed($ctx: BtfTracePointContext) -> i32 {
            type $read = Direct;
            $body;
            0
        }

        /// The same where the verifier does not type arguments.
        #[raw_tracepoint(tracepoint = $target)]
        pub fn $untyped($ctx: RawTracePointContext) -> i32 {
            type $read = Probe;
            $body;
            0
        }
    };
}

// (unsigned long address, struct pt_regs *regs, unsigned long error_code)
hook!("page_fault_user", memory_fault_user, memory_fault_user_raw, |ctx, _R| {
    fault_begins(ctx.arg::<usize>(0) as u64, true)
});
hook!("page_fault_kernel", memory_fault_kernel, memory_fault_kernel_raw, |ctx, _R| {
    fault_begins(ctx.arg::<usize>(0) as u64, false)
});
// (struct address_space *mapping, pgoff_t index, pgoff_t last_index)
hook!("mm_filemap_get_pages", memory_cache_read, memory_cache_read_raw, |ctx, R| {
    on_cache_read::<R>(ctx.arg(0), ctx.arg::<usize>(1) as u64, ctx.arg::<usize>(2) as u64)
});
// (struct folio *folio)
hook!("mm_filemap_add_to_page_cache", memory_cache_add, memory_cache_add_raw, |ctx, R| {
    on_cache_add::<R>(ctx.arg(0))
});
hook!(
    "mm_vmscan_direct_reclaim_begin",
    memory_reclaim_begin,
    memory_reclaim_begin_raw,
    |_ctx, _R| { begin(MemoryWait::Reclaim) }
);
// (unsigned long nr_reclaimed)
hook!("mm_vmscan_direct_reclaim_end", memory_reclaim_end, memory_reclaim_end_raw, |ctx, _R| {
    count(end(MemoryWait::Reclaim), MemoryCounter::ReclaimedHost, ctx.arg::<usize>(0) as u64)
});
hook!("mm_vmscan_memcg_reclaim_begin", memory_limit_begin, memory_limit_begin_raw, |_ctx, _R| {
    begin(MemoryWait::Limit)
});
// (unsigned long nr_reclaimed)
hook!("mm_vmscan_memcg_reclaim_end", memory_limit_end, memory_limit_end_raw, |ctx, _R| {
    count(end(MemoryWait::Limit), MemoryCounter::ReclaimedLimit, ctx.arg::<usize>(0) as u64)
});
hook!("mm_compaction_begin", memory_compact_begin, memory_compact_begin_raw, |_ctx, _R| {
    begin(MemoryWait::Compaction)
});
hook!("mm_compaction_end", memory_compact_end, memory_compact_end_raw, |_ctx, _R| {
    let _ = end(MemoryWait::Compaction);
});
// (struct task_struct *task, uid_t uid), before 6.10 (int pid)
hook!("mark_victim", memory_oom, memory_oom_raw, |ctx, R| {
    if tunable!(victim_is_task) != 0 {
        on_kill(Task::<R>::new(ctx.arg(0)));
    } else {
        count(current_slot(), MemoryCounter::OomCauses, 1);
    }
});

/// A fault was settled from memory.
#[perf_event]
pub fn memory_fault_minor(ctx: PerfEventContext) -> i32 {
    fault_ends(&ctx, false);
    0
}

/// A fault waited for a disk.
#[perf_event]
pub fn memory_fault_major(ctx: PerfEventContext) -> i32 {
    fault_ends(&ctx, true);
    0
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The slot of the running thread.
#[inline(always)]
fn current_slot() -> u32 {
    slot::of_current(kernel::current())
}

#[inline(always)]
fn count(slot: u32, counter: MemoryCounter, value: u64) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(record) = SLOT_MEMORY.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: the record of this CPU, in process context with preemption off; the index is a constant inside.
        unsafe { (*record).counters[counter as usize] += value };
    }
}

/// Records a wait in the distribution of its slot.
#[inline(always)]
fn record(slot: u32, wait: MemoryWait, began_ns: u64) {
    let Some(elapsed_ns) = histogram::elapsed_ns(began_ns, now_ns()) else { return };
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(record) = SLOT_MEMORY.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: as in `count`.
        unsafe { (*record).waits += 1 };
    }
    let is_shared = tunable!(block_shared_lanes) != 0;
    let lane = if is_shared { cpu & (tunable!(block_lanes) - 1) } else { cpu };
    if let Some(record) = SLOT_MEMORY_WAITS.get_ptr_mut(slot * tunable!(block_lanes) + lane) {
        // SAFETY: the index is one of the record's, and the record is a map value.
        unsafe {
            let histogram = &raw mut (*record).histograms[wait as usize];
            histogram::record_in(histogram, elapsed_ns, is_shared);
        }
    }
}

#[inline(always)]
fn fault_place(tid: u32, is_user: bool) -> Option<*mut FaultStart> {
    FAULTS.get_ptr_mut(u32::from(is_user) * FAULT_STARTS + (tid & (FAULT_STARTS - 1)))
}

#[inline(always)]
fn fault_begins(address: u64, is_user: bool) {
    let tid = kernel::current().tid();
    if let Some(place) = fault_place(tid, is_user) {
        let start = FaultStart { tid, padding: 0, page: address >> PAGE_SHIFT, at_ns: now_ns() };
        // SAFETY: a map value. Of two threads in one place, one is counted without its time.
        unsafe { *place = start };
    }
}

#[inline(always)]
fn fault_ends(ctx: &PerfEventContext, is_major: bool) {
    let data: *const bpf_perf_event_data = ctx.as_ptr().cast();
    // SAFETY: the verifier turns this into a load from the event.
    let page = unsafe { (*data).addr } >> PAGE_SHIFT;
    let is_user = is_user_mode(data);
    let task = kernel::current();
    let slot = slot::of_current(task);
    let counter = MemoryCounter::of_fault(is_user, is_major) as usize;
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(record) = SLOT_MEMORY.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: as in `count`; the index is below `MemoryCounter::COUNT`, masked for the verifier.
        unsafe {
            let counters = (&raw mut (*record).counters).cast::<u64>();
            *counters.add(counter & 3) += 1;
        }
    }
    let tid = task.tid();
    let Some(place) = fault_place(tid, is_user) else { return };
    // SAFETY: a map value, copied at once.
    let start = unsafe { *place };
    if start.tid != tid || start.page != page || start.at_ns == 0 {
        // Where there are no tracepoints user space shows no times, and nothing is missed.
        if tunable!(fault_has_start) != 0 {
            drops::count(DropReason::FaultMissed);
        }
        return;
    }
    // SAFETY: as above. Used up, so that it cannot be taken for the beginning of another.
    unsafe { (*place).at_ns = 0 };
    if is_user {
        record(slot, MemoryWait::FaultUser, start.at_ns);
    } else {
        record(slot, MemoryWait::FaultKernel, start.at_ns);
    }
}

/// Whether the registers of an event are of user mode.
#[inline(always)]
fn is_user_mode(data: *const bpf_perf_event_data) -> bool {
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the verifier turns this into a load from the event.
    return unsafe { (*data).regs.cs } & 3 != 0;
    #[cfg(not(bpf_target_arch = "x86_64"))]
    // SAFETY: as above. The exception level of arm64.
    return unsafe { (*data).regs.pstate } & 0xf == 0;
}

/// A read call finds, or has waited for, the pages from `first` on; it wants those up to `last`.
#[inline(always)]
fn on_cache_read<R: Read>(mapping: *const c_void, first: u64, last: u64) {
    let inode = pointer::<R>(mapping, offset!(mapping_host));
    let size: u64 = R::at(inode, offset!(inode_size));
    // A call may ask for more than there is.
    let last = last.min(size.saturating_sub(1) >> PAGE_SHIFT);
    if last < first {
        return;
    }
    let number: u64 = R::at(inode, offset!(inode_number));
    let task = kernel::current();
    let tid = task.tid();
    let Some(place) = CACHE_READ.get_ptr_mut(tid & (CACHE_READS - 1)) else { return };
    // SAFETY: a map value. Of two threads in one place, one counts a part twice.
    let before = unsafe { *place };
    // SAFETY: as above.
    unsafe { *place = CacheRead { tid, padding: 0, inode: number, first, last } };
    let is_part =
        before.tid == tid && before.inode == number && before.last == last && first > before.first;
    if is_part {
        return;
    }
    let pages = last - first + 1;
    let slot = slot::of_current(task);
    match call(task) {
        Call::Read => count(slot, MemoryCounter::CacheAccessesRead, pages),
        _ => count(slot, MemoryCounter::CacheAccessesOther, pages),
    }
}

/// A folio comes into the page cache. A write that makes new pages misses nothing.
#[inline(always)]
fn on_cache_add<R: Read>(folio: *const c_void) {
    let pages = pages::<R>(folio);
    let task = kernel::current();
    let call = call(task);
    let slot = slot::of_current(task);
    match call {
        Call::Read => count(slot, MemoryCounter::CacheMissesRead, pages),
        Call::None => count(slot, MemoryCounter::CacheMissesMapped, pages),
        Call::Other => count(slot, MemoryCounter::CacheMissesOther, pages),
        Call::Write => {}
    }
}

/// What the running thread entered the kernel for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// A call that reads files; kernel threads, and where it cannot be told.
    Read,
    /// A call that writes to files.
    Write,
    /// A call that does neither, or may do both.
    Other,
    /// No call: a fault.
    None,
}

#[inline(always)]
fn call(task: Task<Direct>) -> Call {
    if task.is_kernel_thread() || offset!(regs_syscall) == ABSENT {
        return Call::Read;
    }
    let number: i32 = Direct::at(kernel::user_registers(task), offset!(regs_syscall));
    if number < 0 {
        return Call::None;
    }
    let number = number as u32;
    let word = (number / 32) as usize;
    if word >= CALL_WORDS {
        return Call::Other;
    }
    let bit = 1 << (number & 31);
    // SAFETY: the index is below the length; volatile because user space replaces the value before load.
    unsafe {
        let tunables = crate::config::TUNABLES.as_ptr();
        let reads = (&raw const (*tunables).read_calls).cast::<u32>();
        let writes = (&raw const (*tunables).write_calls).cast::<u32>();
        if core::ptr::read_volatile(reads.add(word)) & bit != 0 {
            Call::Read
        } else if core::ptr::read_volatile(writes.add(word)) & bit != 0 {
            Call::Write
        } else {
            Call::Other
        }
    }
}

/// How many pages a folio has.
#[inline(always)]
fn pages<R: Read>(folio: *const c_void) -> u64 {
    if offset!(folio_flags_1) == ABSENT {
        return 1;
    }
    let flags: u64 = R::at(folio, offset!(folio_flags));
    if flags & PG_HEAD == 0 {
        return 1;
    }
    let order: u64 = R::at(folio, offset!(folio_flags_1));
    1 << (order & ORDER_MASK & 31)
}

#[inline(always)]
fn key(wait: MemoryWait) -> u64 {
    u64::from(kernel::current().tid()) << 8 | wait as u64
}

#[inline(always)]
fn begin(wait: MemoryWait) {
    if STALLS.insert(&key(wait), &now_ns(), 0).is_err() {
        drops::count(DropReason::MemoryTableFull);
    }
}

/// Ends a stall, and gives whose it was. One whose beginning was not seen is not recorded.
#[inline(always)]
fn end(wait: MemoryWait) -> u32 {
    let slot = current_slot();
    let key = key(wait);
    // SAFETY: copied at once; only its own thread writes it.
    let Some(began_ns) = (unsafe { STALLS.get(&key) }).copied() else { return slot };
    let _ = STALLS.remove(&key);
    record(slot, wait, began_ns);
    slot
}

/// The running thread asked for memory, and `victim` dies for it.
#[inline(always)]
fn on_kill<R: Read>(victim: Task<R>) {
    let tgid = victim.tgid();
    let now_ns = now_ns();
    let Some(place) = OOM_MARKED.get_ptr_mut(tgid & (OOM_VICTIMS - 1)) else { return };
    // SAFETY: a map value. The kernel's own lock keeps kills apart.
    let before = unsafe { *place };
    // SAFETY: as above.
    unsafe { *place = OomVictim { tgid: u64::from(tgid), at_ns: now_ns } };
    let is_same = before.tgid == u64::from(tgid) && before.at_ns != 0;
    if is_same && now_ns - before.at_ns < SAME_VICTIM_NS {
        return;
    }
    let culprit = current_slot();
    count(culprit, MemoryCounter::OomCauses, 1);
    let key = OomKey { victim: slot::of_task(victim, victim.cgroup_id()), culprit };
    let add = || {
        let Some(count) = OOM_KILLS.get_ptr_mut(&key) else { return false };
        // SAFETY: a map value.
        unsafe { atomic::add_u64(count, 1) };
        true
    };
    // Of two CPUs that insert at once, one finds the entry of the other.
    if !add() && OOM_KILLS.insert(&key, &1, BPF_NOEXIST).is_err() && !add() {
        drops::count(DropReason::MemoryTableFull);
    }
}
