//! When the cgroup files of which container are read.
//!
//! Contract: a reading is several files of some 8 us each, so its cost is bounded: who was active is read every [`INTERVAL`], who
//! is new within [`TURN`], and of those that did nothing [`IDLE_A_TURN`] each turn. Between two readings there is the last one.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Container, Registry};
use crate::{
    kernel::host::{Health, SourceStatus},
    metric::KtimeNs,
};

/// How often the files of a container that does something are read.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often we look whose turn it is, whatever the tick.
const TURN: Duration = Duration::from_secs(1);
/// How many of those that do nothing are read each turn: a thousand within two minutes, for about a millisecond.
const IDLE_A_TURN: usize = 10;
/// Files of cgroups are read after those of the host.
const PRIORITY: u8 = 10;

/// What was read of each container last.
#[derive(Debug)]
pub struct Readings<T> {
    last: BTreeMap<Arc<str>, Reading<T>>,
    /// Who did something since it was last read.
    active: HashSet<Arc<str>>,
    turn_at: Option<Instant>,
    /// When somebody's files were last there to be read.
    read_at: Option<KtimeNs>,
}

#[derive(Debug)]
struct Reading<T> {
    at: Instant,
    /// `None` where there was nothing to be read.
    value: Option<T>,
}

impl<T> Default for Readings<T> {
    fn default() -> Self {
        Self { last: BTreeMap::new(), active: HashSet::new(), turn_at: None, read_at: None }
    }
}

impl<T> Readings<T> {
    /// Notes that an owner did something.
    pub fn note_active(&mut self, owner: &Arc<str>) {
        if !self.active.contains(owner) {
            self.active.insert(Arc::clone(owner));
        }
    }

    /// Has `read` look at those whose turn it is, given what it last said: living containers, and whatever else was ever active.
    /// Where it says nothing, the container is gone or has no such files: unknown, not what it was.
    pub fn collect(
        &mut self,
        registry: &Registry,
        now: Instant,
        mut read: impl FnMut(&Container, Option<T>) -> Option<T>,
    ) {
        if self.turn_at.is_some_and(|at| now.duration_since(at) < TURN) {
            return;
        }
        self.turn_at = Some(now);
        let mut living = HashSet::new();
        let (mut due, mut idle) = (Vec::new(), Vec::new());
        for container in registry.living() {
            let id = container.id.as_str();
            let known = self.last.get(id);
            let is_active = self.active.contains(id);
            if known.is_none() && !is_active && !container.runtime.is_container() {
                continue;
            }
            living.insert(id.to_owned());
            match known {
                Some(reading) if now.duration_since(reading.at) < INTERVAL => {}
                Some(reading) if !is_active => idle.push((reading.at, container)),
                _ => due.push(container),
            }
        }
        self.last.retain(|id, _| living.contains(&**id));
        idle.sort_by_key(|(at, _)| *at);
        due.extend(idle.into_iter().take(IDLE_A_TURN).map(|(_, container)| container));
        for container in due {
            let id = container.id.as_str();
            self.active.remove(id);
            let before = self.last.remove(id).and_then(|reading| reading.value);
            let value = read(&container, before);
            if value.is_some() {
                self.read_at = Some(KtimeNs::now());
            }
            self.last.insert(id.into(), Reading { at: now, value });
        }
    }

    /// How they are read, as a source of this name; `missing` says what this machine lacks for it.
    pub fn status(&self, name: &str, missing: Option<&str>) -> SourceStatus {
        SourceStatus {
            health: if missing.is_some() { Health::Absent } else { Health::Ok },
            is_enabled: true,
            last_read: self.read_at,
            last_error: missing.map(str::to_owned),
            ..switched_off(name)
        }
    }

    /// Whose was read, and what.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.last.iter().filter_map(|(owner, reading)| Some((owner, reading.value.as_ref()?)))
    }
}

/// A source of cgroup files that nobody wants.
pub fn switched_off(name: &str) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        interval_ns: INTERVAL.as_nanos() as u64,
        priority: PRIORITY,
        is_enabled: false,
        health: Health::Disabled,
        last_read: None,
        last_error: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        container::Options,
        kernel::cgroupfs::{CgroupTree, Hierarchy, HierarchyId},
    };

    fn registry_of(containers: usize, directory: &tempfile::TempDir) -> Registry {
        for i in 0..containers {
            fs::create_dir_all(directory.path().join(format!("lxc/c{i}"))).unwrap();
        }
        let tree = CgroupTree {
            hierarchy: Hierarchy::V2,
            hierarchy_id: HierarchyId::V2,
            mount: directory.path().to_owned(),
            reason: String::new(),
        };
        let root = directory.path().join("root");
        Registry::start_with(tree, Options { root, retries: vec![], ..Options::default() })
    }

    /// Who was read at an instant.
    fn read_at(readings: &mut Readings<u32>, registry: &Registry, now: Instant) -> Vec<String> {
        let mut read = Vec::new();
        readings.collect(registry, now, |container, before| {
            read.push(container.id.to_string());
            Some(before.unwrap_or(0) + 1)
        });
        read
    }

    #[test]
    fn what_is_read_grows_with_the_active() {
        let directory = tempfile::tempdir().unwrap();
        let registry = registry_of(100, &directory);
        let mut readings = Readings::default();
        let start = Instant::now();
        assert_eq!(read_at(&mut readings, &registry, start).len(), 100, "all are new");
        assert_eq!(read_at(&mut readings, &registry, start + TURN / 2).len(), 0, "not yet");
        readings.note_active(&"c7".into());
        let read = read_at(&mut readings, &registry, start + INTERVAL);
        assert_eq!(read.len(), 1 + IDLE_A_TURN);
        assert_eq!(read[0], "c7");
        let read = read_at(&mut readings, &registry, start + INTERVAL + TURN);
        assert_eq!(read.len(), IDLE_A_TURN, "nobody was active since");
        assert!(!read.contains(&"c7".to_owned()));
        let twice = readings.iter().filter(|(_, times)| **times == 2).count();
        assert_eq!(twice, 1 + 2 * IDLE_A_TURN, "what is read gets what it last said");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let registry = registry_of(2, &directory);
        let mut readings = Readings::default();
        let start = Instant::now();
        read_at(&mut readings, &registry, start);
        fs::remove_dir(directory.path().join("lxc/c0")).unwrap();
        registry.resync();
        read_at(&mut readings, &registry, start + TURN);
        assert_eq!(readings.iter().count(), 1);
        readings.collect(&registry, start + 2 * INTERVAL, |_, _| None);
        assert_eq!(readings.iter().count(), 0, "without files there is nothing to say");
        readings.note_active(&"c1".into());
        let soon = start + 2 * INTERVAL + TURN;
        assert!(read_at(&mut readings, &registry, soon).is_empty(), "not more often than others");
        assert_eq!(read_at(&mut readings, &registry, soon + TURN), ["c1"]);
    }
}
