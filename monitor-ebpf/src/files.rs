//! The `files` family: opens, reads, writes and syncs of files, and which layer of an overlay served each open. It has no hooks
//! of its own: the programs of [`crate::syscall`] call it where a call returns. Off unless asked for, as they are.
//!
//! Attribution: as for system calls. Which layer serves a file the overlay keeps in its inode: the upper one if there is a copy, else
//! the first of those below it.
//!
//! The slowest calls of each second are told, with their file: see [`monitor_common::outlier`]. Those of files and directories only: what
//! opens a FIFO waits for who opens its other end.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap},
};
use monitor_common::{
    bucket::RawHistogram,
    drops::DropReason,
    files::{FileOperation, LayerKey, LayerOpens, SlotFiles, SlotFilesLatency},
    offset::ABSENT,
    outlier::{FileOutlier, OutlierKind, OutlierRecord},
    state::SYSCALL_LIMIT,
};

use crate::{
    atomic,
    config::{FILE_CALLS, offset, tunable},
    drops, histogram,
    kernel::{self, Direct, Probe, Read, Task, pointer},
    outlier, path, slot,
};

/// Counters, at `slot * cpus + cpu`.
#[map]
static SLOT_FILES: Array<SlotFiles> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `slot * lanes + lane`, with the lanes of the `block` family.
#[map]
static SLOT_FILES_LATENCY: Array<SlotFilesLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each layer of an overlay served.
#[map]
static FILE_LAYERS: HashMap<LayerKey, LayerOpens> = HashMap::with_max_entries(1, 0);

/// Where each CPU puts together what it tells of a slow call: too large for the stack.
#[map]
static FILE_OUTLIERS: Array<FileOutlier> = Array::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;
const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
/// `s_magic` of an overlay.
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
/// `-MAX_ERRNO`.
const LOWEST_ERROR: i64 = -4095;
const EINTR: i64 = 4;
/// `-ERESTART_RESTARTBLOCK` to `-ERESTARTSYS`, as the program sees `EINTR` or the call begins anew.
const RESTARTS: core::ops::RangeInclusive<i64> = -516..=-512;

/// What a system call does with files: [`FileOperation::code`], 0 for nothing and where the family is off.
#[inline(always)]
pub fn operation(number: i64) -> u32 {
    if tunable!(files) == 0 || number < 0 || number >= SYSCALL_LIMIT as i64 {
        return 0;
    }
    // SAFETY: the index is below the length; volatile because user space replaces the value before load.
    u32::from(unsafe {
        core::ptr::read_volatile(FILE_CALLS.as_ptr().cast::<u8>().add(number as usize))
    })
}

/// A call that does something with files returns; `began_ns` is 0 where its beginning was not seen.
#[inline(always)]
pub fn on_exit(task: Task<Direct>, code: u32, result: i64, began_ns: u64) {
    let index = code.wrapping_sub(1) as usize;
    if tunable!(files) == 0 || index >= FileOperation::COUNT {
        return;
    }
    let is_open = index == FileOperation::Open as usize;
    let is_error = (LOWEST_ERROR..0).contains(&result);
    let file = if is_open {
        if is_error { core::ptr::null() } else { task.open_file(result as u32) }
    } else {
        let descriptor = Direct::at::<u32>(kernel::user_registers(task), offset!(regs_argument0));
        task.open_file(descriptor)
    };
    if !is_open && !is_regular(file) {
        return;
    }
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // A number where an Option would do: of its two halves the compiler leaves one unset, which the verifier refuses. Zero is unknown.
    let took_ns = if began_ns == 0 { 0 } else { now_ns.saturating_sub(began_ns) };
    let slot = slot::of_current(task);
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(record) = SLOT_FILES.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: the record of this CPU, in process context with preemption off; the index is inside.
        unsafe {
            *(&raw mut (*record).operations).cast::<u64>().add(index) += 1;
            if is_error {
                *(&raw mut (*record).errors).cast::<u64>().add(index) += 1;
            } else if !is_open {
                *(&raw mut (*record).bytes).cast::<u64>().add(index) += result as u64;
            }
        }
    }
    let is_shared = tunable!(block_shared_lanes) != 0;
    let lane = if is_shared { cpu & (tunable!(block_lanes) - 1) } else { cpu };
    if took_ns != 0 {
        if let Some(record) = SLOT_FILES_LATENCY.get_ptr_mut(slot * tunable!(block_lanes) + lane) {
            // SAFETY: the index is one of the record's, and the record is a map value.
            unsafe {
                let histograms = (&raw mut (*record).histograms).cast::<RawHistogram>();
                histogram::record_in(histograms.add(index), took_ns, is_shared);
            }
        }
    }
    if is_open && !file.is_null() {
        count_layer(slot, file, took_ns);
    }
    // The floor first: it is a comparison, and all that a call pays which found what it wanted in memory.
    if took_ns > OutlierKind::File.floor_ns()
        && (!is_open || is_slow_by_itself(file, result))
        && outlier::is_one(OutlierKind::File, cpu, now_ns, took_ns)
    {
        tell(file, index as u32, result, began_ns, now_ns);
    }
}

#[inline(always)]
fn is_regular(file: *const c_void) -> bool {
    !file.is_null() && kind(file) == S_IFREG
}

/// What is behind a file, of `S_IFMT`.
#[inline(always)]
fn kind(file: *const c_void) -> u16 {
    let inode = pointer::<Probe>(file, offset!(file_inode));
    Probe::at::<u16>(inode, offset!(inode_mode)) & S_IFMT
}

/// Whether an open waited for no other program. Of one that failed, what it was of is not known; who was interrupted waited.
#[inline(always)]
fn is_slow_by_itself(file: *const c_void, result: i64) -> bool {
    if file.is_null() {
        return result != -EINTR && !RESTARTS.contains(&result);
    }
    let kind = kind(file);
    kind == S_IFREG || kind == S_IFDIR
}

/// Tells of a call that is among the slowest; `file` is null where it is not known.
#[inline(never)]
fn tell(file: *const c_void, operation: u32, result: i64, began_ns: u64, ended_ns: u64) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(outlier) = FILE_OUTLIERS.get_ptr_mut(cpu) else { return };
    let task = kernel::current();
    let (mut device, mut place) = (0, 0);
    if !file.is_null() && offset!(inode_super_block) != ABSENT {
        let inode = pointer::<Probe>(file, offset!(file_inode));
        let super_block = pointer::<Probe>(inode, offset!(inode_super_block));
        if offset!(super_block_device) != ABSENT {
            device = Probe::at(super_block, offset!(super_block_device));
        }
        if offset!(inode_number) != ABSENT {
            place = Probe::at(inode, offset!(inode_number));
        }
    }
    let moves = operation == FileOperation::Read as u32 || operation == FileOperation::Write as u32;
    let record = OutlierRecord {
        kind: OutlierKind::File as u32,
        operation,
        ended_ns,
        began_ns,
        issued_ns: 0,
        cgroup_id: task.cgroup_id(),
        hierarchy_id: tunable!(hierarchy_id),
        device,
        place,
        bytes: if moves && result > 0 { result as u64 } else { 0 },
        tgid: task.tgid(),
        tid: task.tid(),
        thread: task.name(),
    };
    // SAFETY: the record of this CPU, in process context with preemption off.
    let path = unsafe {
        (*outlier).record = record;
        &raw mut (*outlier).path
    };
    path::read(file, path);
    outlier::send_file(outlier);
}

/// Counts which layer served an open, if it was of an overlay.
#[inline(always)]
fn count_layer(slot: u32, file: *const c_void, took_ns: u64) {
    if offset!(inode_super_block) == ABSENT
        || offset!(super_block_magic) == ABSENT
        || offset!(super_block_device) == ABSENT
        || offset!(overlay_inode) == ABSENT
        || offset!(overlay_upper) == ABSENT
        || offset!(overlay_entry) == ABSENT
        || offset!(overlay_lower) == ABSENT
        || offset!(overlay_layer) == ABSENT
    {
        return;
    }
    let inode = pointer::<Probe>(file, offset!(file_inode));
    let super_block = pointer::<Probe>(inode, offset!(inode_super_block));
    if Probe::at::<u64>(super_block, offset!(super_block_magic)) != OVERLAYFS_SUPER_MAGIC {
        return;
    }
    let device: u32 = Probe::at(super_block, offset!(super_block_device));
    let overlay = inode.wrapping_byte_sub(offset!(overlay_inode) as usize);
    let layer = if !pointer::<Probe>(overlay, offset!(overlay_upper)).is_null() {
        0
    } else {
        let entry = pointer::<Probe>(overlay, offset!(overlay_entry));
        let lower = pointer::<Probe>(entry, offset!(overlay_lower));
        Probe::at::<u32>(lower, offset!(overlay_layer))
    };
    let key = LayerKey { slot, device, layer };
    let add = || {
        let Some(opens) = FILE_LAYERS.get_ptr_mut(&key) else { return false };
        // SAFETY: a map value, aligned to 8.
        unsafe {
            atomic::add_u64(&raw mut (*opens).opens, 1);
            atomic::add_u64(&raw mut (*opens).time_ns, took_ns);
        }
        true
    };
    let first = LayerOpens { opens: 1, time_ns: took_ns };
    // Of two CPUs that insert at once, one finds the entry of the other.
    if !add() && FILE_LAYERS.insert(&key, &first, BPF_NOEXIST).is_err() && !add() {
        drops::count(DropReason::LayerTableFull);
    }
}
