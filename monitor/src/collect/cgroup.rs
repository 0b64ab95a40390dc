//! Cgroups that come and go: told to the registry, and their slots recycled.
//!
//! Contract: a slot is given back only [`GRACE`] after its directory went, when even threads that were exiting have had
//! their last switch. Lost announcements are made good by reading the kernel half's own table and walking cgroupfs.

use std::time::{Duration, Instant};

use monitor_common::drops::DropReason;

use crate::{
    container::Registry,
    kernel::cgroupfs::CgroupId,
    probe::{Probes, Slots},
};

/// How long the slot of a removed cgroup stays its own.
const GRACE: Duration = Duration::from_secs(2);
/// cgroupfs is walked because of cgroups that nobody announced as often as costs 1 % of a CPU: a walk of 1,000 takes 10 ms.
const WALK_COST: u32 = 100;
/// The least and the most time between two such walks.
const WALK_INTERVALS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// What is known of their comings and goings.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    removed: Vec<(CgroupId, Instant)>,
    lost_before: u64,
    is_walk_due: bool,
    walked: Option<Walk>,
}

/// The last walk.
#[derive(Debug)]
struct Walk {
    begun: Instant,
    took: Duration,
}

impl Walk {
    fn is_next_allowed(&self) -> bool {
        let [least, most] = WALK_INTERVALS;
        self.begun.elapsed() >= (self.took * WALK_COST).clamp(least, most)
    }
}

impl Cgroups {
    /// A directory was made.
    pub fn made(&mut self, cgroup: CgroupId, path: Option<&str>, registry: &Registry) {
        match path {
            Some(path) => registry.born(cgroup, path),
            None => self.is_walk_due = true,
        }
    }

    /// A directory was removed.
    pub fn removed(&mut self, cgroup: CgroupId, registry: &Registry, now: Instant) {
        registry.died(cgroup);
        self.removed.push((cgroup, now));
    }

    /// Makes good what was not announced.
    pub fn catch_up(&mut self, probes: &mut Probes, registry: &Registry) {
        let lost: u64 = (0..probes.drops.len())
            .map(|cpu| probes.drops.read(cpu).by_reason[DropReason::EventRingFull as usize])
            .sum();
        if lost != self.lost_before {
            self.lost_before = lost;
            probes.slots.learn_all();
            self.is_walk_due = true;
        }
        let is_anyone_unknown =
            probes.slots.iter().any(|(_, cgroup)| registry.of(cgroup).is_none());
        let is_walk_allowed = self.walked.as_ref().is_none_or(Walk::is_next_allowed);
        if (self.is_walk_due || is_anyone_unknown) && is_walk_allowed {
            // Those made while the tree is walked may be missing in it: only those from before are judged by it.
            let before: Vec<_> = probes.slots.iter().map(|(_, cgroup)| cgroup).collect();
            let begun = Instant::now();
            registry.resync();
            self.note_unannounced(&before, registry);
            self.is_walk_due = false;
            self.walked = Some(Walk { begun, took: begun.elapsed() });
        }
    }

    /// Cgroups that had a slot before the tree was walked and are not in it: their removal was not announced.
    fn note_unannounced(&mut self, before: &[CgroupId], registry: &Registry) {
        let now = Instant::now();
        for &cgroup in before.iter().filter(|&&cgroup| !registry.is_living(cgroup)) {
            if !self.removed.iter().any(|&(known, _)| known == cgroup) {
                self.removed.push((cgroup, now));
            }
        }
    }

    /// The slots whose cgroups have been gone for long enough.
    pub fn take_finished(&mut self, slots: &Slots, now: Instant) -> Vec<u32> {
        let is_finished = |&(_, since): &(CgroupId, Instant)| now.duration_since(since) >= GRACE;
        let finished: Vec<_> = self.removed.extract_if(.., |entry| is_finished(entry)).collect();
        finished.into_iter().filter_map(|(cgroup, _)| slots.of(cgroup)).collect()
    }
}
