//! The `block` family: what each container asks of each disk, and how long the disk takes.
//!
//! Contract: numbers are per pair of a cgroup and a disk in the kernel, kept here per owner and disk, so that a recycled pair or
//! a dead cgroup never takes its operations with it. The cgroup is of the hierarchy that block requests are charged to, which need
//! not be the one of identity. On v2 that is the nearest cgroup upwards with the `io` controller. What a cgroup's quota
//! held back before the request was made is in no latency: the kernel does not tell.

mod descriptor;
mod device;
mod pair;
mod wait;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_common::block::{BlockKey, HIERARCHY_NONE, PAIR_OVERFLOW};

pub(super) use descriptor::DESCRIPTORS;
pub(super) use device::{Device, Devices};
use pair::{Delta, Pair, Totals};
use wait::Waits;

use crate::{
    container::{Accounts, Container, Registry},
    kernel::cgroupfs::{CgroupId, CgroupTree, HierarchyId},
    metric::{Sample, Subject},
    probe::{Family, Probes, block_tree},
};

/// How long the pairs of a removed cgroup stay its own: what it wrote last may still be on its way.
const GRACE: Duration = Duration::from_secs(5);
/// How long what an unknown cgroup did waits for its name.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often at most a hierarchy is walked because of cgroups that nobody announced.
const WALK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the family.
pub(super) struct Block {
    cpus: usize,
    lanes: usize,
    /// The hierarchy of block requests, if it is not that of identity.
    tree: Option<CgroupTree>,
    walked: Option<Instant>,
    removed: Vec<(HierarchyId, CgroupId, Instant)>,
    pairs: HashMap<u32, Pair>,
    accounts: Accounts<BTreeMap<Device, Totals>>,
    disks: BTreeMap<Device, Totals>,
    devices: Devices,
    waits: Waits,
}

impl Block {
    pub fn new(probes: &Probes, registry: &Registry) -> Self {
        let is_on = is_attached(probes);
        let tree =
            block_tree().filter(|tree| is_on && tree.hierarchy_id != registry.tree().hierarchy_id);
        if let Some(tree) = &tree {
            registry.also(tree);
        }
        Self {
            cpus: probes.tunables.cpus as usize,
            lanes: probes.tunables.block_lanes as usize,
            tree,
            walked: None,
            removed: Vec::new(),
            pairs: HashMap::new(),
            accounts: Accounts::default(),
            disks: BTreeMap::new(),
            devices: Devices::default(),
            waits: Waits::default(),
        }
    }

    /// A directory of another hierarchy than that of identity was made.
    pub fn made(
        &mut self,
        hierarchy: HierarchyId,
        cgroup: CgroupId,
        path: Option<&str>,
        registry: &Registry,
    ) {
        match path {
            Some(path) => registry.born_in(hierarchy, cgroup, path),
            // Too long to carry: found by a walk when it does I/O.
            None => self.walked = None,
        }
    }

    /// A directory was removed.
    pub fn removed(&mut self, hierarchy: HierarchyId, cgroup: CgroupId, now: Instant) {
        if !self.pairs.is_empty() {
            self.removed.push((hierarchy, cgroup, now));
        }
    }

    pub fn collect(&mut self, probes: &mut Probes, registry: &Registry, samples: &mut Vec<Sample>) {
        if !is_attached(probes) {
            return;
        }
        probes.block.learn();
        let now = Instant::now();
        let keys: Vec<_> = probes.block.iter().collect();
        for &(index, key) in &keys {
            self.read(probes, registry, index, key, now);
        }
        self.read_overflow(probes, now);
        self.read_waits(probes, &keys, now);
        self.recycle(probes, registry, &keys, now);
        self.accounts.expire(now);
        self.devices.refresh(self.disks.keys());
        self.show(now, samples);
    }

    /// Adds who waited for whom since the last time.
    fn read_waits(&mut self, probes: &Probes, keys: &[(u32, BlockKey)], now: Instant) {
        let pairs = &self.pairs;
        let of = |index: u32| {
            let (_, key) = keys.iter().find(|(known, _)| *known == index)?;
            let owner = pairs.get(&index)?.owner.as_ref()?;
            Some((Arc::clone(owner), Device(key.device)))
        };
        self.waits.advance(probes.block.waits(), of, &nobody(), now);
    }

    /// Adds what a pair did since the last time to its owner and its disk.
    fn read(
        &mut self,
        probes: &Probes,
        registry: &Registry,
        index: u32,
        key: BlockKey,
        now: Instant,
    ) {
        let (cpus, lanes) = (self.cpus, self.lanes);
        let pair = self.pairs.entry(index).or_insert_with(|| Pair::new(now));
        if !pair.has_moved(&probes.block, index, cpus) {
            // Who is idle keeps its account as long as it has a pair.
            if let Some(owner) = &pair.owner {
                self.accounts.of(owner, now);
            }
            return;
        }
        let is_patient = now.duration_since(pair.first_seen) < PATIENCE;
        let Some(owner) = self.owner(registry, key, is_patient, now) else { return };
        let Some(pair) = self.pairs.get_mut(&index) else { return };
        pair.owner = Some(Arc::clone(&owner));
        let delta = pair.advance(&probes.block, index, cpus, lanes);
        self.add(&owner, Device(key.device), &delta, now);
    }

    /// What found no pair: neither whose nor which disk is known.
    fn read_overflow(&mut self, probes: &Probes, now: Instant) {
        let pair = self.pairs.entry(PAIR_OVERFLOW).or_insert_with(|| Pair::new(now));
        if pair.has_moved(&probes.block, PAIR_OVERFLOW, self.cpus) {
            let delta = pair.advance(&probes.block, PAIR_OVERFLOW, self.cpus, self.lanes);
            self.add(&nobody(), Device::UNKNOWN, &delta, now);
        }
    }

    fn add(&mut self, owner: &Arc<str>, device: Device, delta: &Delta, now: Instant) {
        self.accounts.of(owner, now).entry(device).or_default().add(delta);
        self.disks.entry(device).or_default().add(delta);
    }

    /// Whom a pair belongs to; `None` while its name may still come.
    fn owner(
        &mut self,
        registry: &Registry,
        key: BlockKey,
        is_patient: bool,
        now: Instant,
    ) -> Option<Arc<str>> {
        if key.hierarchy_id == HIERARCHY_NONE {
            return Some(nobody());
        }
        let (hierarchy, cgroup) = (HierarchyId(key.hierarchy_id), CgroupId(key.cgroup_id));
        let known = |registry: &Registry| registry.of_in(hierarchy, cgroup);
        if known(registry).is_none() {
            self.walk(registry, now);
        }
        match known(registry) {
            Some(container) => Some(container.id.as_str().into()),
            None if is_patient => None,
            None => Some(format!("cgroup:{}:{cgroup}", hierarchy.0).into()),
        }
    }

    /// Looks for cgroups that nobody announced. The hierarchy of identity is walked by who keeps it.
    fn walk(&mut self, registry: &Registry, now: Instant) {
        let is_allowed = self.walked.is_none_or(|at| now.duration_since(at) >= WALK_INTERVAL);
        if let Some(tree) = self.tree.as_ref().filter(|_| is_allowed) {
            registry.also(tree);
            self.walked = Some(now);
        }
    }

    /// Gives back the pairs of cgroups that are gone, after reading them for the last time.
    fn recycle(
        &mut self,
        probes: &mut Probes,
        registry: &Registry,
        keys: &[(u32, BlockKey)],
        now: Instant,
    ) {
        let is_finished = |since: Instant| now.duration_since(since) >= GRACE;
        let finished: Vec<_> = self.removed.extract_if(.., |entry| is_finished(entry.2)).collect();
        for (hierarchy, cgroup, _) in finished {
            let of_it =
                |key: &BlockKey| key.hierarchy_id == hierarchy.0 && key.cgroup_id == cgroup.0;
            for &(index, key) in keys.iter().filter(|(_, key)| of_it(key)) {
                probes.block.forget(index);
                self.read(probes, registry, index, key, now);
                self.pairs.remove(&index);
                self.waits.forget(index);
                probes.block.forget_waits(index);
                pair::zero(&probes.block, index, self.cpus, self.lanes);
                probes.block.give_back(index);
            }
        }
    }

    fn show(&mut self, now: Instant, samples: &mut Vec<Sample>) {
        let mut queued = Vec::new();
        for (owner, by_device) in self.accounts.iter_mut() {
            let subject = Subject::Container(Arc::clone(owner));
            for (device, totals) in by_device {
                let label = self.devices.name(*device);
                totals.show(&descriptor::OF_CONTAINER, &subject, &label, samples);
                queued.push((Arc::clone(owner), *device, totals.queued_ns()));
            }
        }
        for (device, totals) in &self.disks {
            let label = self.devices.name(*device);
            totals.show(&descriptor::OF_DISK, &Subject::Host, &label, samples);
            samples.extend(self.devices.in_flight(*device));
        }
        let devices = &self.devices;
        self.waits.show(now, queued.into_iter(), |device| devices.name(device), samples);
    }
}

fn nobody() -> Arc<str> {
    Container::unattributed().id.as_str().into()
}

/// Whether completions are seen: without the other programs of the family only the phases of some disks are missing.
fn is_attached(probes: &Probes) -> bool {
    let mut programs = probes.programs.iter().filter(|program| program.family == Family::Block);
    programs.any(|p| p.name.starts_with("block_complete") && p.hook.is_some())
}
