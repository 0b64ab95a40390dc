//! The `weight` family: the stacks of who asks for block I/O, faults, grows, waits for locks of the kernel, or sends; each with what it
//! weighs. A program is attached only while somebody records its kind, beside that of the family which counts the same.
//!
//! All of them run in the thread concerned, so both of its stacks are there. What is weighed is known when they run, so an event
//! is drawn before anything is walked: one that is not sent costs the filter and an addition. How they are drawn:
//! [`monitor_common::weight`].
//!
//! Attribution: bytes of a disk to the cgroup that the kernel charges the bio to, which of writeback is that of who wrote (on cgroup v2),
//! though a thread of the kernel asks for it; bytes sent to the cgroup of the socket; the rest to the thread's.
//!
//! Memory goes by the classic tracepoint: its event holds the sum over all CPUs of the kernel's counter, which the typed one does not.
//! What one step adds is the difference to the step before, so what others take away in between (reclaim) makes it smaller.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, perf_event, tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, PerfEventContext, TracePointContext},
};
use monitor_common::{
    drops::DropReason,
    offcpu::WaitFilter,
    offset::ABSENT,
    unwind::WalkEnd,
    weight::{
        LockKey, LockWait, Resident, SENT_PER_WINDOW, WeightDetail, WeightDraw, WeightKind,
        weight_word,
    },
};

use crate::{
    config::{offset, tunable},
    drops,
    kernel::{self, Direct, Read, Task, pointer},
    profile, slot,
    socket::{self, Socket},
    unwind,
};

/// Whose events are wanted, by kind.
#[map]
static WEIGHT_FILTERS: Array<WaitFilter> =
    Array::with_max_entries(WeightKind::COUNT as u32, BPF_F_MMAPABLE);

/// By slot, a bit for each kind of which its events are refused.
#[map]
static WEIGHT_SLOTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each CPU goes by, at `kind * cpus + cpu`.
#[map]
static WEIGHT_DRAWS: Array<WeightDraw> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Who waits for a lock of the kernel. Nothing is taken for it before somebody records; kernels before 6.1 allocate in a way that
/// is not safe here, and are not given these programs.
#[map]
static LOCK_WAITS: HashMap<LockKey, LockWait> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// What was last seen of the memory of a process, at `tgid << 8 | kind`.
#[map]
static RESIDENT: HashMap<u64, Resident> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

const BPF_NOEXIST: u64 = 1;
const PAGE_BYTES: u64 = 4096;

/// `REQ_OP_MASK` and what it tells apart.
const OPERATION_MASK: u32 = 0xff;
const REQ_OP_READ: u32 = 0;
const REQ_OP_WRITE: u32 = 1;
const REQ_OP_ZONE_APPEND: u32 = 7;
const REQ_OP_WRITE_ZEROES: u32 = 9;

/// `LCB_F_*` of the lock tracepoints.
const LOCK_SPINS: u32 = 1;
const LOCK_READS: u32 = 1 << 1;
const LOCK_WRITES: u32 = 1 << 2;
const LOCK_IS_MUTEX: u32 = 1 << 5;

/// Where the fields of `kmem:rss_stat` are: user space compares before it attaches.
const RSS_SPACE: usize = 8;
const RSS_IS_CURRENT: usize = 12;
const RSS_MEMBER: usize = 16;
const RSS_BYTES: usize = 24;

/// How a user stack is walked where there is no table, and how where there is.
pub trait Walks: Copy {
    const WITHOUT_TABLES: WalkEnd;
    fn walk(task: Task<Direct>, start_stack: u64, first_frame: u32) -> Option<(u32, u32)>;
}

/// By tables.
#[derive(Clone, Copy)]
pub struct Tables;
/// By frame pointers.
#[derive(Clone, Copy)]
pub struct Plain;

impl Walks for Tables {
    const WITHOUT_TABLES: WalkEnd = WalkEnd::UnknownProcess;
    #[inline(always)]
    fn walk(task: Task<Direct>, start_stack: u64, first_frame: u32) -> Option<(u32, u32)> {
        unwind::walk(task, start_stack, first_frame)
    }
}

impl Walks for Plain {
    const WITHOUT_TABLES: WalkEnd = WalkEnd::FramePointers;
    #[inline(always)]
    fn walk(_: Task<Direct>, _: u64, _: u32) -> Option<(u32, u32)> {
        None
    }
}

/// A program, and the same where walks by tables are not made.
macro_rules! program {
    (#[$hook:meta] $name:ident, $plain:ident, $context:ident, $on:ident) => {
        #[$hook]
        pub fn $name(ctx: $context) -> i32 {
            $on::<Tables>(&ctx);
            0
        }

        /// The same where walks by tables are not made.
        #[$hook]
        pub fn $plain(ctx: $context) -> i32 {
            $on::<Plain>(&ctx);
            0
        }
    };
}
pub(crate) use program;

// block_bio_queue(struct bio *bio): where it is asked for, in the thread that asks, once its cgroup's quota has let it go.
program!(
    #[btf_tracepoint(function = "block_bio_queue")]
    weight_block,
    weight_block_plain,
    BtfTracePointContext,
    on_bio
);
// sock_send_length(struct sock *sk, int ret, int flags): of any socket, after each call.
program!(
    #[btf_tracepoint(function = "sock_send_length")]
    weight_send,
    weight_send_plain,
    BtfTracePointContext,
    on_send
);
// contention_end(void *lock, int ret): whoever waited has it.
program!(
    #[btf_tracepoint(function = "contention_end")]
    weight_lock_end,
    weight_lock_end_plain,
    BtfTracePointContext,
    on_lock_end
);
program!(
    #[perf_event]
    weight_fault_minor,
    weight_fault_minor_plain,
    PerfEventContext,
    on_minor
);
program!(
    #[perf_event]
    weight_fault_major,
    weight_fault_major_plain,
    PerfEventContext,
    on_major
);
program!(
    #[tracepoint]
    weight_resident,
    weight_resident_plain,
    TracePointContext,
    on_resident
);

/// `contention_begin(void *lock, unsigned int flags)`: notes when.
#[btf_tracepoint(function = "contention_begin")]
pub fn weight_lock_begin(ctx: BtfTracePointContext) -> i32 {
    let (lock, flags) = (ctx.arg::<usize>(0) as u64, ctx.arg::<usize>(1) as u32);
    let task = kernel::current();
    // The idle thread is nobody.
    if task.tid() == 0 || !is_wanted(WeightKind::Lock, task, Some(slot::of_current(task))) {
        return 0;
    }
    let detail = if flags & LOCK_SPINS != 0 {
        WeightDetail::LockSpin
    } else if flags & LOCK_IS_MUTEX != 0 {
        WeightDetail::LockMutex
    } else if flags & (LOCK_READS | LOCK_WRITES) != 0 {
        WeightDetail::LockReadWrite
    } else {
        WeightDetail::LockOther
    };
    // SAFETY: no arguments.
    let since_ns = unsafe { bpf_ktime_get_ns() };
    let wait = LockWait { since_ns, detail: detail as u32, padding: 0 };
    // A mutex says once that somebody spins for it and once that he sleeps: the first counts, and of what kind, the last.
    let key = LockKey { lock, tid: u64::from(task.tid()) };
    if let Some(known) = LOCK_WAITS.get_ptr_mut(key) {
        // SAFETY: the entry of this thread.
        unsafe {
            (*known).detail = detail as u32;
            // Of other locks it is left over: the end was in an interrupt of this program, where none runs.
            if flags & LOCK_IS_MUTEX == 0 {
                (*known).since_ns = since_ns;
            }
        }
        return 0;
    }
    if LOCK_WAITS.insert(key, wait, BPF_NOEXIST).is_err() {
        drops::count(DropReason::WeightTableFull);
    }
    0
}

#[inline(always)]
fn on_lock_end<W: Walks>(ctx: &BtfTracePointContext) {
    let task = kernel::current();
    let key = LockKey { lock: ctx.arg::<usize>(0) as u64, tid: u64::from(task.tid()) };
    // SAFETY: copied at once; the entry is this thread's.
    let Some(wait) = (unsafe { LOCK_WAITS.get(key) }).copied() else { return };
    // It is there, and nobody else takes it.
    let _ = LOCK_WAITS.remove(key);
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let event = Event {
        kind: WeightKind::Lock,
        detail: wait.detail,
        weight: now_ns.wrapping_sub(wait.since_ns),
        cgroup_id: task.cgroup_id(),
    };
    record::<W>(ctx.as_ptr(), task, &event);
}

#[inline(always)]
fn on_bio<W: Walks>(ctx: &BtfTracePointContext) {
    let bio: *const c_void = ctx.arg(0);
    let bytes: u32 = Direct::at(bio, offset!(bio_size));
    if bytes == 0 || is_made_into_others(bio) {
        return;
    }
    let task = kernel::current();
    let cgroup_id = bio_cgroup(bio);
    // Its hierarchy need not be the one that slots are of: then user space tells whose it is.
    let is_of_identity = tunable!(block_hierarchy_id) == tunable!(hierarchy_id);
    let slot = if is_of_identity { slot::known(cgroup_id) } else { None };
    if !is_wanted(WeightKind::Block, task, slot) {
        return;
    }
    let flags: u32 = Direct::at(bio, offset!(bio_operation));
    let detail = match flags & OPERATION_MASK {
        REQ_OP_READ => WeightDetail::DiskRead,
        REQ_OP_WRITE | REQ_OP_ZONE_APPEND | REQ_OP_WRITE_ZEROES => {
            if task.is_kernel_thread() {
                WeightDetail::DiskWriteback
            } else {
                WeightDetail::DiskWrite
            }
        }
        _ => WeightDetail::DiskOther,
    };
    let event = Event {
        kind: WeightKind::Block,
        detail: detail as u32,
        weight: u64::from(bytes),
        cgroup_id,
    };
    record::<W>(ctx.as_ptr(), task, &event);
}

/// Whether a driver takes the bio to make others of it (device mapper, RAID), which will be seen.
#[inline(always)]
fn is_made_into_others(bio: *const c_void) -> bool {
    if offset!(bio_device) == ABSENT || offset!(device_queue) == ABSENT {
        return false;
    }
    let device = pointer::<Direct>(bio, offset!(bio_device));
    let queue = pointer::<Direct>(device, offset!(device_queue));
    pointer::<Direct>(queue, offset!(queue_requests)).is_null()
}

/// The cgroup that the kernel charges a bio to; 0 for none.
#[inline(always)]
fn bio_cgroup(bio: *const c_void) -> u64 {
    if offset!(bio_blkg) == ABSENT {
        return 0;
    }
    let group = pointer::<Direct>(bio, offset!(bio_blkg));
    let owner = pointer::<Direct>(group, offset!(blkg_blkcg));
    kernel::cgroup_id::<Direct>(pointer::<Direct>(owner, offset!(blkcg_css) + offset!(css_cgroup)))
}

#[inline(always)]
fn on_send<W: Walks>(ctx: &BtfTracePointContext) {
    let (address, bytes): (*const c_void, i32) = (ctx.arg(0), ctx.arg::<usize>(1) as i32);
    let socket = Socket::<Direct>::new(address);
    if bytes <= 0 || !socket.is_internet() {
        return;
    }
    let detail = match socket.protocol() {
        socket::TCP => WeightDetail::NetworkTcp,
        socket::UDP => WeightDetail::NetworkUdp,
        _ => return,
    };
    let task = kernel::current();
    let (slot, cgroup_id) = if Socket::<Direct>::is_owner_kept() {
        let cgroup = pointer::<Direct>(address, offset!(socket_cgroup));
        (socket.slot(), kernel::cgroup_id::<Direct>(cgroup))
    } else {
        (slot::of_current(task), task.cgroup_id())
    };
    if !is_wanted(WeightKind::Network, task, Some(slot)) {
        return;
    }
    let event =
        Event { kind: WeightKind::Network, detail: detail as u32, weight: bytes as u64, cgroup_id };
    record::<W>(ctx.as_ptr(), task, &event);
}

#[inline(always)]
fn on_minor<W: Walks>(ctx: &PerfEventContext) {
    on_fault::<W>(ctx, WeightDetail::FaultMinor);
}

#[inline(always)]
fn on_major<W: Walks>(ctx: &PerfEventContext) {
    on_fault::<W>(ctx, WeightDetail::FaultMajor);
}

#[inline(always)]
fn on_fault<W: Walks>(ctx: &PerfEventContext, detail: WeightDetail) {
    let task = kernel::current();
    if !is_wanted(WeightKind::Fault, task, Some(slot::of_current(task))) {
        return;
    }
    let event = Event {
        kind: WeightKind::Fault,
        detail: detail as u32,
        weight: 1,
        cgroup_id: task.cgroup_id(),
    };
    record::<W>(ctx.as_ptr(), task, &event);
}

#[inline(always)]
fn on_resident<W: Walks>(ctx: &TracePointContext) {
    let event = ctx.as_ptr();
    // SAFETY: the fields of the event, which the verifier checks.
    let (space, is_current, member, bytes) = unsafe {
        (
            event.byte_add(RSS_SPACE).cast::<u32>().read_volatile(),
            event.byte_add(RSS_IS_CURRENT).cast::<u32>().read_volatile(),
            event.byte_add(RSS_MEMBER).cast::<u32>().read_volatile(),
            event.byte_add(RSS_BYTES).cast::<u64>().read_volatile(),
        )
    };
    let detail = match member {
        0 => WeightDetail::MemoryFile,
        1 => WeightDetail::MemoryAnonymous,
        3 => WeightDetail::MemoryShared,
        // What is swapped out is not resident.
        _ => return,
    };
    // What others do to it is nobody's doing here.
    if is_current == 0 {
        return;
    }
    let task = kernel::current();
    if !is_wanted(WeightKind::Memory, task, Some(slot::of_current(task))) {
        return;
    }
    let grown = grown(u64::from(task.tgid()) << 8 | u64::from(member), space, bytes);
    if grown == 0 {
        return;
    }
    let event = Event {
        kind: WeightKind::Memory,
        detail: detail as u32,
        weight: grown,
        cgroup_id: task.cgroup_id(),
    };
    record::<W>(ctx.as_ptr(), task, &event);
}

/// By how much a kind of memory of a process has grown since it was last seen. The first time nobody knows: a page, the least.
#[inline(always)]
fn grown(key: u64, space: u32, bytes: u64) -> u64 {
    let now = Resident { bytes, space, padding: 0 };
    let Some(entry) = RESIDENT.get_ptr_mut(key) else {
        if RESIDENT.insert(key, now, BPF_NOEXIST).is_err() {
            drops::count(DropReason::WeightTableFull);
        }
        return if bytes > 0 { PAGE_BYTES } else { 0 };
    };
    // SAFETY: a map value. Of two threads at once the one that is late sees the growth of both.
    let before = unsafe { *entry };
    // SAFETY: as above.
    unsafe { *entry = now };
    // Another program begins with nothing.
    let before_bytes = if before.space == space { before.bytes } else { 0 };
    if bytes > before_bytes { bytes - before_bytes } else { 0 }
}

/// What happened.
struct Event {
    kind: WeightKind,
    /// A [`WeightDetail`].
    detail: u32,
    weight: u64,
    cgroup_id: u64,
}

/// Draws an event, and sends it with the stacks of the running thread.
#[inline(always)]
fn record<W: Walks>(ctx: *mut c_void, task: Task<Direct>, event: &Event) {
    // SAFETY: no arguments.
    let (cpu, at_ns) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_ns()) };
    let Some(draw) = draw_of(event.kind, cpu) else { return };
    let weight = weigh(draw, at_ns, event.weight);
    if weight == 0 {
        return;
    }
    let is_drawn = weight != event.weight;
    // As `weight_word`, of a number that the verifier need not know.
    let word = weight_word(event.kind, WeightDetail::DiskRead, is_drawn) | event.detail << 24;
    let told = profile::Told {
        at_ns,
        cgroup_id: event.cgroup_id,
        period: weight,
        word,
        is_in_user_mode: false,
        woken: None,
    };
    let is_sent = match profile::enter() {
        Some(entered) => {
            let is_sent = profile::send(ctx, task, &told, W::WITHOUT_TABLES, W::walk);
            profile::leave(entered);
            if !is_sent {
                drops::count(DropReason::WeightRingFull);
            }
            is_sent
        }
        None => false,
    };
    if !is_sent {
        draw.lost += 1;
        draw.lost_weight += weight;
    }
}

/// What this CPU goes by for a kind.
#[inline(always)]
pub fn draw_of(kind: WeightKind, cpu: u32) -> Option<&'static mut WeightDraw> {
    let draw = WEIGHT_DRAWS.get_ptr_mut(kind as u32 * tunable!(cpus) + cpu)?;
    // SAFETY: the record of this CPU. An interrupt may take a lock in between, and lay it on the same line: one of the two is not
    // laid then, as rare as that is.
    Some(unsafe { &mut *draw })
}

/// The weight that an event is to be sent with; 0 if it is not drawn.
#[inline(always)]
pub fn weigh(draw: &mut WeightDraw, at_ns: u64, weight: u64) -> u64 {
    draw.settle(at_ns, profile::share(SENT_PER_WINDOW));
    // SAFETY: no arguments.
    let weight = draw.weigh(weight, || unsafe { bpf_get_prandom_u32() } as u32);
    draw.sent += u32::from(weight != 0);
    weight
}

/// Whether events of a kind are wanted of this thread, or of this slot; of a slot that is not known they are.
#[inline(always)]
pub fn is_wanted(kind: WeightKind, task: Task<Direct>, slot: Option<u32>) -> bool {
    let Some(filter) = WEIGHT_FILTERS.get_ptr(kind as u32) else { return false };
    // SAFETY: an entry of the array; user space writes it while we read.
    let filter = unsafe { &*filter };
    if filter.all != 0 {
        return true;
    }
    if filter.by_slot != 0 {
        let Some(slot) = slot else { return true };
        if let Some(refused) = WEIGHT_SLOTS.get(slot) {
            if *refused >> (kind as u32) & 1 == 0 {
                return true;
            }
        }
    }
    let tgid = task.tgid();
    filter.processes.iter().any(|&process| process == tgid)
}
