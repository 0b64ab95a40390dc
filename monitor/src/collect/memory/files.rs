//! The cgroup files of the containers there are: seven a reading, 60-90 us. [`Readings`] says whose are read when.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::descriptor::{EVENTS, HIGH, LIMIT, PARTS, PRESSURE, SWAP, SWAP_LIMIT, USE, WORKING_SET};
use crate::{
    container::{
        Readings, Registry,
        limits::{Changes, Limit},
        switched_off,
    },
    kernel::{
        cgroup_memory::{self, CgroupMemory, MemoryFiles},
        host::SourceStatus,
    },
    metric::{Descriptor, Sample, Subject, Value},
};

/// Reads them.
pub(super) struct Files {
    files: MemoryFiles,
    readings: Readings<CgroupMemory>,
}

impl Files {
    pub fn new() -> Self {
        Self { files: MemoryFiles::find(), readings: Readings::default() }
    }

    /// Notes that an owner did something with memory.
    pub fn note_active(&mut self, owner: &Arc<str>) {
        self.readings.note_active(owner);
    }

    /// Reads whose turn it is; then shows what was read last.
    pub fn collect(
        &mut self,
        registry: &Registry,
        changes: &mut Changes,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        self.readings.collect(registry, now, |container, before| {
            let memory = self.files.read(&container.cgroup)?;
            if let Some(before) = before {
                changes.compare(container, &limits(&before), &limits(&memory));
            }
            Some(memory)
        });
        for (owner, memory) in self.readings.iter() {
            show(memory, &Subject::Container(Arc::clone(owner)), samples);
        }
    }
}

/// How they are read; `None` when the family is off.
pub(super) fn source(files: Option<&Files>) -> SourceStatus {
    const NAME: &str = "cgroup.memory";
    let missing = |files: &Files| {
        (!files.files.are_there()).then_some("no hierarchy with the memory controller is mounted")
    };
    files.map_or_else(|| switched_off(NAME), |files| files.readings.status(NAME, missing(files)))
}

/// What may be set, and so changed.
fn limits(memory: &CgroupMemory) -> [Limit; 3] {
    [
        (&LIMIT, memory.limit_bytes),
        (&HIGH, memory.high_bytes),
        (&SWAP_LIMIT, memory.swap_limit_bytes),
    ]
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
