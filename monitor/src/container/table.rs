//! Which cgroup belongs to which container, and who died when. Pure bookkeeping: no I/O, no clock, no
//! threads; [`super::Registry`] brings those.
//!
//! A record is one incarnation: a container's directory from its birth to its removal. Its nested cgroups,
//! and its directories in other hierarchies, lead to the same record. The dead stay until there are more
//! than a limit of them and they are old enough; what is evicted is counted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::identity::{Identity, identify};
use super::model::{Container, ContainerId, Pod, bounded};
use super::runtime::Runtime;
use super::state::Facts;
use crate::kernel::cgroupfs::{CgroupKey, HierarchyId};
use crate::metric::WallTimeNs;

/// How long the dead are remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many of the most recent are kept whatever their age.
    pub tombstones: usize,
    /// Younger ones are kept as well, up to [`Self::HARD_FACTOR`] times as many.
    pub age: Duration,
}

impl Limits {
    /// A burst of deaths may hold this many times the usual number: memory stays bounded.
    const HARD_FACTOR: usize = 16;

    fn evicts(&self, count: usize, age: Duration) -> bool {
        let hard = self.tombstones.saturating_mul(Self::HARD_FACTOR);
        count > hard || (count > self.tombstones && age >= self.age)
    }
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub wall: WallTimeNs,
    /// Since any fixed point; never goes back.
    pub monotonic: Duration,
}

/// Names a record for as long as it is kept; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Handle(u64);

struct Cgroup {
    path: Arc<str>,
    owner: Handle,
    dead: bool,
}

struct Record {
    container: Arc<Container>,
    /// Its own directory in the hierarchy of identity, once seen.
    root: Option<CgroupKey>,
    live: BTreeSet<CgroupKey>,
    /// Found to be a container by its runtime's files, not by its path.
    learned: bool,
}

/// The books.
pub(super) struct Table {
    identity: HierarchyId,
    limits: Limits,
    cgroups: HashMap<CgroupKey, Cgroup>,
    records: HashMap<Handle, Record>,
    /// Living records by their directory.
    living: HashMap<String, Handle>,
    learned: usize,
    dead_records: VecDeque<(Duration, Handle)>,
    dead_cgroups: VecDeque<(Duration, CgroupKey)>,
    next: u64,
    pub evicted_containers: u64,
    pub evicted_cgroups: u64,
}

impl Table {
    pub fn new(identity: HierarchyId, limits: Limits) -> Self {
        Self {
            identity,
            limits,
            cgroups: HashMap::new(),
            records: HashMap::new(),
            living: HashMap::new(),
            learned: 0,
            dead_records: VecDeque::new(),
            dead_cgroups: VecDeque::new(),
            next: 0,
            evicted_containers: 0,
            evicted_cgroups: 0,
        }
    }

    /// A cgroup there is. `seen` says that its birth was witnessed, and not that it was found later.
    /// Gives the handle of a record that is new and may want a name.
    pub fn born(&mut self, key: CgroupKey, path: &str, seen: bool, now: Now) -> Option<Handle> {
        if let Some(known) = self.cgroups.get(&key).filter(|known| !known.dead) {
            if known.path.as_ref() == path {
                return None;
            }
            self.died(key, now); // Renamed, which v1 allows.
        }
        let identity = identify(path);
        let directory = self.learned_above(path, &identity).unwrap_or(&identity.cgroup).to_owned();
        let is_root = key.hierarchy == self.identity && path == directory;
        let mut owner = self.living.get(&directory).copied();
        if is_root && let Some(old) = owner.filter(|old| self.root_of(*old).is_some()) {
            self.bury(old, now); // Its removal was missed.
            self.evict(now);
            owner = None;
        }
        let fresh = owner.is_none();
        let owner =
            owner.unwrap_or_else(|| self.open(directory, Container::from_identity(&identity)));
        let record = self.records.get_mut(&owner)?;
        record.live.insert(key);
        if is_root {
            record.root = Some(key);
            if seen {
                Arc::make_mut(&mut record.container).started_at_ns = Some(now.wall);
            }
        }
        self.cgroups.insert(key, Cgroup { path: path.into(), owner, dead: false });
        fresh.then_some(owner)
    }

    fn open(&mut self, directory: String, container: Container) -> Handle {
        let handle = Handle(self.next);
        self.next += 1;
        let container = Arc::new(container);
        let record = Record { container, root: None, live: BTreeSet::new(), learned: false };
        self.records.insert(handle, record);
        self.living.insert(directory, handle);
        handle
    }

    /// Takes a record over as it was written down elsewhere.
    pub fn adopt(&mut self, container: Container) {
        let directory = container.cgroup.clone();
        if container.is_alive() {
            self.open(directory, container);
            return;
        }
        let handle = Handle(self.next);
        self.next += 1;
        let container = Arc::new(container);
        let record = Record { container, root: None, live: BTreeSet::new(), learned: false };
        self.records.insert(handle, record);
        self.dead_records.push_back((Duration::ZERO, handle));
    }

    fn root_of(&self, handle: Handle) -> Option<CgroupKey> {
        self.records.get(&handle)?.root
    }

    /// The directory of the learned container that holds `path`, unless the path names one further in.
    fn learned_above<'a>(&self, path: &'a str, identity: &Identity) -> Option<&'a str> {
        if self.learned == 0 {
            return None;
        }
        let own = if identity.runtime.is_container() { identity.cgroup.len() } else { 0 };
        let ends = path.rmatch_indices('/').map(|(at, _)| at);
        let ancestors = std::iter::once(path.len()).chain(ends).map(|end| &path[..end]);
        ancestors.take_while(|directory| directory.len() > own).find(|directory| {
            let record = self.living.get(*directory).and_then(|handle| self.records.get(handle));
            record.is_some_and(|record| record.learned)
        })
    }

    /// A cgroup that was removed. Unknown ones are none of our business.
    pub fn died(&mut self, key: CgroupKey, now: Now) {
        let Some(owner) = self.mark_dead(key, now) else { return };
        let Some(record) = self.records.get_mut(&owner) else { return };
        record.live.remove(&key);
        if record.root == Some(key) || record.live.is_empty() {
            self.bury(owner, now);
        }
        self.evict(now);
    }

    fn mark_dead(&mut self, key: CgroupKey, now: Now) -> Option<Handle> {
        let cgroup = self.cgroups.get_mut(&key).filter(|cgroup| !cgroup.dead)?;
        cgroup.dead = true;
        let owner = cgroup.owner;
        self.dead_cgroups.push_back((now.monotonic, key));
        Some(owner)
    }

    fn bury(&mut self, handle: Handle, now: Now) {
        let Some(record) = self.records.get_mut(&handle) else { return };
        if !record.container.is_alive() {
            return;
        }
        Arc::make_mut(&mut record.container).died_at_ns = Some(now.wall);
        self.learned -= usize::from(record.learned);
        if self.living.get(&record.container.cgroup) == Some(&handle) {
            self.living.remove(&record.container.cgroup);
        }
        // A directory cannot go before what is in it; in other hierarchies each is told by itself.
        let gone: Vec<_> =
            record.live.iter().filter(|key| key.hierarchy == self.identity).copied().collect();
        record.live.retain(|key| key.hierarchy != self.identity);
        for key in gone {
            self.mark_dead(key, now);
        }
        self.dead_records.push_back((now.monotonic, handle));
    }

    fn evict(&mut self, now: Now) {
        let age = |since: Duration| now.monotonic.saturating_sub(since);
        while let Some((since, handle)) = self.dead_records.front().copied() {
            if !self.limits.evicts(self.dead_records.len(), age(since)) {
                break;
            }
            self.dead_records.pop_front();
            for key in self.records.remove(&handle).into_iter().flat_map(|record| record.live) {
                self.cgroups.remove(&key);
            }
            self.evicted_containers += 1;
        }
        while let Some((since, key)) = self.dead_cgroups.front().copied() {
            if !self.limits.evicts(self.dead_cgroups.len(), age(since)) {
                break;
            }
            self.dead_cgroups.pop_front();
            if self.cgroups.get(&key).is_some_and(|cgroup| cgroup.dead) {
                self.cgroups.remove(&key);
                self.evicted_cgroups += 1;
            }
        }
    }

    /// Writes down what a runtime's files say, also of one that died meanwhile.
    pub fn enrich(&mut self, handle: Handle, facts: Facts) {
        let Some(record) = self.records.get_mut(&handle) else { return };
        let container = Arc::make_mut(&mut record.container);
        let learned = match facts.id {
            Some(id) if !container.runtime.is_container() => {
                container.id = ContainerId::from(id);
                container.runtime = Runtime::Runc;
                true
            }
            _ => false,
        };
        if let Some(runtime) = facts.runtime.filter(|_| container.runtime.is_container()) {
            container.runtime = runtime;
        }
        if let Some(name) = facts.name.filter(|name| !name.is_empty()) {
            container.name = bounded(name);
        }
        container.image = facts.image.map(bounded).or(container.image.take());
        container.pod = merge(container.pod.take(), facts.pod);
        container.created_at_ns = facts.created_at_ns.or(container.created_at_ns);
        container.started_at_ns = container.started_at_ns.or(facts.started_at_ns);
        if learned {
            record.learned = true;
            if container.is_alive() {
                self.learned += 1;
                self.absorb(handle);
            }
        }
    }

    /// Gives a newly learned container the plain cgroups and units found inside it before.
    fn absorb(&mut self, handle: Handle) {
        let Some(record) = self.records.get(&handle) else { return };
        let inside = format!("{}/", record.container.cgroup);
        let nested: Vec<(String, Handle)> = self
            .living
            .iter()
            .filter(|(directory, _)| directory.starts_with(&inside))
            .filter(|(_, nested)| {
                self.records.get(nested).is_some_and(|r| !r.container.runtime.is_container())
            })
            .map(|(directory, nested)| (directory.clone(), *nested))
            .collect();
        for (directory, nested) in nested {
            self.living.remove(&directory);
            let live = self.records.remove(&nested).map(|record| record.live).unwrap_or_default();
            if let Some(record) = self.records.get_mut(&handle) {
                record.live.extend(live);
            }
            for cgroup in self.cgroups.values_mut().filter(|cgroup| cgroup.owner == nested) {
                cgroup.owner = handle;
            }
        }
    }

    /// The owner of a cgroup, living or remembered.
    pub fn of(&self, key: CgroupKey) -> Option<&Arc<Container>> {
        self.records.get(&self.cgroups.get(&key)?.owner).map(|record| &record.container)
    }

    /// Whether a cgroup is known and not removed.
    pub fn is_living(&self, key: CgroupKey) -> bool {
        self.cgroups.get(&key).is_some_and(|cgroup| !cgroup.dead)
    }

    /// The container a handle stands for, while it is kept.
    pub fn get(&self, handle: Handle) -> Option<&Arc<Container>> {
        self.records.get(&handle).map(|record| &record.container)
    }

    /// All records, in no order.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.records.values().map(|record| &record.container)
    }

    /// The living cgroups of a container, in all hierarchies.
    pub fn keys_of(&self, id: &ContainerId) -> Vec<CgroupKey> {
        let living = self.living.values().filter_map(|handle| self.records.get(handle));
        let own = living.filter(|record| record.container.id == *id);
        let mut keys: Vec<_> = own.flat_map(|record| record.live.iter().copied()).collect();
        keys.sort_unstable();
        keys
    }

    /// The living cgroups of the hierarchy of identity, with their paths.
    pub fn living_cgroups(&self) -> Vec<(CgroupKey, Arc<str>)> {
        let living = self
            .cgroups
            .iter()
            .filter(|(key, cgroup)| key.hierarchy == self.identity && !cgroup.dead);
        living.map(|(key, cgroup)| (*key, Arc::clone(&cgroup.path))).collect()
    }

    /// Cgroups known, containers and others living, and dead.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.cgroups.len(), self.living.len(), self.dead_records.len())
    }
}

/// What the files say, completed by what the path said.
fn merge(path: Option<Pod>, files: Option<Pod>) -> Option<Pod> {
    match (path, files) {
        (Some(path), Some(files)) => Some(Pod {
            name: files.name.map(bounded).or(path.name),
            namespace: files.namespace.map(bounded).or(path.namespace),
            uid: files.uid.map(bounded).or(path.uid),
        }),
        (path, files) => files.or(path),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
