//! The cgroup files of the containers there are.
//!
//! Contract: a reading is seven files, 60-90 us, so its cost is bounded: who was active is read every [`INTERVAL`], who is new
//! within [`TURN`], and of those that did nothing [`IDLE_A_TURN`] each turn. Between two readings the last one is shown.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::descriptor::{EVENTS, HIGH, LIMIT, PARTS, PRESSURE, SWAP, SWAP_LIMIT, USE, WORKING_SET};
use crate::{
    container::Registry,
    kernel::cgroup_memory::{self, CgroupMemory, MemoryFiles},
    metric::{Descriptor, Sample, Subject, Value},
};

/// How often the files of a container that does something are read.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often we look whose turn it is, whatever the tick.
const TURN: Duration = Duration::from_secs(1);
/// How many of those that do nothing are read each turn: a thousand within two minutes, for about a millisecond.
const IDLE_A_TURN: usize = 10;

/// Reads them.
pub(super) struct Files {
    files: MemoryFiles,
    last: BTreeMap<Arc<str>, Reading>,
    /// Who did something since the files were last read.
    active: HashSet<Arc<str>>,
    turn_at: Option<Instant>,
}

struct Reading {
    at: Instant,
    memory: CgroupMemory,
}

impl Files {
    pub fn new() -> Self {
        Self {
            files: MemoryFiles::find(),
            last: BTreeMap::new(),
            active: HashSet::new(),
            turn_at: None,
        }
    }

    /// Notes that an owner did something with memory.
    pub fn note_active(&mut self, owner: &Arc<str>) {
        if !self.active.contains(owner) {
            self.active.insert(Arc::clone(owner));
        }
    }

    /// Reads whose turn it is; then shows what was read last.
    pub fn collect(&mut self, registry: &Registry, now: Instant, samples: &mut Vec<Sample>) {
        if self.turn_at.is_none_or(|at| now.duration_since(at) >= TURN) {
            self.turn_at = Some(now);
            self.take_turn(registry, now);
        }
        for (owner, reading) in &self.last {
            show(&reading.memory, &Subject::Container(Arc::clone(owner)), samples);
        }
    }

    /// Of living containers, and of whatever else was ever active.
    fn take_turn(&mut self, registry: &Registry, now: Instant) {
        let mut living = HashSet::new();
        let mut idle = Vec::new();
        for container in registry.containers(false, true) {
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
                _ => self.read(id, &container.cgroup, now),
            }
        }
        self.last.retain(|id, _| living.contains(&**id));
        idle.sort_by_key(|(at, _)| *at);
        for (_, container) in idle.into_iter().take(IDLE_A_TURN) {
            self.read(container.id.as_str(), &container.cgroup, now);
        }
    }

    fn read(&mut self, id: &str, cgroup: &str, now: Instant) {
        self.active.remove(id);
        match self.files.read(cgroup) {
            Some(memory) => drop(self.last.insert(id.into(), Reading { at: now, memory })),
            // Gone, or without files: unknown, not what it was.
            None => drop(self.last.remove(id)),
        }
    }
}

fn show(memory: &CgroupMemory, subject: &Subject, samples: &mut Vec<Sample>) {
    let mut push = |metric: &'static Descriptor, label: Option<&'static str>, value| {
        let labels = label.map(Cow::Borrowed).into_iter().collect();
        samples.push(Sample { metric, subject: subject.clone(), labels, value });
    };
    for (metric, part, bytes) in [
        (&USE, None, memory.use_bytes),
        (&PARTS, Some("anonymous"), memory.anonymous_bytes),
        (&PARTS, Some("file"), memory.file_bytes),
        (&WORKING_SET, None, working_set(memory)),
        (&LIMIT, None, memory.limit_bytes),
        (&HIGH, None, memory.high_bytes),
        (&SWAP, None, memory.swap_bytes),
        (&SWAP_LIMIT, None, memory.swap_limit_bytes),
    ] {
        if let Some(bytes) = bytes {
            push(metric, part, Value::Gauge(bytes as f64));
        }
    }
    for (event, count) in cgroup_memory::EVENTS.into_iter().zip(memory.events) {
        if let Some(count) = count {
            push(&EVENTS, Some(event), Value::Counter(count));
        }
    }
    for (kind, time_ns) in ["some", "full"].into_iter().zip(memory.pressure_ns) {
        if let Some(time_ns) = time_ns {
            push(&PRESSURE, Some(kind), Value::Counter(time_ns));
        }
    }
}

/// What could not be taken from it without being missed, as the kubelet has it. The files are not read at one instant.
fn working_set(memory: &CgroupMemory) -> Option<u64> {
    Some(memory.use_bytes?.saturating_sub(memory.inactive_file_bytes?))
}
