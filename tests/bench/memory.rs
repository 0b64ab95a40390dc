//! What a tool holds: resident memory of its process and kernel memory of its maps, with and without idle cgroups.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cgscope_tests::bpf::maps_of;
use cgscope_tests::mounts::cgroup_v2_root;
use cgscope_tests::{Daemon, truth};

use crate::crowd::Crowd;
use crate::tool::Tool;

const IDLE_CGROUPS: u32 = 100;
/// A large host: so many cgroups that do nothing, and so many containers that do a little.
const MANY_IDLE: u32 = 1_000;
const MANY_ACTIVE: usize = 100;
/// How long the daemon's CPU time is taken for.
const TICKS: Duration = Duration::from_secs(30);
/// Until buffers that grow with use have grown.
const SETTLING: Duration = Duration::from_secs(10);
/// Until the daemon has as many ticks as it keeps: two minutes of them. After ten seconds it had 20 MiB, and 30 then.
const FILLING: Duration = Duration::from_secs(130);
const PARENT_PREFIX: &str = "cgscope-bench-";

/// Measures runqlat and the daemon, without and with idle cgroups, and prints.
pub fn bench() -> Result<()> {
    println!(
        "{:<10} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "tool", "idle cgroups", "resident KiB", "of it maps", "maps KiB", "all KiB"
    );
    for tool in [Tool::peer("runqlat"), Tool::Cgscope] {
        for count in [0, IDLE_CGROUPS] {
            let _cgroups = IdleCgroups::make(count)?;
            measure(tool, count)?;
        }
    }
    Ok(())
}

/// Measures the daemon on a large host: memory, and what a tick takes of its CPU time.
pub fn many() -> Result<()> {
    let _idle = IdleCgroups::make(MANY_IDLE)?;
    let _active = Crowd::start(MANY_ACTIVE)?;
    // The default has room for 1,024 cgroups.
    let daemon = Daemon::start(&["--max-cgroups", "1200"])?;
    sleep(FILLING);
    let cpu_ns = || truth::process_cpu_ns(daemon.pid());
    let (before, begun) = (cpu_ns()?, Instant::now());
    sleep(TICKS);
    let spent_ms = (cpu_ns()? - before) as f64 / 1e6;
    let a_tick_ms = spent_ms / begun.elapsed().as_secs_f64();
    println!("{MANY_IDLE} idle and {MANY_ACTIVE} active cgroups, a tick a second");
    println!("CPU time of the daemon, all threads: {a_tick_ms:.1} ms a tick (goal 10)");
    let (resident, mapped, kernel) = held(daemon.pid())?;
    let once = resident - mapped.min(resident) + kernel;
    println!(
        "memory: resident {} KiB, of it maps {}, maps {}; all, each page once: {} KiB, {:.1} MB (goal 120)",
        resident / 1024,
        mapped / 1024,
        kernel / 1024,
        once / 1024,
        once as f64 / 1e6
    );
    Ok(())
}

/// Resident memory of a process, the part of it that is maps, and maps in the kernel; bytes.
fn held(pid: u32) -> Result<(u64, u64, u64)> {
    let kernel = maps_of(pid)?.iter().map(|map| map.bytes_memlock).sum();
    Ok((truth::resident_bytes(pid)?, mapped_maps_bytes(pid)?, kernel))
}

fn measure(tool: Tool, idle_cgroups: u32) -> Result<()> {
    let attached = tool.attach()?;
    let pid = attached.pid().context("a tool without a process has no memory")?;
    sleep(if matches!(tool, Tool::Cgscope) { FILLING } else { SETTLING });
    let (resident, mapped, kernel) = held(pid)?;
    let mut maps = maps_of(pid)?;
    println!(
        "{:<10} {:>12} {:>12} {:>12} {:>12} {:>12}",
        tool.name(),
        idle_cgroups,
        resident / 1024,
        mapped / 1024,
        kernel / 1024,
        (resident - mapped.min(resident) + kernel) / 1024
    );
    maps.sort_by_key(|map| std::cmp::Reverse(map.bytes_memlock));
    for map in maps.iter().take(5) {
        println!(
            "{:>14} {:<16} {:<20} {:>8} KiB",
            "",
            map.name,
            map.kind,
            map.bytes_memlock / 1024
        );
    }
    Ok(())
}

/// Pages of eBPF maps that the process has mapped: they are resident, and in the kernel's account of the maps as well. A ring is
/// mapped twice.
fn mapped_maps_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut is_map = false;
    let mut kib = 0;
    for line in text.lines() {
        match line.strip_prefix("Rss:") {
            Some(size) if is_map => kib += size.trim().trim_end_matches(" kB").parse::<u64>()?,
            Some(_) => {}
            // The first line of a mapping ends with what is mapped; all others have a colon after their first word.
            None if !line.split_whitespace().next().is_some_and(|word| word.ends_with(':')) => {
                is_map = line.ends_with("anon_inode:bpf-map");
            }
            None => {}
        }
    }
    Ok(kib * 1024)
}

/// Empty cgroups below one of our own in the v2 hierarchy. Dropping them removes them.
struct IdleCgroups {
    parent: PathBuf,
}

impl IdleCgroups {
    fn make(count: u32) -> Result<Self> {
        let root = cgroup_v2_root()?;
        remove_leftovers(&root)?;
        let own = std::process::id();
        let name = format!("{PARENT_PREFIX}{own}-{}", truth::process_start_ticks(own)?);
        let cgroups = Self { parent: root.join(name) };
        fs::create_dir(&cgroups.parent)
            .with_context(|| format!("cannot make {}", cgroups.parent.display()))?;
        for number in 0..count {
            fs::create_dir(cgroups.parent.join(number.to_string()))?;
        }
        Ok(cgroups)
    }
}

impl Drop for IdleCgroups {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.parent) {
            eprintln!("cgroups left behind: {error:#}");
        }
    }
}

/// cgroupfs removes a directory with its files, but not with its subdirectories.
fn remove(parent: &PathBuf) -> Result<()> {
    for entry in
        fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    fs::remove_dir(parent).with_context(|| format!("cannot remove {}", parent.display()))
}

/// Of benches that were killed: a bench that still lives keeps its own.
fn remove_leftovers(root: &PathBuf) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let maker =
            name.to_str().and_then(|name| name.strip_prefix(PARENT_PREFIX)?.split_once('-'));
        let Some((pid, start_ticks)) = maker else { continue };
        if let (Ok(pid), Ok(start_ticks)) = (pid.parse(), start_ticks.parse::<u64>())
            && truth::process_start_ticks(pid).ok() != Some(start_ticks)
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
