//! From what a user names to a subject of the ticks, and from a subject to its container.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    api::{About, ContainerRow, Measurement},
    backend::{Backend, BackendError, PROCESS_PREFIX},
};
use crate::{
    analyze::{Activity, Window, overview},
    container::{Container, Registry, Runtime},
    kernel::ids::Tgid,
    metric::Subject,
    store::Named,
};

/// How long a container may be without its name: two ticks, and time to read what the runtime says of it.
const NAMED_AFTER: Duration = Duration::from_millis(2_500);

/// Containers by id, with the two that the registry does not have.
#[derive(Debug)]
pub struct Names {
    by_id: HashMap<String, Arc<Container>>,
}

impl Names {
    /// All that are known now; of two with one id, the living or the last to die.
    pub fn of(registry: &Registry) -> Self {
        let mut by_id = HashMap::new();
        for pseudo in [Container::kernel(), Container::unattributed()] {
            by_id.insert(pseudo.id.as_str().to_owned(), Arc::new(pseudo));
        }
        // The living come first, and the dead in the order of their deaths.
        for container in registry.containers(true, true) {
            let id = container.id.as_str();
            if by_id.get(id).is_none_or(|known| !known.is_alive()) {
                by_id.insert(id.to_owned(), container);
            }
        }
        Self { by_id }
    }

    /// What people call the container of an id; the id itself where it is none's.
    pub fn name(&self, id: &str) -> String {
        self.get(id).map_or_else(|| id.to_owned(), |container| container.qualified_name())
    }

    /// The container of a subject's id.
    pub fn get(&self, id: &str) -> Option<&Arc<Container>> {
        self.by_id.get(id)
    }
}

/// The container a user means, the two that the registry does not have included.
pub fn find(backend: &dyn Backend, query: &str) -> Result<Arc<Container>, BackendError> {
    for pseudo in [Container::kernel(), Container::unattributed()] {
        if query == pseudo.id.as_str() {
            return Ok(Arc::new(pseudo));
        }
    }
    Ok(backend.registry().find(query)?)
}

/// As [`find`], for what is measured from now on: a container that was started a moment ago has its name with the next tick or the one
/// after, so a name that nobody has is waited for as long.
pub async fn find_soon(backend: &dyn Backend, query: &str) -> Result<Arc<Container>, BackendError> {
    let mut added = backend.live().subscribe();
    let started = Instant::now();
    loop {
        let found = find(backend, query);
        let left = NAMED_AFTER.saturating_sub(started.elapsed());
        let is_missing = matches!(found, Err(BackendError::NotFound { .. }));
        if !is_missing || left.is_zero() || backend.live().is_over() {
            return found;
        }
        // A tick, the end of patience, or ticks that were missed: each is a reason to look again.
        let _ = timeout(left, added.recv()).await;
    }
}

/// What history calls everybody, the two that the registry does not have included.
pub fn names(registry: &Registry) -> Vec<Named> {
    let pseudo = [Container::kernel(), Container::unattributed()];
    // Of two with one id the later overwrites the earlier: the dead come first.
    let all = registry.containers(true, true);
    all.iter().rev().map(AsRef::as_ref).chain(&pseudo).map(named).collect()
}

fn named(container: &Container) -> Named {
    let pod = container.pod.as_ref();
    Named {
        id: container.id.as_str().to_owned(),
        name: container.name.clone(),
        runtime: container.runtime.as_str().to_owned(),
        image: container.image.clone(),
        pod: pod.and_then(|pod| pod.name.clone()),
        namespace: pod.and_then(|pod| pod.namespace.clone()),
    }
}

/// The subject of a container in the ticks.
pub fn subject_of(container: &Container) -> Subject {
    Subject::Container(container.id.as_str().into())
}

/// Whether a subject's id is a watched process.
pub fn is_process(id: &str) -> bool {
    id.starts_with(PROCESS_PREFIX)
}

/// What a report about a process says of it.
pub fn about_process(process: Tgid) -> About {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok();
    About::Process { pid: process.0, name: name.map(|name| name.trim_end().to_owned()) }
}

/// Whether a process is there.
pub fn is_running(process: Tgid) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap_or(false)
}

/// The rows of a window: what was active by stall, then the living that were not measured. `all` adds units, plain
/// cgroups, the host, the kernel, the dead, and directories that are left of containers whose runtime was killed.
pub fn rows(
    window: &Window,
    registry: &Registry,
    all: bool,
    metrics: &[&str],
) -> Vec<ContainerRow> {
    let names = Names::of(registry);
    let mut activities: Vec<Activity> = overview(window);
    activities.retain(|activity| !is_process(&activity.id));
    let mut rows: Vec<ContainerRow> = activities
        .into_iter()
        .filter_map(|activity| {
            let container = names.get(&activity.id)?;
            let mut row = row(container, Some(activity));
            row.metrics = measurements(window, container, metrics);
            Some(row)
        })
        .collect();
    let active: HashSet<String> =
        rows.iter().map(|row| row.container.id.as_str().to_owned()).collect();
    let idle = registry.containers(all, all);
    let idle = idle.iter().filter(|container| !active.contains(container.id.as_str()));
    rows.extend(idle.map(|container| row(container, None)));
    rows.retain(|row| all || is_shown(row, registry));
    rows
}

fn measurements(window: &Window, container: &Container, names: &[&str]) -> Vec<Measurement> {
    if names.is_empty() {
        return vec![];
    }
    let part = window.subjects.get(&subject_of(container));
    let series = part.iter().flat_map(|part| &part.series);
    let wanted = series.filter(|series| names.contains(&series.metric.name));
    wanted.map(|series| Measurement::of(series, window.span.as_nanos() as u64)).collect()
}

/// Whether it is a container that lives, and so in every list.
fn is_shown(row: &ContainerRow, registry: &Registry) -> bool {
    let container = &row.container;
    let is_container = container.runtime.is_container() && container.is_alive();
    // Who did something has a process: the file is read of the others only.
    let did_something = row.activity.as_ref().is_some_and(|activity| !activity.states.is_empty());
    is_container && (did_something || !registry.is_leftover(container))
}

/// One row.
pub fn row(container: &Arc<Container>, activity: Option<Activity>) -> ContainerRow {
    ContainerRow {
        container: container.as_ref().clone(),
        alive: container.is_alive(),
        activity,
        metrics: vec![],
    }
}

/// Whether a recording of it can find anything.
pub fn is_recordable(container: &Container) -> bool {
    container.is_alive() && container.runtime != Runtime::Unattributed
}
