//! What the kernel half costs: time and calls of each program, memory of each map.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use aya::{Ebpf, maps::Map, sys::Stats};

use super::Probes;

/// What a program has cost since run-time statistics were switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramCost {
    /// Its name in the object.
    pub name: String,
    /// Calls that were timed.
    pub calls: u64,
    /// Time in them, ns, with the two clock reads of the measurement.
    pub run_time_ns: u64,
    /// Calls refused because the program was already running on that CPU: each is a lost event.
    pub recursion_misses: u64,
}

/// The memory of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapStatus {
    /// Its name in the object.
    pub name: String,
    /// What the kernel charges for it.
    pub bytes: u64,
}

/// Switches the kernel's run-time statistics of eBPF programs on for as long as the descriptor is held (kernel >= 5.8). They
/// cost two clock reads a call, so they are held only while someone asks.
pub fn measure() -> io::Result<OwnedFd> {
    aya::sys::enable_stats(Stats::RunTime).map_err(|error| error.io_error)
}

impl Probes {
    /// Time and calls of each program that is loaded.
    pub fn costs(&self) -> Vec<ProgramCost> {
        let programs = self.object().programs();
        let loaded = programs.filter_map(|(name, program)| Some((name, program.fd().ok()?)));
        loaded.filter_map(|(name, fd)| cost(name, fd.as_fd()).ok()).collect()
    }

    /// Whether run-time statistics were on at any time since the programs were loaded, by the one that never rests: asking all 50
    /// programs was a tenth of the samples of a tick with 100 busy containers.
    pub(super) fn were_timed(&self) -> bool {
        let mut programs = self.object().programs();
        let busiest = programs.find_map(|(name, program)| {
            let fd = program.fd().ok().filter(|_| name.starts_with("sched_switch"))?;
            cost(name, fd.as_fd()).ok()
        });
        busiest.is_none_or(|cost| cost.calls > 0)
    }
}

fn cost(name: &str, program: BorrowedFd<'_>) -> io::Result<ProgramCost> {
    let info = fdinfo(program)?;
    Ok(ProgramCost {
        name: name.to_owned(),
        calls: field(&info, "run_cnt").unwrap_or(0),
        run_time_ns: field(&info, "run_time_ns").unwrap_or(0),
        recursion_misses: field(&info, "recursion_misses").unwrap_or(0),
    })
}

/// Memory of each map of the object. None of ours grows but that of waits during a recording, so once is enough.
pub(super) fn maps(ebpf: &Ebpf) -> Vec<MapStatus> {
    let data = ebpf.maps().filter_map(|(name, map)| match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::Stack(data) => Some((name, data)),
        _ => None,
    });
    let bytes = |fd| field(&fdinfo(fd).ok()?, "memlock");
    data.filter_map(|(name, data)| {
        Some(MapStatus { name: name.to_owned(), bytes: bytes(data.fd().as_fd())? })
    })
    .collect()
}

fn fdinfo(fd: BorrowedFd<'_>) -> io::Result<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
}

fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_words() {
        let info = "run_time_ns:\t12\nrun_cnt:\t3\n";
        assert_eq!(field(info, "run_cnt"), Some(3));
        assert_eq!(field(info, "run"), None);
    }
}
