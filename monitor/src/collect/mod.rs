//! Raw map values to samples: one file per family of the kernel half, with the same name.
//!
//! Contract: the collector owns what it reads; totals are kept per container here, so a recycled slot or a dead
//! cgroup never takes its time with it. Reading grows with the slots that were active, not with all.

mod block;
mod cgroup;
mod files;
mod interference;
mod irq;
mod memory;
mod offcpu;
mod outlier;
mod process;
mod profile;
mod sched;
mod syscall;
mod tcp;
mod wakeup;
mod weight;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_common::sched::{SLOT_KERNEL, SLOT_UNATTRIBUTED, SLOT_WATCH_FIRST, WATCH_SLOTS};

pub use offcpu::WaitWindow;
pub use outlier::{LatestOutliers, Outlier};
pub use profile::attribute;
pub use wakeup::attribute_woken;
pub use weight::attribute_weighed;

use crate::{
    container::{
        Container, Registry,
        limits::{self, Change, Changes, Limits},
    },
    kernel::{cgroup_limits::CpuUse, host::SourceStatus},
    metric::{Descriptor, KtimeNs, Sample},
    probe::{Event, EventReader, Family, OutlierReader, Probes},
};

/// Every metric that is collected from the kernel half.
pub static DESCRIPTORS: &[&[&Descriptor]] = &[
    sched::DESCRIPTORS,
    interference::DESCRIPTORS,
    process::DESCRIPTORS,
    block::DESCRIPTORS,
    tcp::DESCRIPTORS,
    memory::DESCRIPTORS,
    syscall::DESCRIPTORS,
    files::DESCRIPTORS,
    irq::DESCRIPTORS,
    limits::DESCRIPTORS,
];

/// A slot and whom its numbers belong to.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    /// The slot.
    pub slot: u32,
    /// The id of the container.
    pub owner: Arc<str>,
}

/// Reads the kernel half.
pub struct Collector {
    probes: Probes,
    events: EventReader,
    registry: Arc<Registry>,
    cgroups: cgroup::Cgroups,
    sched: sched::Sched,
    interference: interference::Interference,
    process: process::Process,
    block: block::Block,
    tcp: tcp::Tcp,
    memory: memory::Memory,
    syscall: syscall::Syscall,
    files: files::Files,
    irq: irq::Irq,
    /// `None` when the family is off.
    limits: Option<Limits>,
    /// Of limits, those of memory included.
    changes: Changes,
    outliers: outlier::Outliers,
    watches: [Option<Arc<str>>; WATCH_SLOTS as usize],
    /// Whose each watch was last.
    watched_last: [Option<Arc<str>>; WATCH_SLOTS as usize],
}

impl Collector {
    /// Takes over the kernel half.
    pub fn new(
        probes: Probes,
        events: EventReader,
        outliers: OutlierReader,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            cgroups: cgroup::Cgroups::default(),
            sched: sched::Sched::new(&probes),
            interference: interference::Interference::new(),
            process: process::Process::new(&probes),
            block: block::Block::new(&probes, &registry),
            tcp: tcp::Tcp::new(&probes),
            memory: memory::Memory::new(&probes),
            syscall: syscall::Syscall::new(&probes),
            files: files::Files::new(&probes),
            irq: irq::Irq::new(&probes),
            limits: probes.has(Family::Limits).then(Limits::default),
            changes: Changes::default(),
            outliers: outlier::Outliers::new(outliers),
            watches: Default::default(),
            watched_last: Default::default(),
            probes,
            events,
            registry,
        }
    }

    /// The kernel half.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Limits that were changed, the newest first.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.latest()
    }

    /// The slowest operations of each second of the last `span`.
    pub fn outliers(&self, span: Duration) -> LatestOutliers {
        self.outliers.latest(span, &self.probes, &self.registry)
    }

    /// CPU time of the owners whose files were read since an instant, by the kernel's own account.
    pub fn cpu_since(&self, since: KtimeNs) -> Vec<(Arc<str>, CpuUse)> {
        let limits = self.limits.iter();
        let all = limits.flat_map(|limits| limits.cpu_since(since));
        all.map(|(owner, cpu)| (Arc::clone(owner), cpu)).collect()
    }

    /// How the files of cgroups are read.
    pub fn sources(&self) -> Vec<SourceStatus> {
        vec![limits::source(self.limits.as_ref()), self.memory.source()]
    }

    /// Reads the events and the slow operations that have come, and hands on what is about processes.
    pub fn read_events(&mut self, mut on_process: impl FnMut(&Event)) {
        self.outliers.read();
        let Self { probes, events, registry, cgroups, block, .. } = self;
        let identity = registry.tree().hierarchy_id;
        events.drain(|event| match &event {
            Event::CgroupSlot { cgroup, slot } => probes.slots.learn(*slot, *cgroup),
            Event::CgroupMade { hierarchy, cgroup, path } if *hierarchy != identity => {
                block.made(*hierarchy, *cgroup, path.as_deref(), registry);
            }
            Event::CgroupMade { cgroup, path, .. } => {
                cgroups.made(*cgroup, path.as_deref(), registry);
            }
            Event::CgroupRemoved { hierarchy, cgroup } => {
                block.removed(*hierarchy, *cgroup, Instant::now());
                if *hierarchy == identity {
                    cgroups.removed(*cgroup, registry, Instant::now());
                } else {
                    registry.died_in(*hierarchy, *cgroup);
                }
            }
            Event::Forked { .. } | Event::Executed { .. } | Event::Exited { .. } => {
                on_process(&event);
            }
        });
    }

    /// Measures everything once.
    pub fn collect(&mut self) -> (KtimeNs, Vec<Sample>) {
        self.cgroups.catch_up(&mut self.probes, &self.registry);
        let owned = self.owned();
        self.probes.settle();
        let taken = KtimeNs::now();
        let mut samples = Vec::new();
        if self.probes.is_whole(Family::Sched) {
            let limits = &mut self.limits;
            self.sched.collect(&self.probes, &owned, taken, &mut samples, |owner| {
                if let Some(limits) = &mut *limits {
                    limits.note_active(owner);
                }
            });
        }
        // At once: what a container's cgroup says of its CPU time is held against what was just read.
        let Self { registry, changes, .. } = self;
        if let Some(limits) = &mut self.limits {
            limits.collect(registry, changes, &mut samples);
        }
        if self.probes.is_whole(Family::Sched) {
            self.interference.collect(&self.probes, &owned, &mut samples);
        }
        if self.probes.is_whole(Family::Process) {
            self.process.collect(&self.probes, &owned, &mut samples);
        }
        self.block.collect(&mut self.probes, &self.registry, &mut samples);
        self.tcp.collect(&self.probes, &owned, &mut samples);
        let Self { probes, registry, changes, .. } = self;
        self.memory.collect(probes, registry, changes, &owned, &mut samples);
        self.syscall.collect(&self.probes, &owned, &mut samples);
        self.files.collect(&self.probes, &self.registry, &owned, &mut samples);
        self.irq.collect(&self.probes, &owned, &mut samples);
        self.recycle();
        (taken, samples)
    }

    /// Counts the time of a process's threads a second time, under an id of its own, until [`Self::unwatch`]. `None` when all
    /// watches are taken.
    pub fn watch(&mut self, tgid: crate::kernel::ids::Tgid) -> Option<Arc<str>> {
        let id: Arc<str> = format!("process:{tgid}").into();
        if self.watches.iter().flatten().any(|watched| *watched == id) {
            return Some(id);
        }
        let free = self.free_watch(&id)?;
        self.sched.set_watch(&self.probes, tgid, SLOT_WATCH_FIRST + free as u32);
        self.watches[free] = Some(Arc::clone(&id));
        self.watched_last[free] = Some(Arc::clone(&id));
        Some(id)
    }

    /// A watch nobody has, ready for `id`. A thread counts in a slot until its next event: before that the slot cannot be
    /// zeroed, or its leaving would be counted without its coming. The same process can go on there.
    fn free_watch(&mut self, id: &Arc<str>) -> Option<usize> {
        let is_free = |i: &usize| self.watches[*i].is_none();
        let slot = |i: usize| SLOT_WATCH_FIRST + i as u32;
        let mut all = 0..self.watches.len();
        if let Some(same) = all.find(|i| is_free(i) && self.watched_last[*i].as_ref() == Some(id)) {
            self.sched.resume(&self.probes, slot(same));
            return Some(same);
        }
        let lingering = self.sched.watching(&self.probes);
        let mut all = 0..self.watches.len();
        let empty = all.find(|i| is_free(i) && !lingering.contains(&slot(*i)))?;
        self.sched.forget(&self.probes, slot(empty));
        self.process.forget(&self.probes, slot(empty));
        Some(empty)
    }

    /// Looks for threads of the watched processes that were born since.
    pub fn renew_watches(&mut self) {
        for (i, watched) in self.watches.iter().enumerate() {
            let tgid = watched.as_ref().and_then(|id| id.strip_prefix("process:")?.parse().ok());
            if let Some(tgid) = tgid {
                let tgid = crate::kernel::ids::Tgid(tgid);
                self.sched.set_watch(&self.probes, tgid, SLOT_WATCH_FIRST + i as u32);
            }
        }
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, id: &str) {
        let Some(i) = self.watches.iter().position(|w| w.as_deref() == Some(id)) else { return };
        let slot = SLOT_WATCH_FIRST + i as u32;
        self.sched.clear_watch(&self.probes, slot);
        self.watches[i] = None;
    }

    /// Every slot in use and whom it belongs to.
    fn owned(&self) -> Vec<Owned> {
        let pseudo =
            [(SLOT_UNATTRIBUTED, Container::unattributed()), (SLOT_KERNEL, Container::kernel())];
        let mut owned: Vec<Owned> = pseudo
            .into_iter()
            .map(|(slot, container)| Owned { slot, owner: container.id.as_str().into() })
            .collect();
        for (i, watched) in self.watches.iter().enumerate() {
            if let Some(id) = watched {
                owned.push(Owned { slot: SLOT_WATCH_FIRST + i as u32, owner: Arc::clone(id) });
            }
        }
        owned.extend(self.probes.slots.iter().map(|(slot, cgroup)| Owned {
            slot,
            owner: match self.registry.of(cgroup) {
                Some(container) => container.id.as_str().into(),
                None => format!("cgroup:{cgroup}").into(),
            },
        }));
        owned
    }

    /// Gives back the slots of cgroups that are gone and were just read for the last time.
    fn recycle(&mut self) {
        for slot in self.cgroups.take_finished(&self.probes.slots, Instant::now()) {
            self.probes.slots.forget(slot);
            self.sched.forget(&self.probes, slot);
            self.interference.forget(&self.probes, slot);
            self.process.forget(&self.probes, slot);
            self.tcp.forget(&mut self.probes, slot);
            self.memory.forget(&mut self.probes, slot);
            self.syscall.forget(&self.probes, slot);
            self.files.forget(&mut self.probes, slot);
            self.irq.forget(&self.probes, slot);
            self.probes.slots.give_back(slot);
        }
    }
}
