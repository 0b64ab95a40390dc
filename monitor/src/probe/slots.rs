//! Which cgroup has which slot, and giving slots back.
//!
//! Contract: the kernel half takes slots by itself; here they are learned (announced, or by reading the whole map after
//! an announcement was lost) and returned, only when their cgroup is gone and their records were read for the last time.

use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData, Stack};
use monitor_common::sched::SLOT_FIRST;

use super::{ProbeError, load::map_error};
use crate::kernel::cgroupfs::CgroupId;

/// A dense number per cgroup.
pub struct Slots {
    in_kernel: HashMap<MapData, u64, u32>,
    free: Stack<MapData, u32>,
    known: BTreeMap<u32, CgroupId>,
}

impl Slots {
    pub(super) fn new(
        in_kernel: HashMap<MapData, u64, u32>,
        mut free: Stack<MapData, u32>,
        slots: u32,
    ) -> Result<Self, ProbeError> {
        // The lowest is taken first, and what was given back is taken again before others: only that much of the arrays is mapped.
        for slot in (SLOT_FIRST..slots).rev() {
            free.push(slot, 0).map_err(map_error)?;
        }
        Ok(Self { in_kernel, free, known: BTreeMap::new() })
    }

    /// Slots in use, with their cgroups.
    pub fn iter(&self) -> impl Iterator<Item = (u32, CgroupId)> + '_ {
        self.known.iter().map(|(&slot, &cgroup)| (slot, cgroup))
    }

    /// The slot of a cgroup.
    pub fn of(&self, cgroup: CgroupId) -> Option<u32> {
        self.known.iter().find(|&(_, &known)| known == cgroup).map(|(&slot, _)| slot)
    }

    /// Notes an announcement.
    pub fn learn(&mut self, slot: u32, cgroup: CgroupId) {
        self.known.insert(slot, cgroup);
    }

    /// Reads the kernel half's own table: for when announcements may have been lost.
    pub fn learn_all(&mut self) {
        // An entry that vanishes while the table is read was given back by ourselves.
        for (cgroup, slot) in self.in_kernel.iter().flatten() {
            self.known.insert(slot, CgroupId(cgroup));
        }
    }

    /// Forgets a slot, so that no thread finds it any more. Its records can now be zeroed; then comes [`Self::give_back`].
    pub fn forget(&mut self, slot: u32) {
        if let Some(cgroup) = self.known.remove(&slot) {
            // Not there any more is what we want.
            let _ = self.in_kernel.remove(&cgroup.0);
        }
    }

    /// Returns a zeroed slot to those that can be taken.
    pub fn give_back(&mut self, slot: u32) {
        if let Err(error) = self.free.push(slot, 0) {
            tracing::warn!(slot, %error, "a slot could not be given back");
        }
    }
}
