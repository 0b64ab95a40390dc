//! Reading the ring of cgroups and processes that come and go.

use aya::maps::{Map, MapData, RingBuf};
use monitor_common::event::{
    CGROUP_PATH_BYTES, CgroupPathEvent, CgroupSlotEvent, EventHeader, EventKind, ProcessEvent,
};

use super::{ProbeError, load::map_error};
use crate::kernel::{
    cgroupfs::{CgroupId, HierarchyId},
    ids::Tgid,
};

/// Something came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A cgroup got its slot.
    CgroupSlot {
        /// Which cgroup.
        cgroup: CgroupId,
        /// Which slot.
        slot: u32,
    },
    /// A cgroup directory was made.
    CgroupMade {
        /// In which hierarchy.
        hierarchy: HierarchyId,
        /// Which cgroup.
        cgroup: CgroupId,
        /// From the root of its hierarchy; `None` if it was too long to carry.
        path: Option<String>,
    },
    /// A cgroup directory was removed.
    CgroupRemoved {
        /// In which hierarchy.
        hierarchy: HierarchyId,
        /// Which cgroup.
        cgroup: CgroupId,
    },
    /// A process was forked.
    Forked {
        /// The child.
        tgid: Tgid,
        /// The parent.
        parent: Tgid,
    },
    /// A process became another program.
    Executed {
        /// Which.
        tgid: Tgid,
    },
    /// A process ended.
    Exited {
        /// Which.
        tgid: Tgid,
    },
}

/// The reading end of the event ring.
pub struct EventReader {
    ring: RingBuf<MapData>,
}

impl EventReader {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        Ok(Self { ring: RingBuf::try_from(map).map_err(map_error)? })
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        while let Some(item) = self.ring.next() {
            match decode(&item) {
                Some(event) => take(event),
                None => tracing::warn!(bytes = item.len(), "an event of unknown form"),
            }
        }
    }
}

/// The head of `bytes` as a record of integers, if it is long enough.
pub(super) fn record<T: Copy>(bytes: &[u8]) -> Option<T> {
    // SAFETY: callers name records of `monitor_common`, for which any bytes are a value; the length is checked.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn decode(bytes: &[u8]) -> Option<Event> {
    let header: EventHeader = record(bytes)?;
    let process = || record::<ProcessEvent>(bytes);
    let path = || record::<CgroupPathEvent>(bytes);
    Some(match header.kind {
        k if k == EventKind::CgroupSlot as u32 => {
            let event: CgroupSlotEvent = record(bytes)?;
            Event::CgroupSlot { cgroup: CgroupId(event.cgroup_id), slot: event.slot }
        }
        k if k == EventKind::CgroupMkdir as u32 => {
            let event = path()?;
            let length = event.path_bytes as usize;
            // A path that fills its room may have been cut.
            let whole = (1..CGROUP_PATH_BYTES - 1).contains(&length);
            let path = whole.then(|| String::from_utf8_lossy(&event.path[..length]).into_owned());
            Event::CgroupMade {
                hierarchy: HierarchyId(event.hierarchy_id),
                cgroup: CgroupId(event.cgroup_id),
                path,
            }
        }
        k if k == EventKind::CgroupRmdir as u32 => {
            let event = path()?;
            Event::CgroupRemoved {
                hierarchy: HierarchyId(event.hierarchy_id),
                cgroup: CgroupId(event.cgroup_id),
            }
        }
        k if k == EventKind::Fork as u32 => {
            let event = process()?;
            Event::Forked { tgid: Tgid(event.tgid), parent: Tgid(event.parent_tgid) }
        }
        k if k == EventKind::Exec as u32 => Event::Executed { tgid: Tgid(process()?.tgid) },
        k if k == EventKind::Exit as u32 => Event::Exited { tgid: Tgid(process()?.tgid) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_unknown_records_are_refused() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0; 15]), None);
        assert_eq!(decode(&[9; 64]), None);
        let mut short_slot = [0; 24];
        short_slot[0] = EventKind::CgroupSlot as u8;
        assert_eq!(decode(&short_slot), None);
    }
}
