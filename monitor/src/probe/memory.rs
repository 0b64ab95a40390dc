//! The maps of the `memory` family, and what its programs must know of this kernel.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use monitor_common::memory::{OomKey, SlotMemory, SlotMemoryWaits};

use super::{
    MappedArray, ProbeError,
    load::{map_error, mapped, take},
};
use crate::kernel::btf::Btf;

/// 1 if the tracepoint of an out-of-memory kill has the victim's task, with its user as second argument.
pub(super) fn victim_is_task(btf: &Btf) -> u32 {
    u32::from(btf.tracepoint_arguments("mark_victim").is_some_and(|count| count > 1))
}

/// 1 if there are tracepoints where a page fault begins: x86 and RISC-V have them.
pub(super) fn fault_has_start(btf: &Btf) -> u32 {
    u32::from(btf.tracepoint_arguments("page_fault_user").is_some())
}

/// What is counted of memory.
pub struct MemoryMaps {
    /// Counters, at `slot * cpus + cpu`.
    pub counters: MappedArray<SlotMemory>,
    /// Distributions, at `slot * block_lanes + lane`.
    pub waits: MappedArray<SlotMemoryWaits>,
    kills: HashMap<MapData, OomKey, u64>,
}

impl MemoryMaps {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(ebpf: &mut Ebpf, size: impl Fn(&str) -> u32) -> Result<Self, ProbeError> {
        Ok(Self {
            counters: mapped(ebpf, "SLOT_MEMORY", size("SLOT_MEMORY"))?,
            waits: mapped(ebpf, "SLOT_MEMORY_WAITS", size("SLOT_MEMORY_WAITS"))?,
            kills: HashMap::try_from(take(ebpf, "OOM_KILLS")?).map_err(map_error)?,
        })
    }

    /// Kills so far, by victim and culprit. A system call for each pair that there is.
    pub fn kills(&self) -> impl Iterator<Item = (OomKey, u64)> + '_ {
        // An entry that vanishes meanwhile was removed by ourselves.
        self.kills.iter().flatten()
    }

    /// Forgets the kills that a slot has part in.
    pub fn forget_kills(&mut self, slot: u32) {
        let is_of_slot = |key: &OomKey| key.victim == slot || key.culprit == slot;
        let of_slot: Vec<_> = self.kills().map(|(key, _)| key).filter(is_of_slot).collect();
        for key in of_slot {
            // Not there any more is what we want.
            let _ = self.kills.remove(&key);
        }
    }
}
