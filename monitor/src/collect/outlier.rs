//! The slowest operations of each second of the last minutes.
//!
//! Contract: of each kind the [`OUTLIERS_PER_SECOND`] slowest that ended in a second of `CLOCK_MONOTONIC`, for [`KEPT`]: memory is
//! bounded. Whose each is, is asked when they are: a container's name may come after its first request.

mod kept;
mod path;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kept::{Kept, Seconds};
use monitor_common::{
    block::{BlockOperation, HIERARCHY_NONE},
    files::FileOperation,
    outlier::{OutlierKind, OutlierRecord, ThreadName},
};

use super::block::{Device, Devices};
use crate::{
    container::{Container, ContainerId, Registry},
    kernel::{
        cgroupfs::{CgroupId, HierarchyId},
        ids::{Tgid, Tid},
    },
    metric::{KtimeNs, WallTimeNs},
    probe::{Family, OutlierReader, Probes, SlowNews},
};

/// How long they are kept.
pub const KEPT: Duration = Duration::from_secs(600);

/// One of the slowest operations of its second.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// What it was done to.
    pub kind: OutlierKind,
    /// What was done.
    pub operation: &'static str,
    /// When it ended.
    pub at: WallTimeNs,
    /// How long it took, ns.
    pub latency_ns: u64,
    /// The part of it before its issue to the device, ns; `None` where not known.
    pub queue_ns: Option<u64>,
    /// The part of it in the device, ns; `None` where not known.
    pub service_ns: Option<u64>,
    /// Whose it was.
    pub container: ContainerId,
    /// What its owner is called.
    pub name: String,
    /// The disk, as the label `device` has it, or the device of the file system; `None` where there is none.
    pub device: Option<Arc<str>>,
    /// The first sector of a request that moves bytes, of 512 bytes from the beginning of the disk.
    pub sector: Option<u64>,
    /// The path of a file as its process sees it, `…/` before one without its beginning; `None` where not known.
    pub file: Option<Box<str>>,
    /// The inode of a file; `None` where not known.
    pub inode: Option<u64>,
    /// Bytes that were moved.
    pub bytes: u64,
    /// The kernel stack in which that thread waited for it, innermost first; `None` where it did not wait, or nobody looked.
    pub stack: Option<Arc<[u64]>>,
    /// The thread that made it: its process, itself and its name then; `None` where not known.
    pub thread: Option<(Tgid, Tid, String)>,
}

/// Those of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatestOutliers {
    /// Of how much of the time that was asked for.
    pub span: Duration,
    /// The slowest first.
    pub outliers: Vec<Outlier>,
    /// Kinds that are not looked for, and what to do about it.
    pub missing: Vec<(OutlierKind, &'static str)>,
}

/// Keeps them.
pub(super) struct Outliers {
    reader: OutlierReader,
    began: KtimeNs,
    by_kind: [Seconds; OutlierKind::COUNT],
}

impl Outliers {
    pub fn new(reader: OutlierReader) -> Self {
        Self { reader, began: KtimeNs::now(), by_kind: Default::default() }
    }

    /// Reads those that have come.
    pub fn read(&mut self) {
        // The clocks are compared once a reading, and names looked up as often: a number may be given to another disk.
        let (wall, now) = (WallTimeNs::now(), KtimeNs::now());
        let mut devices = BTreeMap::new();
        let Self { reader, by_kind, .. } = self;
        reader.drain(|news| {
            let (record, rest) = match news {
                SlowNews::Operation(record, rest) => (record, rest),
                SlowNews::Stack { tid, since_ns, until_ns, frames } => {
                    let requests = &mut by_kind[OutlierKind::Block as usize];
                    requests.add_stack(tid, since_ns, until_ns, &frames.into());
                    return;
                }
            };
            let Some(seconds) = by_kind.get_mut(record.kind as usize) else { return };
            if !seconds.is_one(&record) {
                return;
            }
            let device = (record.device != 0).then(|| {
                let name = devices.entry(record.device).or_insert_with(|| name(record.device));
                Arc::clone(name)
            });
            let ago_ns = now.0.saturating_sub(record.ended_ns);
            let at = WallTimeNs(wall.0.saturating_sub(ago_ns));
            let file = path::decode(rest).map(String::into_boxed_str);
            seconds.add(Kept { record, at, device, file, stack: None });
        });
    }

    /// Those that ended in the last `span`.
    pub fn latest(&self, span: Duration, probes: &Probes, registry: &Registry) -> LatestOutliers {
        let now = KtimeNs::now();
        let span = span.min(KEPT).min(now.since(self.began));
        let since_ns = now.0.saturating_sub(span.as_nanos() as u64);
        let kept = OutlierKind::ALL.into_iter().zip(&self.by_kind);
        let kept = kept.flat_map(|(kind, seconds)| seconds.since(since_ns).map(move |k| (kind, k)));
        let mut outliers: Vec<_> = kept.map(|(kind, kept)| outlier(kind, kept, registry)).collect();
        outliers.sort_by_key(|outlier| std::cmp::Reverse(outlier.latency_ns));
        let missing = OutlierKind::ALL.into_iter();
        let missing = missing.filter_map(|kind| Some((kind, why_missing(kind, probes)?))).collect();
        LatestOutliers { span, outliers, missing }
    }
}

/// What to do so that a kind is looked for; `None` if it is.
fn why_missing(kind: OutlierKind, probes: &Probes) -> Option<&'static str> {
    let (family, hook, remedy) = match kind {
        OutlierKind::Block => {
            (Family::Block, "block_complete", "start the daemon without --disable block")
        }
        OutlierKind::File => {
            (Family::Files, "syscall_exit", "start the daemon with --enable files")
        }
    };
    let is_hooked = probes.programs.iter().any(|p| p.name.starts_with(hook) && p.hook.is_some());
    match (probes.has(family), is_hooked) {
        (false, _) => Some(remedy),
        (true, false) => Some("this kernel refused the program; cgscope doctor tells why"),
        (true, true) => None,
    }
}

fn name(device: u32) -> Arc<str> {
    let mut devices = Devices::default();
    devices.refresh([&Device(device)].into_iter());
    devices.name(Device(device)).as_ref().into()
}

fn outlier(kind: OutlierKind, kept: &Kept, registry: &Registry) -> Outlier {
    let Kept { record, at, device, file, stack } = kept;
    let (container, name) = owner(record, registry);
    let between = |from_ns: u64, to_ns: u64| {
        (from_ns != 0 && to_ns != 0).then(|| to_ns.saturating_sub(from_ns))
    };
    let index = record.operation as usize;
    let operation = match kind {
        OutlierKind::Block => BlockOperation::ALL.get(index).map(|o| o.name()),
        OutlierKind::File => FileOperation::NAMES.get(index).copied(),
    };
    let is_file = kind == OutlierKind::File;
    Outlier {
        kind,
        operation: operation.unwrap_or("other"),
        at: *at,
        latency_ns: kept::took_ns(record),
        queue_ns: between(record.began_ns, record.issued_ns),
        service_ns: between(record.issued_ns, record.ended_ns),
        container,
        name,
        device: device.clone(),
        sector: (!is_file && record.bytes > 0).then_some(record.place),
        file: file.clone(),
        stack: stack.clone(),
        inode: (is_file && record.place != 0).then_some(record.place),
        bytes: record.bytes,
        thread: (record.tid != 0)
            .then(|| (Tgid(record.tgid), Tid(record.tid), thread_name(record.thread))),
    }
}

/// Whose it is; who is not known has the name of the cgroup.
fn owner(record: &OutlierRecord, registry: &Registry) -> (ContainerId, String) {
    let known = if record.hierarchy_id == HIERARCHY_NONE || record.cgroup_id == 0 {
        Some(Arc::new(Container::unattributed()))
    } else {
        registry.of_in(HierarchyId(record.hierarchy_id), CgroupId(record.cgroup_id))
    };
    match known {
        Some(container) => (container.id.clone(), container.qualified_name()),
        None => {
            let id = format!("cgroup:{}:{}", record.hierarchy_id, record.cgroup_id);
            (id.as_str().into(), id)
        }
    }
}

fn thread_name(words: ThreadName) -> String {
    let bytes = words.map(u64::to_ne_bytes).concat();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name() {
        let words = |text: &[u8; 16]| {
            [0, 8].map(|at| u64::from_ne_bytes(text[at..at + 8].try_into().unwrap()))
        };
        assert_eq!(thread_name(words(b"direct_io\0garbag")), "direct_io");
        assert_eq!(thread_name(words(b"sixteen_without_")), "sixteen_without_");
    }
}
