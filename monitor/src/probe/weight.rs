//! Starting and stopping the recording of events with a weight, and telling the kernel half whose.
//!
//! Contract: nothing is attached, and nothing taken for threads, unless a [`WeightLink`] of the kind is held. Kernel >= 6.1.

use std::{fs, io};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
    programs::{
        BtfTracePoint, PerfEvent, Program, ProgramError, TracePoint,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
        tp_btf::BtfTracePointLink,
        trace_point::TracePointLink,
    },
};
use monitor_common::{
    offcpu::WaitFilter,
    stack::StackSample,
    weight::{LockKey, LockWait, Resident, WeightDraw, WeightKind},
};

use super::{
    MappedArray, ProgramStatus, WaitTarget,
    failure::chain,
    load::{mapped, take},
    offcpu::filter_of,
};
use crate::kernel::{cpus, features::mount_tracefs};

/// What the kernel half has lost of a kind since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightTotals {
    /// Weight that was not sent, in the kind's unit.
    pub lost_weight: u64,
    /// How many events carried it.
    pub lost: u64,
}

/// Attaches the programs of each kind.
pub struct WeightSampler {
    kinds: [Result<Vec<Part>, String>; WeightKind::COUNT],
    filters: MappedArray<WaitFilter>,
    slots: MappedArray<u64>,
    draws: MappedArray<WeightDraw>,
    locks: HashMap<MapData, LockKey, LockWait>,
    resident: HashMap<MapData, u64, Resident>,
    wakings: HashMap<MapData, u32, StackSample>,
}

/// A loaded program and where it goes.
enum Part {
    Typed(BtfTracePoint),
    Fault(PerfEvent, SoftwareEvent),
    Resident(TracePoint),
}

/// Events of a kind are recorded until it is dropped.
pub struct WeightLink {
    links: Vec<Link>,
}

impl Drop for WeightLink {
    /// The last first: what notes a beginning goes before what ends it.
    fn drop(&mut self) {
        while self.links.pop().is_some() {}
    }
}

/// Held for its drop.
#[expect(dead_code, reason = "held for their drop")]
enum Link {
    Typed(BtfTracePointLink),
    Fault(PerfEventLink),
    Resident(TracePointLink),
}

/// The programs of a kind, by the beginning of their names, in the order in which they are attached: of what has a beginning and an end
/// the beginning is seen last, so that no end is without one.
fn programs_of(kind: WeightKind) -> &'static [&'static str] {
    match kind {
        WeightKind::Block => &["weight_block"],
        WeightKind::Fault => &["weight_fault_minor", "weight_fault_major"],
        WeightKind::Memory => &["weight_resident"],
        WeightKind::Lock => &["weight_lock_end", "weight_lock_begin"],
        WeightKind::Network => &["weight_send"],
        WeightKind::Wakeup => &["wakeup_woken", "wakeup_waking"],
    }
}

impl WeightSampler {
    /// From the loaded object. `unsafe_why` says why this kernel cannot have it, if it cannot.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        statuses: &[ProgramStatus],
        unsafe_why: Option<&str>,
        size: impl Fn(&str) -> u32,
    ) -> Result<Self, super::ProbeError> {
        let kinds = WeightKind::ALL.map(|kind| match unsafe_why {
            Some(why) => Err(why.to_owned()),
            None => programs_of(kind).iter().map(|name| part(ebpf, statuses, name)).collect(),
        });
        let locks = take(ebpf, "LOCK_WAITS")?;
        let resident = take(ebpf, "RESIDENT")?;
        let wakings = take(ebpf, "WAKINGS")?;
        Ok(Self {
            kinds,
            filters: mapped(ebpf, "WEIGHT_FILTERS", WeightKind::COUNT as u32)?,
            slots: mapped(ebpf, "WEIGHT_SLOTS", size("WEIGHT_SLOTS"))?,
            draws: mapped(ebpf, "WEIGHT_DRAWS", size("WEIGHT_DRAWS"))?,
            locks: HashMap::try_from(locks).map_err(super::load::map_error)?,
            resident: HashMap::try_from(resident).map_err(super::load::map_error)?,
            wakings: HashMap::try_from(wakings).map_err(super::load::map_error)?,
        })
    }

    /// Why a kind cannot be recorded, if it cannot.
    pub fn missing(&self, kind: WeightKind) -> Option<&str> {
        self.kinds[kind as usize].as_ref().err().map(String::as_str)
    }

    /// Records a kind from now on.
    pub fn attach(&mut self, kind: WeightKind) -> io::Result<WeightLink> {
        self.forget(kind);
        let Ok(parts) = &mut self.kinds[kind as usize] else {
            return Err(io::Error::other("its programs are not loaded"));
        };
        let mut links = Vec::new();
        for part in parts {
            part.attach(&mut links)?;
        }
        Ok(WeightLink { links })
    }

    /// Says whose events of a kind are wanted; what is said holds at once.
    pub fn want<'a>(
        &self,
        kind: WeightKind,
        targets: impl Iterator<Item = &'a WaitTarget>,
    ) -> io::Result<()> {
        self.filters.write(kind as usize, filter_of(targets)?);
        Ok(())
    }

    /// Refuses events of a kind from the slots for which `is_refused` is true, and no others.
    pub fn refuse(&self, kind: WeightKind, is_refused: impl Fn(u32) -> bool) {
        let bit = 1 << kind as u32;
        for slot in 0..self.slots.len() {
            let word = self.slots.read(slot);
            let wanted = if is_refused(slot as u32) { word | bit } else { word & !bit };
            if wanted != word {
                self.slots.write(slot, wanted);
            }
        }
    }

    /// Gives back what is kept of threads and processes for a kind: for when nothing is attached.
    pub fn forget(&mut self, kind: WeightKind) {
        // What is not there any more is as we want it.
        match kind {
            WeightKind::Lock => {
                let keys: Vec<_> = self.locks.keys().flatten().collect();
                keys.iter().for_each(|key| drop(self.locks.remove(key)));
            }
            WeightKind::Memory => {
                let keys: Vec<_> = self.resident.keys().flatten().collect();
                keys.iter().for_each(|key| drop(self.resident.remove(key)));
            }
            WeightKind::Wakeup => {
                let keys: Vec<_> = self.wakings.keys().flatten().collect();
                keys.iter().for_each(|key| drop(self.wakings.remove(key)));
            }
            WeightKind::Block | WeightKind::Fault | WeightKind::Network => {}
        }
    }

    /// Totals of a kind on all CPUs.
    pub fn totals(&self, kind: WeightKind) -> WeightTotals {
        let cpus = self.draws.len() / WeightKind::COUNT;
        let first = kind as usize * cpus;
        let draws = (first..first + cpus).map(|place| self.draws.read(place));
        draws.fold(WeightTotals::default(), |sum, draw| WeightTotals {
            lost_weight: sum.lost_weight + draw.lost_weight,
            lost: sum.lost + draw.lost,
        })
    }
}

impl Part {
    fn attach(&mut self, links: &mut Vec<Link>) -> io::Result<()> {
        let refused = |error: ProgramError| io::Error::other(chain(&error));
        match self {
            Self::Typed(program) => {
                let link = program.attach().and_then(|id| program.take_link(id));
                links.push(Link::Typed(link.map_err(refused)?));
            }
            Self::Fault(program, event) => {
                for cpu in cpus::online()? {
                    let scope = PerfEventScope::AllProcessesOneCpu { cpu };
                    let config = PerfEventConfig::Software(*event);
                    let link = program
                        .attach(config, scope, SamplePolicy::Period(1), false)
                        .and_then(|id| program.take_link(id));
                    links.push(Link::Fault(link.map_err(refused)?));
                }
            }
            Self::Resident(program) => {
                mount_tracefs().map_err(io::Error::other)?;
                check_format()?;
                let link = program.attach("kmem", "rss_stat").and_then(|id| program.take_link(id));
                links.push(Link::Resident(link.map_err(refused)?));
            }
        }
        Ok(())
    }
}

fn part(ebpf: &mut Ebpf, statuses: &[ProgramStatus], name: &str) -> Result<Part, String> {
    let is_it = |status: &&ProgramStatus| {
        status.hook.is_some() && status.name.trim_end_matches("_plain") == name
    };
    let missing = || format!("the program {name} is not loaded; `cgscope doctor` says why");
    let name = statuses.iter().find(is_it).ok_or_else(missing)?.name;
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    let text = |error: ProgramError| chain(&error);
    match program {
        Program::BtfTracePoint(program) => {
            let info = program.info().map_err(text)?;
            // SAFETY: it was loaded from our object as what it is taken for.
            unsafe { BtfTracePoint::from_program_info(info, name.into()) }
                .map(Part::Typed)
                .map_err(text)
        }
        Program::PerfEvent(program) => {
            let event = if name.starts_with("weight_fault_major") {
                SoftwareEvent::PageFaultsMaj
            } else {
                SoftwareEvent::PageFaultsMin
            };
            let info = program.info().map_err(text)?;
            let program = PerfEvent::from_program_info(info, name.into()).map_err(text)?;
            Ok(Part::Fault(program, event))
        }
        Program::TracePoint(program) => {
            let info = program.info().map_err(text)?;
            TracePoint::from_program_info(info, name.into()).map(Part::Resident).map_err(text)
        }
        _ => Err(missing()),
    }
}

/// That the fields of the event are where the program reads them.
fn check_format() -> io::Result<()> {
    const PATH: &str = "/sys/kernel/tracing/events/kmem/rss_stat/format";
    let format = fs::read_to_string(PATH)?;
    let is_there = |field: &&str| format.contains(*field);
    let fields =
        ["mm_id;\toffset:8;", "curr;\toffset:12;", "member;\toffset:16;", "size;\toffset:24;"];
    if fields.iter().all(is_there) {
        Ok(())
    } else {
        Err(io::Error::other(
            "the fields of the kernel's kmem:rss_stat are not where they are known",
        ))
    }
}
