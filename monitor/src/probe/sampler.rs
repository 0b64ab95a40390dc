//! Starting and stopping the sampler: the CPU clock of each CPU, at a fixed period.
//!
//! Contract: the period is fixed, not steered by the kernel, so a sample stands for exactly its period, and the period in a
//! sample tells recordings of different frequency apart.

use std::{io, time::Duration};

use aya::Ebpf;
use aya::programs::{
    PerfEvent, ProgramError,
    perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
};

use super::{ProgramStatus, failure::chain};
use crate::kernel::cpus;

/// Attaches the sampling program to the clocks.
pub struct Sampler {
    program: PerfEvent,
}

/// A running recording: sampling at its period ends when it is dropped.
pub struct SamplerLink {
    /// Held for their drop: each detaches from one CPU.
    _links: Vec<PerfEventLink>,
    /// What each of its samples stands for, ns.
    pub period_ns: u64,
    /// CPUs that are sampled.
    pub cpus: usize,
}

/// The period of a frequency, ns.
pub fn period_ns(frequency_hz: u32) -> u64 {
    Duration::from_secs(1).as_nanos() as u64 / u64::from(frequency_hz.max(1))
}

impl Sampler {
    /// From the loaded object; `None` if the program is not loaded.
    pub(super) fn new(ebpf: &mut Ebpf, statuses: &[ProgramStatus]) -> Option<Self> {
        let is_sampler = |status: &&ProgramStatus| status.name.starts_with("profile_sample");
        let name = statuses.iter().filter(is_sampler).find(|s| s.hook.is_some())?.name;
        let program: &mut PerfEvent = ebpf.program_mut(name)?.try_into().ok()?;
        let info = program.info().ok()?;
        let program = PerfEvent::from_program_info(info, name.into()).ok()?;
        Some(Self { program })
    }

    /// Samples every online CPU `frequency_hz` times a second. A CPU that cannot be sampled is an error: half a host would be a
    /// wrong picture.
    pub fn attach(&mut self, frequency_hz: u32) -> io::Result<SamplerLink> {
        let period_ns = period_ns(frequency_hz);
        let mut links = Vec::new();
        let online = cpus::online()?;
        for &cpu in &online {
            let link = self.attach_to(cpu, period_ns).map_err(|error| {
                io::Error::other(format!("sampling CPU {cpu}: {}", chain(&error)))
            })?;
            links.push(link);
        }
        Ok(SamplerLink { _links: links, period_ns, cpus: online.len() })
    }

    fn attach_to(&mut self, cpu: u32, period_ns: u64) -> Result<PerfEventLink, ProgramError> {
        let id = self.program.attach(
            PerfEventConfig::Software(SoftwareEvent::CpuClock),
            PerfEventScope::AllProcessesOneCpu { cpu },
            SamplePolicy::Period(period_ns),
            false,
        )?;
        self.program.take_link(id)
    }
}
