//! The `block` family: every request that a block device completes, charged to the cgroup that issued it.
//!
//! Attribution: `bio->bi_blkg->blkcg`, which the block layer set when the bio was submitted and which is also what the kernel's
//! own limits and `io.stat` go by. Never `current`: a completion interrupts whoever runs. The kernel merges bios of
//! one cgroup only, so a request's first bio speaks for all of it (before 5.13 a merge could mix two).
//!
//! Instants: a request begins when the kernel says so (`start_time_ns`, set where the queue has `iostats`, the default): so totals
//! agree with iostat. Its issue we stamp ourselves. The kernel stamps it too (`io_start_time_ns`), but since 6.9 with a clock
//! that it reads once a plug. On 6.18 that moved 4 to 20 us from queue to service, showed 0 to 0.1 us where there were 0.7 to 0.8 us of
//! queue, and lay before the request's own start for up to 1 in 400. Before 6.9 that stamp is exact, and [`on_issue`]
//! does nothing for a queue that has it.
//!
//! Not told: how long a cgroup's quota (blk-throttle) held a bio back. Every tracepoint that sees a bio, `block_bio_queue` too, comes
//! after the quota has let it go, and no structure keeps when it came.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap, Stack},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use monitor_common::{
    block::{
        ADDRESSES_PER_CPU, BlockKey, BlockOperation, BlockPhase, HIERARCHY_NONE, MINOR_BITS,
        PAIR_OVERFLOW, PairCounters, PairLatency, REQUEST_PLACE_BITS, RequestStamps,
    },
    drops::DropReason,
    offset::ABSENT,
    outlier::{OutlierKind, OutlierRecord},
    tunable::STATS_BIT_NONE,
};

use crate::{
    config::{offset, tunable},
    contention, drops, histogram,
    kernel::{self, Direct, Probe, Read, pointer},
    outlier, outlier_stack,
};

/// Cgroup and device to the index of their pair.
#[map]
static BLOCK_PAIRS: HashMap<BlockKey, u32> = HashMap::with_max_entries(1, 0);

/// Indexes that no pair has.
#[map]
static BLOCK_FREE: Stack<u32> = Stack::with_max_entries(1, 0);

/// The key of each index, for user space.
#[map]
static BLOCK_KEYS: Array<BlockKey> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Counters, at `pair * cpus + cpu`.
#[map]
static PAIR_COUNTERS: Array<PairCounters> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `pair * lanes + lane`.
#[map]
static PAIR_LATENCIES: Array<PairLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What is kept of requests on their way, at [`place`] of their address: an inlined lookup, where a hash costs three calls a
/// request. With libaio and 32 in flight the programs took 338-377 ns a request, the measuring included; with a hash 425-495.
#[map]
static REQUESTS: Array<RequestStamps> = Array::with_max_entries(1, 0);

/// The same for a request whose place is taken. Requests are allocated with their queue and used again, so what is left
/// behind by one that never completes is overwritten by its next use.
#[map]
static DISPLACED: HashMap<u64, RequestStamps> = HashMap::with_max_entries(1, 0);

/// Where a pointer becomes a number, at `cpu * ADDRESSES_PER_CPU + hook`.
#[map]
static ADDRESSES: Array<u64> = Array::with_max_entries(1, 0);

/// The hooks that keep or take stamps.
#[derive(Clone, Copy)]
enum Hook {
    Complete,
    Issue,
    Insert,
    Merge,
}

const BPF_NOEXIST: u64 = 1;

/// `REQ_OP_MASK`.
const OPERATION_MASK: u32 = 0xff;
const REQ_OP_READ: u32 = 0;
const REQ_OP_WRITE: u32 = 1;
const REQ_OP_FLUSH: u32 = 2;
const REQ_OP_DISCARD: u32 = 3;
const REQ_OP_SECURE_ERASE: u32 = 5;
/// Since 6.0; before, it was `REQ_OP_WRITE_SAME`.
const REQ_OP_ZONE_APPEND: u32 = 7;
const REQ_OP_WRITE_ZEROES: u32 = 9;
/// The first of the operations that are passed through to the driver, which the kernel does not stamp.
const REQ_OP_PASSED_THROUGH: u32 = 32;

/// `block_rq_complete(struct request *rq, blk_status_t error, unsigned int nr_bytes)`.
#[btf_tracepoint(function = "block_rq_complete")]
pub fn block_complete(ctx: BtfTracePointContext) -> i32 {
    on_complete::<Direct>(ctx.arg(0), ctx.arg::<usize>(1) as u32, ctx.arg::<usize>(2) as u32);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "block_rq_complete")]
pub fn block_complete_raw(ctx: RawTracePointContext) -> i32 {
    on_complete::<Probe>(ctx.arg(0), ctx.arg::<usize>(1) as u32, ctx.arg::<usize>(2) as u32);
    0
}

/// The request among the arguments: the first, before 5.11 the second after its queue.
macro_rules! request {
    ($ctx:ident) => {
        if tunable!(block_queue_argument) == 0 { $ctx.arg(0) } else { $ctx.arg(1) }
    };
}

/// `block_rq_issue(struct request *rq)`.
#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_issue(ctx: BtfTracePointContext) -> i32 {
    on_issue::<Direct>(request!(ctx));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
pub fn block_issue_raw(ctx: RawTracePointContext) -> i32 {
    on_issue::<Probe>(request!(ctx));
    0
}

/// `block_rq_insert(struct request *rq)`.
#[btf_tracepoint(function = "block_rq_insert")]
pub fn block_insert(ctx: BtfTracePointContext) -> i32 {
    on_insert::<Direct>(request!(ctx));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "block_rq_insert")]
pub fn block_insert_raw(ctx: RawTracePointContext) -> i32 {
    on_insert::<Probe>(request!(ctx));
    0
}

/// `block_rq_merge(struct request *rq)`: the one that is no more.
#[btf_tracepoint(function = "block_rq_merge")]
pub fn block_merge(ctx: BtfTracePointContext) -> i32 {
    on_merge::<Direct>(request!(ctx));
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "block_rq_merge")]
pub fn block_merge_raw(ctx: RawTracePointContext) -> i32 {
    on_merge::<Probe>(request!(ctx));
    0
}

/// A request comes to the scheduler. Again, after a requeue: the first time counts.
#[inline(always)]
fn on_insert<R: Read>(request: *const c_void) {
    let started_ns = started_ns::<R>(request);
    if started_ns != 0 && is_kernel_stamp_exact() {
        return;
    }
    let address = address(request, Hook::Insert);
    if find(address, started_ns).is_none() {
        let began_ns = if started_ns != 0 { started_ns } else { now_ns() };
        keep(by_current(address, began_ns, 0));
    }
}

/// A request goes to the driver.
#[inline(always)]
fn on_issue<R: Read>(request: *const c_void) {
    let started_ns = started_ns::<R>(request);
    let is_started = started_ns != 0;
    if is_started {
        charge_wait::<R>(request, started_ns);
    }
    if is_started && is_stamped_at_issue::<R>(request) {
        return;
    }
    let address = address(request, Hook::Issue);
    let issued_ns = now_ns();
    // From the scheduler: then who brought it there is known, and who runs now may be another.
    if let Some(stamps) = find(address, started_ns) {
        // SAFETY: the entry of a request that is on its way to the driver: nobody else touches it.
        unsafe { (*stamps).issued_ns = issued_ns };
        return;
    }
    keep(by_current(address, started_ns, issued_ns));
}

/// The stamps of a request that the running thread brings.
#[inline(always)]
fn by_current(address: u64, began_ns: u64, issued_ns: u64) -> RequestStamps {
    let task = kernel::current();
    let (tgid, tid, thread) = (task.tgid(), task.tid(), task.name());
    RequestStamps { address, began_ns, issued_ns, tgid, tid, thread }
}

/// Charges the time that a request waited to be issued to those whose requests the device finished meanwhile.
#[inline(always)]
fn charge_wait<R: Read>(request: *const c_void, started_ns: u64) {
    let device = device::<R>(request);
    if contention::has_finished_since(device, started_ns) {
        let bio = pointer::<R>(request, offset!(request_bio));
        contention::charge(device, pair(&key::<R>(request, bio)), started_ns);
    }
}

/// A request went into another one and will not complete. Only [`on_insert`] can have left something of it.
#[inline(always)]
fn on_merge<R: Read>(request: *const c_void) {
    if started_ns::<R>(request) == 0 || !is_kernel_stamp_exact() {
        let _ = taken(address(request, Hook::Merge));
    }
}

/// The address of a request as a number: the verifier lets nobody count with a typed pointer, but forgets the type of what
/// goes through a map. An entry for each hook and CPU, since one hook may interrupt another but none itself.
#[inline(always)]
fn address(request: *const c_void, hook: Hook) -> u64 {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(entry) = ADDRESSES.get_ptr_mut(cpu * ADDRESSES_PER_CPU + hook as u32) else {
        return 0;
    };
    // SAFETY: a map value that only this hook on this CPU uses; volatile so that it does go there.
    unsafe {
        core::ptr::write_volatile(entry.cast::<*const c_void>(), request);
        core::ptr::read_volatile(entry)
    }
}

/// Where a request is kept. Requests lie in rows, some cache lines apart: the multiplication spreads them.
#[inline(always)]
fn place(address: u64) -> u32 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    (address.wrapping_mul(SPREAD) >> (64 - REQUEST_PLACE_BITS)) as u32
}

/// Keeps the instants of a request: at its place, or apart if another one has it.
#[inline(always)]
fn keep(stamps: RequestStamps) {
    if let Some(entry) = REQUESTS.get_ptr_mut(place(stamps.address)) {
        // SAFETY: a map value. Two requests that take one place at once, on two CPUs: one of them finds its stamp
        // gone, which is counted.
        unsafe {
            if (*entry).address == 0 || (*entry).address == stamps.address {
                *entry = stamps;
                return;
            }
        }
    }
    // Full: then its completion finds no stamp and counts that.
    let _ = DISPLACED.insert(stamps.address, stamps, 0);
}

/// What is kept of a request that began at `started_ns`, 0 if it does not know that itself. An entry with another beginning is of an
/// earlier use of its memory.
#[inline(always)]
fn find(address: u64, started_ns: u64) -> Option<*mut RequestStamps> {
    let mut entry = REQUESTS.get_ptr_mut(place(address))?;
    // SAFETY: a map value.
    let holder = unsafe { (*entry).address };
    if holder != address {
        // With a free place it went past the scheduler, but for few; those that know their beginning need not be looked for.
        if holder == 0 && started_ns != 0 {
            return None;
        }
        entry = DISPLACED.get_ptr_mut(address)?;
    }
    // SAFETY: as above.
    let is_of_it = started_ns == 0 || unsafe { (*entry).began_ns } == started_ns;
    is_of_it.then_some(entry)
}

/// What is kept of a request, which then is no more.
#[inline(always)]
fn taken(address: u64) -> RequestStamps {
    if let Some(entry) = REQUESTS.get_ptr_mut(place(address)) {
        // SAFETY: a map value; the request is completing, so nobody writes its entry.
        unsafe {
            if (*entry).address == address {
                let stamps = *entry;
                (*entry).address = 0;
                return stamps;
            }
        }
    }
    displaced(address)
}

#[inline(never)]
fn displaced(address: u64) -> RequestStamps {
    // SAFETY: copied at once; the request is completing, so nobody writes its entry.
    let Some(stamps) = (unsafe { DISPLACED.get(address) }).copied() else {
        return RequestStamps::default();
    };
    let _ = DISPLACED.remove(address);
    stamps
}

#[inline(always)]
fn on_complete<R: Read>(request: *const c_void, status: u32, bytes: u32) {
    let bio = pointer::<R>(request, offset!(request_bio));
    let Some(operation) = operation::<R>(request, bio, bytes) else { return };
    // A request may complete in parts.
    let is_last = bytes >= R::at::<u32>(request, offset!(request_data_len));
    let key = key::<R>(request, bio);
    let pair = pair(&key);
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let index = operation as usize;
    if let Some(record) = PAIR_COUNTERS.get_ptr_mut(pair * tunable!(cpus) + cpu) {
        // SAFETY: the record of this CPU; the kernel runs no program inside itself, and no other writes it.
        let record = unsafe { &mut *record };
        record.bytes[index] += u64::from(bytes);
        record.operations[index] += u64::from(is_last);
        record.errors += u64::from(is_last && status != 0);
    }
    if !is_last {
        return;
    }
    contention::finished(key.device, pair, now_ns());
    let lane =
        if tunable!(block_shared_lanes) == 0 { cpu } else { cpu & (tunable!(block_lanes) - 1) };
    if let Some(latency) = PAIR_LATENCIES.get_ptr_mut(pair * tunable!(block_lanes) + lane) {
        let instants = record_latency::<R>(request, operation, latency);
        tell_if_slow::<R>(request, cpu, &Completed { operation, bytes, key }, &instants);
    }
}

/// What a completion is of.
struct Completed {
    operation: BlockOperation,
    bytes: u32,
    key: BlockKey,
}

/// When a request began, was issued and ended, 0 where not known; and who made it.
struct Instants {
    began_ns: u64,
    issued_ns: u64,
    ended_ns: u64,
    kept: RequestStamps,
}

/// Tells of a request that is among the slowest.
#[inline(always)]
fn tell_if_slow<R: Read>(request: *const c_void, cpu: u32, done: &Completed, at: &Instants) {
    let began_ns = if at.began_ns != 0 { at.began_ns } else { at.issued_ns };
    if began_ns == 0 || began_ns > at.ended_ns {
        return;
    }
    if !outlier::is_one(OutlierKind::Block, cpu, at.ended_ns, at.ended_ns - began_ns) {
        return;
    }
    let is_somewhere = done.bytes != 0 && offset!(request_sector) != ABSENT;
    outlier::send(&OutlierRecord {
        kind: OutlierKind::Block as u32,
        operation: done.operation as u32,
        ended_ns: at.ended_ns,
        began_ns: at.began_ns,
        issued_ns: at.issued_ns,
        cgroup_id: done.key.cgroup_id,
        hierarchy_id: done.key.hierarchy_id,
        device: done.key.device,
        place: if is_somewhere { R::at(request, offset!(request_sector)) } else { 0 },
        bytes: u64::from(done.bytes),
        tgid: at.kept.tgid,
        tid: at.kept.tid,
        thread: at.kept.thread,
    });
    outlier_stack::ask(at.kept.tid);
}

/// What a completion is of; `None` for one that was counted already: the end of a write that carried a flush with
/// it comes after the end of its data, without a byte.
#[inline(always)]
fn operation<R: Read>(
    request: *const c_void,
    bio: *const c_void,
    bytes: u32,
) -> Option<BlockOperation> {
    let flags: u32 = R::at(request, offset!(request_cmd_flags));
    Some(match flags & OPERATION_MASK {
        REQ_OP_READ => BlockOperation::Read,
        REQ_OP_WRITE if bytes == 0 => {
            let has_data = bio.is_null() || !pointer::<R>(bio, offset!(bio_io_vec)).is_null();
            if has_data {
                return None;
            }
            BlockOperation::Flush
        }
        REQ_OP_WRITE | REQ_OP_ZONE_APPEND | REQ_OP_WRITE_ZEROES => BlockOperation::Write,
        REQ_OP_FLUSH => BlockOperation::FlushCommand,
        REQ_OP_DISCARD | REQ_OP_SECURE_ERASE => BlockOperation::Discard,
        _ => BlockOperation::Other,
    })
}

/// Who issued a request, and to which disk.
#[inline(always)]
fn key<R: Read>(request: *const c_void, bio: *const c_void) -> BlockKey {
    let device = device::<R>(request);
    let nobody = BlockKey { cgroup_id: 0, hierarchy_id: HIERARCHY_NONE, device };
    if bio.is_null() || offset!(bio_blkg) == ABSENT {
        return nobody;
    }
    let group = pointer::<R>(bio, offset!(bio_blkg));
    let owner = pointer::<R>(group, offset!(blkg_blkcg));
    let cgroup = pointer::<R>(owner, offset!(blkcg_css) + offset!(css_cgroup));
    let cgroup_id = kernel::cgroup_id::<R>(cgroup);
    if cgroup_id == 0 {
        return nobody;
    }
    // One for the whole machine: that which the io controller is bound to.
    BlockKey { cgroup_id, hierarchy_id: tunable!(block_hierarchy_id), device }
}

/// The disk of a request; 0 for the queue of a controller.
#[inline(always)]
fn device<R: Read>(request: *const c_void) -> u32 {
    let mut disk = pointer::<R>(request, offset!(request_disk));
    if offset!(request_disk) == offset!(request_queue) {
        disk = pointer::<R>(disk, offset!(queue_disk));
    }
    if disk.is_null() {
        return 0;
    }
    let (major, minor): (u32, u32) =
        (R::at(disk, offset!(disk_major)), R::at(disk, offset!(disk_first_minor)));
    major << MINOR_BITS | minor
}

/// The index of a pair, given now if it is new.
#[inline(always)]
fn pair(key: &BlockKey) -> u32 {
    // SAFETY: the value is read at once; an entry is removed only when its cgroup is long gone.
    match unsafe { BLOCK_PAIRS.get(key) } {
        Some(index) => *index,
        None => new_pair(key),
    }
}

#[inline(never)]
fn new_pair(key: &BlockKey) -> u32 {
    let Ok(Some(index)) = BLOCK_FREE.pop() else {
        drops::count(DropReason::NoSlot);
        return PAIR_OVERFLOW;
    };
    if BLOCK_PAIRS.insert(key, index, BPF_NOEXIST).is_err() {
        // Another CPU was first, or the map is full: in both cases the index goes back.
        let _ = BLOCK_FREE.push(index, 0);
        // SAFETY: as above.
        return match unsafe { BLOCK_PAIRS.get(key) } {
            Some(index) => *index,
            None => {
                drops::count(DropReason::NoSlot);
                PAIR_OVERFLOW
            }
        };
    }
    if let Some(shown) = BLOCK_KEYS.get_ptr_mut(index) {
        // SAFETY: nobody else has this index. User space compares what it reads here with the map: half written, it is not there.
        unsafe { *shown = *key };
    }
    index
}

/// Records what is known of the time a request took.
#[inline(always)]
fn record_latency<R: Read>(
    request: *const c_void,
    operation: BlockOperation,
    latency: *mut PairLatency,
) -> Instants {
    let ended_ns = now_ns();
    let mut kept = RequestStamps::default();
    let mut started_ns = started_ns::<R>(request);
    let mut issued_ns: u64 = R::at(request, offset!(request_io_start_time_ns));
    // A flush is not issued itself: the block layer sends a command for it.
    let is_issued = operation as u32 != BlockOperation::Flush as u32;
    if is_issued && (started_ns == 0 || issued_ns == 0 || !is_kernel_stamp_exact()) {
        kept = taken(address(request, Hook::Complete));
        if started_ns == 0 {
            started_ns = kept.began_ns;
        }
        // A request that was issued before we looked has the kernel's stamp, if any.
        if kept.issued_ns != 0 {
            issued_ns = kept.issued_ns;
        }
        if issued_ns == 0 {
            drops::count(DropReason::IssueMissed);
        }
    }
    let class = operation.class() as usize;
    // SAFETY: the class is below the length; the pointer is into a map value.
    let phases = unsafe { (&raw mut (*latency).by_class[class]).cast() };
    let record = |phase: BlockPhase, from_ns: u64, to_ns: u64| {
        if from_ns == 0 || to_ns == 0 {
            return;
        }
        if let Some(elapsed_ns) = histogram::elapsed_ns(from_ns, to_ns) {
            let is_shared = tunable!(block_shared_lanes) != 0;
            // SAFETY: the phase is below the length; the pointer is into a map value.
            unsafe {
                let histogram: *mut monitor_common::bucket::RawHistogram = phases;
                histogram::record_in(histogram.add(phase as usize), elapsed_ns, is_shared);
            }
        }
    };
    record(BlockPhase::Queue, started_ns, issued_ns);
    record(BlockPhase::Service, issued_ns, ended_ns);
    record(BlockPhase::Total, started_ns, ended_ns);
    Instants { began_ns: started_ns, issued_ns, ended_ns, kept }
}

/// When the kernel began to count the time of a request; 0 where the queue keeps no statistics.
#[inline(always)]
fn started_ns<R: Read>(request: *const c_void) -> u64 {
    R::at(request, offset!(request_start_time_ns))
}

/// Whether the kernel's stamp of an issue is of that instant.
#[inline(always)]
fn is_kernel_stamp_exact() -> bool {
    tunable!(block_stats_bit) != STATS_BIT_NONE
}

/// Whether the kernel will stamp the issue of a request, right after its hook.
#[inline(always)]
fn is_stamped_at_issue<R: Read>(request: *const c_void) -> bool {
    if !is_kernel_stamp_exact() {
        return false;
    }
    let flags: u32 = R::at(request, offset!(request_cmd_flags));
    if flags & OPERATION_MASK >= REQ_OP_PASSED_THROUGH {
        return false;
    }
    let queue = pointer::<R>(request, offset!(request_queue));
    let queue_flags: u64 = R::at(queue, offset!(queue_flags));
    queue_flags >> tunable!(block_stats_bit) & 1 != 0
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
