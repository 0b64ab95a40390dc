//! The live mapping from cgroup to container. `of`, `born` and `died` take a lock for a moment and never
//! wait for a file; names arrive later from the thread in [`super::enrich`].

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::enrich::{self, Job};
use super::find::{self, FindError};
use super::model::{Container, ContainerId};
use super::state::StateFiles;
use super::table::{Handle, Limits, Now, Table};
use crate::kernel::cgroupfs::{CgroupId, CgroupKey, CgroupTree, Hierarchy, HierarchyId};
use crate::metric::WallTimeNs;

/// Most records that wait for a name at one time; more are counted and keep their short ids.
const MAX_WAITING: u64 = 65_536;

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the host's files are: `/`, or the mount of the host's root when running in a container.
    pub root: PathBuf,
    /// How many of the dead are remembered whatever their age; sixteen times as many at most.
    pub tombstones: usize,
    /// How long the dead beyond that number are remembered.
    pub tombstone_age: Duration,
    /// When to ask again for a name that is not known, from the birth on.
    pub retries: Vec<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: "/".into(),
            tombstones: 4096,
            tombstone_age: Duration::from_secs(3600),
            retries: [200, 1000, 5000].map(Duration::from_millis).into(),
        }
    }
}

/// What the registry holds and what it lost, for `doctor` and the own metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Cgroups known, the dead included.
    pub cgroups: usize,
    /// Containers, units and plain cgroups alive.
    pub alive: usize,
    /// The same, dead and remembered.
    pub dead: usize,
    /// Dead containers forgotten.
    pub evicted_containers: u64,
    /// Dead cgroups forgotten.
    pub evicted_cgroups: u64,
    /// Records that may still get a name.
    pub names_waiting: u64,
    /// Containers whose runtime's files never told a name.
    pub names_unknown: u64,
    /// Records that found the queue full.
    pub names_dropped: u64,
    /// State files that could not be used, each attempt counted.
    pub state_errors: u64,
    /// The last of those, in words.
    pub last_state_error: Option<String>,
}

/// What the registry and its thread share.
pub(super) struct Shared {
    table: RwLock<Table>,
    /// Records in the queue that were not tried once.
    untried: Mutex<u64>,
    all_tried: Condvar,
    waiting: AtomicU64,
    /// The registry is being dropped.
    pub stopped: AtomicBool,
    unknown: AtomicU64,
    dropped: AtomicU64,
    pub state_errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Shared {
    fn new(tree: &CgroupTree, options: &Options) -> Self {
        let limits = Limits { tombstones: options.tombstones, age: options.tombstone_age };
        Self {
            table: RwLock::new(Table::new(tree.hierarchy_id, limits)),
            untried: Mutex::new(0),
            all_tried: Condvar::new(),
            waiting: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            unknown: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            state_errors: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tried(&self) {
        let mut untried = self.untried();
        *untried = untried.saturating_sub(1);
        if *untried == 0 {
            self.all_tried.notify_all();
        }
    }

    /// Nobody will ask for it again.
    pub fn settled(&self, handle: Handle, named: bool) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let table = self.read();
        if !named && table.get(handle).is_some_and(|c| c.runtime.is_container()) {
            self.unknown.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn untried(&self) -> MutexGuard<'_, u64> {
        self.untried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every cgroup's owner, living and recently dead. Share it behind an `Arc`.
pub struct Registry {
    tree: CgroupTree,
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    queue: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
    started: Instant,
    /// Where containers are written down and not looked at: those whose directory had outlived them.
    leftovers: Option<HashSet<ContainerId>>,
}

impl Registry {
    /// Walks the tree and starts the thread that reads names. Births told before are not lost if the
    /// tracepoints were attached first and their ring is drained after.
    pub fn start(tree: CgroupTree) -> Self {
        Self::start_with(tree, Options::default())
    }

    /// As [`Self::start`], with other limits or another root.
    pub fn start_with(tree: CgroupTree, options: Options) -> Self {
        let shared = Arc::new(Shared::new(&tree, &options));
        let (queue, jobs) = mpsc::channel();
        let files = StateFiles::new(&options.root, &tree.hierarchy, &tree.mount);
        let worker = std::thread::Builder::new().name("container-names".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || enrich::run(&jobs, &shared, files, &options.retries)
        });
        let worker = match worker {
            Ok(worker) => Some(worker),
            Err(error) => {
                shared.set_last_error(format!("cannot start the thread that reads names: {error}"));
                None
            }
        };
        let queue = worker.is_some().then_some(queue);
        let started = Instant::now();
        let registry = Self { tree, shared, queue, worker, started, leftovers: None };
        registry.walk(&registry.tree, &mut HashSet::new());
        registry
    }

    /// Of containers that were written down on another host: no file is read, and nobody is born or dies. Of `leftovers` only the
    /// directory was left.
    pub fn recorded(
        containers: impl IntoIterator<Item = Container>,
        leftovers: HashSet<ContainerId>,
    ) -> Self {
        let tree = CgroupTree {
            hierarchy: Hierarchy::V2,
            hierarchy_id: HierarchyId::V2,
            mount: PathBuf::new(),
            reason: String::new(),
        };
        let shared = Arc::new(Shared::new(&tree, &Options::default()));
        {
            let mut table = shared.write();
            containers.into_iter().for_each(|container| table.adopt(container));
        }
        let (started, leftovers) = (Instant::now(), Some(leftovers));
        Self { tree, shared, queue: None, worker: None, started, leftovers }
    }

    fn walk(&self, tree: &CgroupTree, found: &mut HashSet<CgroupKey>) {
        for (id, path) in tree.walk() {
            self.add(tree.key(id), &path, false);
            found.insert(tree.key(id));
        }
    }

    /// Adds a second hierarchy, so that ids of its cgroups lead to containers too: on v1 and hybrid hosts
    /// a block request or a page names a directory of its own controller's hierarchy.
    pub fn also(&self, tree: &CgroupTree) {
        self.walk(tree, &mut HashSet::new());
    }

    /// The hierarchy that gives identity.
    pub fn tree(&self) -> &CgroupTree {
        &self.tree
    }

    /// A cgroup of the hierarchy of identity was made.
    pub fn born(&self, id: CgroupId, path: &str) {
        self.born_in(self.tree.hierarchy_id, id, path);
    }

    /// A cgroup of any hierarchy was made.
    pub fn born_in(&self, hierarchy: HierarchyId, id: CgroupId, path: &str) {
        self.add(CgroupKey { hierarchy, id }, path, true);
    }

    fn add(&self, key: CgroupKey, path: &str, seen: bool) {
        let wanting = {
            let mut table = self.shared.write();
            let fresh = table.born(key, path, seen, self.now());
            fresh.filter(|fresh| table.get(*fresh).is_some_and(|c| StateFiles::may_know(c)))
        };
        let Some(handle) = wanting else { return };
        let Some(queue) = &self.queue else { return };
        if self.shared.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        *self.shared.untried() += 1;
        if queue.send(Job { handle, since: Instant::now() }).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.tried();
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A cgroup of the hierarchy of identity was removed.
    pub fn died(&self, id: CgroupId) {
        self.died_in(self.tree.hierarchy_id, id);
    }

    /// A cgroup of any hierarchy was removed.
    pub fn died_in(&self, hierarchy: HierarchyId, id: CgroupId) {
        self.shared.write().died(CgroupKey { hierarchy, id }, self.now());
    }

    /// Compares with the directories there are, after births or deaths were lost. Reads the whole tree:
    /// not for the data path, and not for polling.
    pub fn resync(&self) {
        let before = self.shared.read().living_cgroups();
        let mut found = HashSet::new();
        self.walk(&self.tree, &mut found);
        for (key, path) in before {
            // A directory may have been listed by a parent that was read while it moved: look once more.
            if !found.contains(&key) && self.tree.id_of(&path) != Some(key.id) {
                self.died(key.id);
            }
        }
    }

    /// The owner of a cgroup of the hierarchy of identity, living or remembered.
    pub fn of(&self, id: CgroupId) -> Option<Arc<Container>> {
        self.of_in(self.tree.hierarchy_id, id)
    }

    /// Whether a cgroup of the hierarchy of identity is known and not removed.
    pub fn is_living(&self, id: CgroupId) -> bool {
        self.shared.read().is_living(CgroupKey { hierarchy: self.tree.hierarchy_id, id })
    }

    /// The owner of a cgroup of any hierarchy that was told.
    pub fn of_in(&self, hierarchy: HierarchyId, id: CgroupId) -> Option<Arc<Container>> {
        self.shared.read().of(CgroupKey { hierarchy, id }).cloned()
    }

    /// Whether the directory of a container that lives has outlived its processes: its runtime was killed before it could clean
    /// up. False where that cannot be told. Reads a file.
    pub fn is_leftover(&self, container: &Container) -> bool {
        match &self.leftovers {
            Some(leftovers) => container.is_alive() && leftovers.contains(&container.id),
            None => {
                container.is_alive() && self.tree.is_populated(&container.cgroup) == Some(false)
            }
        }
    }

    /// Containers, living first, then by qualified name. `all` adds units, plain cgroups and the host.
    pub fn containers(&self, include_dead: bool, all: bool) -> Vec<Arc<Container>> {
        let mut found: Vec<_> = {
            let table = self.shared.read();
            let wanted = |container: &&Arc<Container>| {
                (include_dead || container.is_alive()) && (all || container.runtime.is_container())
            };
            table.containers().filter(wanted).cloned().collect()
        };
        found.sort_by_cached_key(|container| {
            let died = container.died_at_ns;
            (died.is_some(), container.qualified_name(), container.id.clone(), died)
        });
        found
    }

    /// The living, units, plain cgroups and the host included, in no order: for who looks at each of them again and again.
    pub fn living(&self) -> Vec<Arc<Container>> {
        let table = self.shared.read();
        table.containers().filter(|container| container.is_alive()).cloned().collect()
    }

    /// The container a user means by a name, a qualified name, an id, a unique prefix of an id, or a path.
    /// The living come before the dead.
    ///
    /// # Errors
    /// [`FindError`], which lists what is near or what was meant.
    pub fn find(&self, text: &str) -> Result<Arc<Container>, FindError> {
        find::find(text, &self.containers(true, true))
    }

    /// The living cgroups of a container in the hierarchy of identity: its directory and those inside it.
    pub fn cgroups_of(&self, id: &ContainerId) -> Vec<CgroupId> {
        let mut keys = self.keys_of(id);
        keys.retain(|key| key.hierarchy == self.tree.hierarchy_id);
        keys.into_iter().map(|key| key.id).collect()
    }

    /// The same in all hierarchies that were told.
    pub fn keys_of(&self, id: &ContainerId) -> Vec<CgroupKey> {
        self.shared.read().keys_of(id)
    }

    /// Waits until every record known now was looked up once, for commands that print and leave.
    /// Gives whether it came so far in time.
    pub fn wait_for_names(&self, timeout: Duration) -> bool {
        let untried = self.shared.untried();
        let waited = self.shared.all_tried.wait_timeout_while(untried, timeout, |left| *left > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What it holds and what it lost.
    pub fn stats(&self) -> Stats {
        let table = self.shared.read();
        let (cgroups, alive, dead) = table.sizes();
        let last_error = self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            cgroups,
            alive,
            dead,
            evicted_containers: table.evicted_containers,
            evicted_cgroups: table.evicted_cgroups,
            names_waiting: self.shared.waiting.load(Ordering::Relaxed),
            names_unknown: self.shared.unknown.load(Ordering::Relaxed),
            names_dropped: self.shared.dropped.load(Ordering::Relaxed),
            state_errors: self.shared.state_errors.load(Ordering::Relaxed),
            last_state_error: last_error.clone(),
        }
    }

    fn now(&self) -> Now {
        Now { wall: WallTimeNs::now(), monotonic: self.started.elapsed() }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The thread ends when nobody can send, without working off what still waits.
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the thread that reads container names panicked");
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
