//! The kernel's account of loaded eBPF programs and maps: who owns them, what they cost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::run_checked;

const STATS_SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A loaded program. Counters stand still unless a [`StatsGuard`] lives.
#[derive(Debug, Clone, Deserialize)]
pub struct Program {
    /// The kernel's id.
    pub id: u32,
    /// Its function's name.
    #[serde(default)]
    pub name: String,
    /// Time spent in it.
    #[serde(default)]
    pub run_time_ns: u64,
    /// How often it ran.
    #[serde(default)]
    pub run_cnt: u64,
    /// Memory of its code.
    #[serde(default)]
    pub bytes_memlock: u64,
    /// The maps it uses.
    #[serde(default)]
    pub map_ids: Vec<u32>,
}

impl Program {
    /// Whether it is called `name`; some tools show the first 15 bytes only.
    pub fn is_named(&self, name: &str) -> bool {
        const KERNEL_NAME_BYTES: usize = 15;
        self.name == name || self.name == name[..name.len().min(KERNEL_NAME_BYTES)]
    }
}

/// A map in the kernel.
#[derive(Debug, Clone, Deserialize)]
pub struct Map {
    /// The kernel's id.
    pub id: u32,
    /// Its name, up to 15 bytes.
    #[serde(default)]
    pub name: String,
    /// Its kind: `array`, `percpu_hash`, `ringbuf`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Memory it takes.
    #[serde(default)]
    pub bytes_memlock: u64,
}

/// The programs that process `pid` holds, by a descriptor of the program or of a link to it.
///
/// # Errors
/// When the process is gone or bpftool fails.
pub fn programs_of(pid: u32) -> Result<Vec<Program>> {
    let ids = owned_program_ids(pid)?;
    let mut programs: Vec<Program> = bpftool_list("prog")?;
    programs.retain(|program| ids.contains(&program.id));
    Ok(programs)
}

/// The maps that process `pid` holds, by descriptor or through its programs.
///
/// # Errors
/// When the process is gone or bpftool fails.
pub fn maps_of(pid: u32) -> Result<Vec<Map>> {
    let mut ids = ids_in_fdinfo(pid, "map_id:")?;
    ids.extend(programs_of(pid)?.into_iter().flat_map(|program| program.map_ids));
    let mut maps: Vec<Map> = bpftool_list("map")?;
    maps.retain(|map| ids.contains(&map.id));
    Ok(maps)
}

/// Every program in the kernel, by id.
///
/// # Errors
/// When bpftool fails.
pub fn program_ids() -> Result<BTreeSet<u32>> {
    Ok(bpftool_list::<Program>("prog")?.into_iter().map(|program| program.id).collect())
}

/// Every map in the kernel, by id.
///
/// # Errors
/// When bpftool fails.
pub fn map_ids() -> Result<BTreeSet<u32>> {
    Ok(bpftool_list::<Map>("map")?.into_iter().map(|map| map.id).collect())
}

/// The ids of [`programs_of`], without asking bpftool.
///
/// # Errors
/// When the process is gone.
pub fn owned_program_ids(pid: u32) -> Result<BTreeSet<u32>> {
    ids_in_fdinfo(pid, "prog_id:")
}

/// The ids of the links that a process holds: what attaches its programs.
///
/// # Errors
/// When the process is gone.
pub fn owned_link_ids(pid: u32) -> Result<BTreeSet<u32>> {
    ids_in_fdinfo(pid, "link_id:")
}

/// Ids of programs, maps and links. The kernel counts up, so an id that is gone does not come back soon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links: what attaches a program.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// What process `pid` holds, by descriptor or through its programs.
    ///
    /// # Errors
    /// When the process is gone or bpftool fails.
    pub fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            programs: owned_program_ids(pid)?,
            maps: maps_of(pid)?.into_iter().map(|map| map.id).collect(),
            links: owned_link_ids(pid)?,
        })
    }

    /// Those of these that are still in the kernel, whoever holds or pins them.
    ///
    /// # Errors
    /// When bpftool fails.
    pub fn remaining(&self) -> Result<Self> {
        #[derive(Deserialize)]
        struct Object {
            id: u32,
        }
        let still = |object: &str, ids: &BTreeSet<u32>| -> Result<BTreeSet<u32>> {
            let all: Vec<Object> = bpftool_list(object)?;
            Ok(all.into_iter().map(|object| object.id).filter(|id| ids.contains(id)).collect())
        };
        Ok(Self {
            programs: still("prog", &self.programs)?,
            maps: still("map", &self.maps)?,
            links: still("link", &self.links)?,
        })
    }
}

fn ids_in_fdinfo(pid: u32, key: &str) -> Result<BTreeSet<u32>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {dir}"))? {
        // A descriptor closed meanwhile is no longer held.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        for id in info.lines().filter_map(|line| line.strip_prefix(key)) {
            ids.insert(id.trim().parse().with_context(|| format!("{dir}: {key} {id}"))?);
        }
    }
    Ok(ids)
}

fn bpftool_list<T: for<'de> Deserialize<'de>>(object: &str) -> Result<Vec<T>> {
    let json = run_checked(Command::new("bpftool").args(["-j", object, "show"]))
        .context("the kernel's account of eBPF needs bpftool (apt install bpftool)")?;
    serde_json::from_str(&json).with_context(|| format!("bpftool -j {object} show: {json}"))
}

/// Makes the kernel time every program run, until dropped: then the sysctl is as it was.
///
/// The clock reads add 20 to 40 ns to each run, for every tool alike.
pub struct StatsGuard {
    before: String,
}

impl StatsGuard {
    /// Switches the account on.
    ///
    /// # Errors
    /// When the sysctl is missing or may not be written.
    pub fn enable() -> Result<Self> {
        ensure!(Path::new(STATS_SYSCTL).exists(), "{STATS_SYSCTL} is missing: kernel >= 5.1");
        let before = fs::read_to_string(STATS_SYSCTL)?.trim().to_owned();
        fs::write(STATS_SYSCTL, "1").with_context(|| format!("cannot write {STATS_SYSCTL}"))?;
        Ok(Self { before })
    }
}

impl Drop for StatsGuard {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS_SYSCTL, &self.before) {
            eprintln!("cannot restore {STATS_SYSCTL} to {}: {error}", self.before);
        }
    }
}
