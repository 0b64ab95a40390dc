//! Starting and stopping the recording of waits, and telling the kernel half whose.
//!
//! Contract: nothing is attached, and nothing taken for threads, unless a [`WaitLink`] is held. Kernel >= 6.1.

use std::io;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
    programs::{BtfTracePoint, Iter, Program, tp_btf::BtfTracePointLink},
};
use monitor_common::offcpu::{MAX_PROCESSES, SLOT_REFUSED, Wait, WaitDraw, WaitFilter};

use super::{
    MappedArray, ProgramStatus,
    failure::chain,
    load::{mapped, take},
    program::iterate,
};
use crate::kernel::{btf::Btf, ids::Tgid};

/// Why kernels without [`is_safe`] cannot record waits.
pub(super) const UNSAFE: &str = "recording waits and events with a weight needs Linux 6.1, where maps may grow inside the scheduler";

/// Whether an entry can be added to a map inside the scheduler without a reserve of its own: since 6.1 maps have an allocator for that.
pub(super) fn is_safe(types: &Btf) -> bool {
    types.member_bits("bpf_mem_alloc", &["cache"]).is_ok()
}

/// Whose waits are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Everybody's.
    All,
    /// Those of the cgroups that are not refused by [`WaitSampler::refuse`].
    Slots,
    /// Those of one process.
    Process(Tgid),
}

/// What the kernel half has lost of waits since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitTotals {
    /// Weight that found no room in the ring, ns.
    pub lost_ns: u64,
    /// How many waits carried it.
    pub lost: u64,
    /// Waits of threads that found no room in the table.
    pub untracked: u64,
    /// Waits whose end was not seen.
    pub endless: u64,
}

/// Attaches the program that walks and draws waits.
pub struct WaitSampler {
    switch: BtfTracePoint,
    begin: Iter,
    end: Iter,
    filter: MappedArray<WaitFilter>,
    slots: MappedArray<u64>,
    draws: MappedArray<WaitDraw>,
    waits: HashMap<MapData, u32, Wait>,
}

/// Waits are followed until it is dropped.
pub struct WaitLink {
    /// Held for its drop.
    _link: BtfTracePointLink,
}

impl WaitSampler {
    /// From the loaded object; an error says which part the kernel refused.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        statuses: &[ProgramStatus],
        size: impl Fn(&str) -> u32,
    ) -> Result<Self, String> {
        let is_switch =
            |s: &&ProgramStatus| s.name.starts_with("offcpu_switch") && s.hook.is_some();
        let switch = statuses.iter().find(is_switch).ok_or_else(|| missing("offcpu_switch"))?.name;
        let iterator = |ebpf: &mut Ebpf, name: &'static str| {
            let program: &mut Iter =
                ebpf.program_mut(name)?.try_into().inspect_err(|e| log(name, e)).ok()?;
            Iter::from_program_info(program.info().ok()?, name.into()).ok()
        };
        let begin = iterator(ebpf, "offcpu_begin").ok_or_else(|| missing("offcpu_begin"))?;
        let end = iterator(ebpf, "offcpu_end").ok_or_else(|| missing("offcpu_end"))?;
        let typed = ebpf.program_mut(switch).and_then(|program| match program {
            Program::BtfTracePoint(program) => program.info().ok(),
            _ => None,
        });
        let info = typed.ok_or_else(|| missing(switch))?;
        // SAFETY: it was loaded from our object as what it is taken for.
        let switch = unsafe { BtfTracePoint::from_program_info(info, switch.into()) }
            .map_err(|error| chain(&error))?;
        let text = |error: super::ProbeError| error.to_string();
        let map = take(ebpf, "WAITS").map_err(text)?;
        Ok(Self {
            switch,
            begin,
            end,
            filter: mapped(ebpf, "WAIT_FILTER", 1).map_err(text)?,
            slots: mapped(ebpf, "WAIT_SLOTS", size("WAIT_SLOTS")).map_err(text)?,
            draws: mapped(ebpf, "WAIT_DRAWS", size("WAIT_DRAWS")).map_err(text)?,
            waits: HashMap::try_from(map).map_err(|error| chain(&error))?,
        })
    }

    /// Follows waits from now on.
    pub fn attach(&mut self) -> io::Result<WaitLink> {
        self.forget();
        let link = self.switch.attach().and_then(|id| self.switch.take_link(id));
        Ok(WaitLink { _link: link.map_err(|error| io::Error::other(chain(&error)))? })
    }

    /// Says whose waits are wanted; what is said holds at once. Processes beyond as many as the kernel half compares are an error.
    pub fn want<'a>(&self, targets: impl Iterator<Item = &'a WaitTarget>) -> io::Result<()> {
        self.filter.write(0, filter_of(targets)?);
        Ok(())
    }

    /// Refuses the slots for which `is_refused` is true, and no others.
    pub fn refuse(&self, is_refused: impl Fn(u32) -> bool) {
        for slot in 0..self.slots.len() {
            let word = if is_refused(slot as u32) { SLOT_REFUSED } else { 0 };
            if self.slots.read(slot) != word {
                self.slots.write(slot, word);
            }
        }
    }

    /// Takes note of who waits already.
    pub fn begin(&mut self) -> io::Result<()> {
        iterate(&mut self.begin).map_err(io::Error::other)
    }

    /// Has those sent who wait still.
    pub fn end(&mut self) -> io::Result<()> {
        iterate(&mut self.end).map_err(io::Error::other)
    }

    /// Gives back what is kept of threads: for when nothing is attached.
    pub fn forget(&mut self) {
        let threads: Vec<_> = self.waits.keys().flatten().collect();
        for tid in threads {
            // Not there any more is what we want.
            let _ = self.waits.remove(&tid);
        }
    }

    /// Totals of all CPUs.
    pub fn totals(&self) -> WaitTotals {
        let draws = (0..self.draws.len()).map(|cpu| self.draws.read(cpu));
        draws.fold(WaitTotals::default(), |sum, draw| WaitTotals {
            lost_ns: sum.lost_ns + draw.lost_ns,
            lost: sum.lost + draw.lost,
            untracked: sum.untracked + draw.untracked,
            endless: sum.endless + draw.endless,
        })
    }
}

/// What the kernel half is told of targets. Processes beyond as many as it compares are an error.
pub(super) fn filter_of<'a>(
    targets: impl Iterator<Item = &'a WaitTarget>,
) -> io::Result<WaitFilter> {
    let mut filter = WaitFilter::default();
    let mut processes = 0;
    for target in targets {
        match target {
            WaitTarget::All => filter.all = 1,
            WaitTarget::Slots => filter.by_slot = 1,
            WaitTarget::Process(tgid) if !filter.processes.contains(&tgid.0) => {
                let place = filter.processes.get_mut(processes).ok_or_else(|| {
                    io::Error::other(format!("{MAX_PROCESSES} processes are recorded already"))
                })?;
                *place = tgid.0;
                processes += 1;
            }
            WaitTarget::Process(_) => {}
        }
    }
    Ok(filter)
}

fn missing(program: &str) -> String {
    format!("the program {program} is not loaded; `cgscope doctor` says why")
}

fn log(program: &str, error: &aya::programs::ProgramError) {
    tracing::warn!(program, error = chain(error), "is not what it should be");
}
