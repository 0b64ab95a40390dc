//! What recordings share that are of one part of the kernel half: whose events they want, as it is told, and that it is attached.
//!
//! Contract: a cgroup that is not known yet is not refused, so that nothing is missed in a container's new one. The part is attached while
//! somebody holds its link.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Arc, Weak},
};

use monitor_common::sched::{SLOT_FIRST, SLOT_KERNEL};

use crate::{
    container::{Container, Registry},
    kernel::cgroupfs::CgroupId,
    probe::WaitTarget,
    serve::Target,
};

/// Recordings by number, and the link that they hold together.
pub(super) struct Wanted<L> {
    link: Weak<L>,
    targets: BTreeMap<u64, Target>,
}

impl<L> Default for Wanted<L> {
    fn default() -> Self {
        Self { link: Weak::new(), targets: BTreeMap::new() }
    }
}

impl<L> Wanted<L> {
    /// A recording begins.
    pub fn insert(&mut self, id: u64, target: &Target) {
        self.targets.insert(id, target.clone());
    }

    /// A recording is gone.
    pub fn remove(&mut self, id: u64) {
        self.targets.remove(&id);
    }

    /// Whether nobody records.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether nobody records and nothing is attached any more: what was kept of threads can be given back.
    pub fn is_over(&self) -> bool {
        self.is_empty() && self.link.strong_count() == 0
    }

    /// The link, made if nobody holds it.
    pub fn link(&mut self, attach: impl FnOnce() -> io::Result<L>) -> io::Result<Arc<L>> {
        let link = match self.link.upgrade() {
            Some(link) => link,
            None => Arc::new(attach()?),
        };
        self.link = Arc::downgrade(&link);
        Ok(link)
    }

    /// Whose events are wanted, and the slots that are refused, if a container is among them. `slots` are those of cgroups, as far as they
    /// are known.
    pub fn told(
        &self,
        slots: impl Fn() -> Vec<(u32, CgroupId)>,
        registry: &Registry,
    ) -> (Vec<WaitTarget>, Option<impl Fn(u32) -> bool>) {
        let targets = self.targets.values().map(wanted).collect();
        (targets, refused(self.targets.values(), slots, registry))
    }
}

/// Which slots are refused, for recordings of these targets; `None` if no container is among them.
fn refused<'a>(
    targets: impl Iterator<Item = &'a Target>,
    slots: impl Fn() -> Vec<(u32, CgroupId)>,
    registry: &Registry,
) -> Option<impl Fn(u32) -> bool> {
    let ids: HashSet<&str> = targets.filter_map(container_of).collect();
    if ids.is_empty() {
        return None;
    }
    let cgroups: HashMap<u32, CgroupId> = slots().into_iter().collect();
    Some(move |slot: u32| {
        let is_other = |id: &str| !ids.contains(id);
        match cgroups.get(&slot) {
            _ if slot == SLOT_KERNEL => is_other(Container::kernel().id.as_str()),
            Some(cgroup) => registry.of(*cgroup).is_some_and(|c| is_other(c.id.as_str())),
            None => (1..SLOT_FIRST).contains(&slot),
        }
    })
}

fn container_of(target: &Target) -> Option<&str> {
    match target {
        Target::Container(id) => Some(id.as_str()),
        Target::All | Target::Process(_) => None,
    }
}

/// A target, as the filter knows it.
fn wanted(target: &Target) -> WaitTarget {
    match target {
        Target::All => WaitTarget::All,
        Target::Container(_) => WaitTarget::Slots,
        Target::Process(tgid) => WaitTarget::Process(*tgid),
    }
}
