//! A dense number per cgroup, given on its first activity, so that the hot path indexes arrays.
//!
//! Contract: user space fills [`FREE_SLOTS`] at start and again with what it has recycled: read for the last time,
//! zeroed, and its key removed from [`CGROUP_SLOTS`]. What finds no slot goes to `unattributed` and is counted.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, Stack},
};
use monitor_common::{
    drops::DropReason,
    event::{CgroupSlotEvent, EventKind},
    sched::{SLOT_KERNEL, SLOT_UNATTRIBUTED},
};

use crate::{
    drops, event,
    kernel::{Direct, Read, Task},
    thread,
};

/// Cgroup id to slot.
#[map]
static CGROUP_SLOTS: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// Slots that nobody has.
#[map]
static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;

/// The slot a thread's time goes to.
#[inline(always)]
pub fn of_task<R: Read>(task: Task<R>, cgroup_id: u64) -> u32 {
    if task.is_kernel_thread() {
        return SLOT_KERNEL;
    }
    if cgroup_id == 0 {
        drops::count(DropReason::TaskUnreadable);
        return SLOT_UNATTRIBUTED;
    }
    of_cgroup(cgroup_id)
}

/// The slot of the running thread.
#[inline(always)]
pub fn of_current(task: Task<Direct>) -> u32 {
    // An inlined lookup where a cgroup's is a hash; its entry changes at switches only, and it is running.
    if let Some(thread) = thread::known(task.tid()) {
        if thread.cgroups == task.cgroups() {
            return thread.slot;
        }
    }
    of_task(task, task.cgroup_id())
}

/// The slot of a cgroup that has one.
#[inline(always)]
pub fn known(cgroup_id: u64) -> Option<u32> {
    // SAFETY: the value is read at once; an entry is removed only when no thread is left in its cgroup.
    unsafe { CGROUP_SLOTS.get(cgroup_id) }.copied()
}

/// The slot of a cgroup. Not inlined: it runs when a thread is new or has moved, not at each switch.
#[inline(never)]
pub fn of_cgroup(cgroup_id: u64) -> u32 {
    if let Some(slot) = known(cgroup_id) {
        return slot;
    }
    let Ok(Some(slot)) = FREE_SLOTS.pop() else {
        drops::count(DropReason::NoSlot);
        return SLOT_UNATTRIBUTED;
    };
    if CGROUP_SLOTS.insert(cgroup_id, slot, BPF_NOEXIST).is_err() {
        // Another CPU was first, or the map is full: in both cases the slot goes back.
        let _ = FREE_SLOTS.push(slot, 0);
        // SAFETY: as above.
        return match unsafe { CGROUP_SLOTS.get(cgroup_id) } {
            Some(slot) => *slot,
            None => {
                drops::count(DropReason::NoSlot);
                SLOT_UNATTRIBUTED
            }
        };
    }
    // A full ring loses only the announcement: user space sees the counter move and reads the whole map.
    event::send(&CgroupSlotEvent {
        header: event::header(EventKind::CgroupSlot),
        cgroup_id,
        slot,
        padding: 0,
    });
    slot
}
