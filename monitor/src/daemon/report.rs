//! What the engine says of its own programs, maps and losses.
//!
//! Contract: the kernel's run-time statistics cost two clock reads a call, so they are on only for [`MEASURED_FOR`] after
//! someone asked; figures are of all calls measured so far, and `None` before the first.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{
    kernel::memory,
    probe::{self, Probes, own},
    serve::report::{DropReport, MapReport, MemoryReport, ProbesReport, ProgramReport},
};

/// How long statistics stay on after they were asked for.
const MEASURED_FOR: Duration = Duration::from_secs(30);

/// When someone last asked.
#[derive(Default)]
pub(super) struct Costs {
    measuring: Option<(OwnedFd, Instant)>,
}

impl Costs {
    /// The report, and statistics switched on for the next one.
    pub fn report(&mut self, probes: &Probes) -> ProbesReport {
        match &mut self.measuring {
            Some((_, asked)) => *asked = Instant::now(),
            // Without them the report lacks the costs, which it says.
            None => self.measuring = probe::measure().ok().map(|fd| (fd, Instant::now())),
        }
        report(probes)
    }

    /// Switches statistics off when nobody has asked for a while.
    pub fn rest(&mut self) {
        self.measuring.take_if(|(_, asked)| asked.elapsed() > MEASURED_FOR);
    }
}

fn report(probes: &Probes) -> ProbesReport {
    let costs: HashMap<String, _> =
        probes.costs().into_iter().map(|c| (c.name.clone(), c)).collect();
    let programs = probes.programs.iter().map(|program| {
        let cost = costs.get(program.name);
        let measured = cost.filter(|cost| cost.calls > 0);
        ProgramReport {
            name: program.name.to_owned(),
            family: program.family.name().to_owned(),
            attached: program.hook.map(|(kind, _)| kind.to_owned()),
            error: (!program.refusals.is_empty()).then(|| program.refusals.join("; ")),
            calls: measured.map(|cost| cost.calls),
            ns_per_call: measured.map(|cost| cost.run_time_ns as f64 / cost.calls as f64),
            recursion_misses: cost.map(|cost| cost.recursion_misses),
        }
    });
    let drops = own::dropped(probes).into_iter().map(|(reason, count)| DropReport {
        reason: reason.name().to_owned(),
        count,
        remedy: reason.remedy().to_owned(),
    });
    let maps = probes.maps.iter();
    ProbesReport {
        programs: programs.collect(),
        drops: drops.collect(),
        maps: maps.map(|m| MapReport { name: m.name.clone(), bytes: Some(m.bytes) }).collect(),
        memory: MemoryReport {
            rss_bytes: memory::resident().map(|resident| resident.bytes),
            maps_bytes: Some(own::maps_bytes(probes)),
        },
        unwind: None,
        cpu_seconds: own::cpu_ns().map(|ns| ns as f64 * 1e-9),
    }
}
