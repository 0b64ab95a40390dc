//! All sources of the host.

use std::{path::Path, time::Duration};

use super::{
    SourceStatus,
    disks::Disks,
    interfaces::Interfaces,
    loadavg::Loadavg,
    meminfo::Meminfo,
    pressure::Pressure,
    processes::Processes,
    softirqs::Softirqs,
    source::Source,
    stat::{self, Stat},
    vmstat::Vmstat,
};
use crate::metric::{KtimeNs, Sample};

/// Every tick.
const EACH_TICK: Duration = Duration::ZERO;
/// What changes slowly, or costs more to read.
const SLOW: Duration = Duration::from_secs(1);
/// What costs a millisecond for a few thousand processes.
const SLOWEST: Duration = Duration::from_secs(5);
/// The names of all sources, in the order in which they are read.
pub const SOURCE_NAMES: [&str; 9] = [
    "stat",
    "loadavg",
    "pressure",
    "softirqs",
    "meminfo",
    "vmstat",
    "interfaces",
    "disks",
    "processes",
];

/// Reads the host.
pub struct Host {
    /// In the order of their priority.
    sources: Vec<Source>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// Reads this host; nothing is read before the first [`Self::collect`].
    pub fn new() -> Self {
        Self::at(Path::new("/proc"), stat::clock_ticks_hz())
    }

    pub(super) fn at(proc: &Path, clock_ticks_hz: u64) -> Self {
        let mut sources = vec![
            Source::new("stat", EACH_TICK, 0, Stat::new(proc, clock_ticks_hz)),
            Source::new("loadavg", EACH_TICK, 1, Loadavg::new(proc)),
            Source::new("pressure", SLOW, 2, Pressure::new(proc)),
            Source::new("softirqs", SLOW, 3, Softirqs::new(proc)),
            Source::new("meminfo", SLOW, 4, Meminfo::new(proc)),
            Source::new("vmstat", SLOW, 5, Vmstat::new(proc)),
            Source::new("interfaces", SLOW, 6, Interfaces::new(proc)),
            Source::new("disks", SLOW, 7, Disks::new(proc, "/sys/block".into())),
            Source::new("processes", SLOWEST, 8, Processes::new(proc)),
        ];
        sources.sort_by_key(Source::priority);
        Self { sources }
    }

    /// Reads the sources that are due, and appends what each of all last said. A source that failed, is off or absent says
    /// nothing.
    pub fn collect(&mut self, now: KtimeNs, samples: &mut Vec<Sample>) {
        for source in &mut self.sources {
            source.collect(now, samples);
        }
    }

    /// How each source is, in the order they are read.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.iter().map(Source::status).collect()
    }

    /// Sets the least time between two readings of a source; zero for every tick. False if there is no such source.
    pub fn set_interval(&mut self, name: &str, interval: Duration) -> bool {
        self.find(name).map(|source| source.set_interval(interval)).is_some()
    }

    /// Switches a source on or off. False if there is no such source.
    pub fn enable(&mut self, name: &str, is_enabled: bool) -> bool {
        self.find(name).map(|source| source.enable(is_enabled)).is_some()
    }

    fn find(&mut self, name: &str) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.name() == name)
    }
}
