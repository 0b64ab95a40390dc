//! A disk at work, and the interrupt line it keeps busy.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{FixtureProcess, scratch_dir};
use tempfile::TempDir;

const FILE_BYTES: usize = 16 << 20;

/// Direct reads of one block after the other, on the host.
pub struct BusyDisk {
    _reader: FixtureProcess,
    _files: TempDir,
}

impl BusyDisk {
    /// Reads from a CPU, or from any.
    pub fn start(cpu: Option<u32>) -> Result<Self> {
        let files = TempDir::with_prefix_in("irq-", scratch_dir())?;
        let path = files.path().join("data");
        fs::write(&path, vec![0x5a; FILE_BYTES])?;
        fs::File::open(&path)?.sync_all()?;
        let path = path.to_str().context("a path")?;
        let fixed = ["direct_io", "--file", path, "--writes", "0", "--reads", "1000000000"];
        let cpu = cpu.map(|cpu| cpu.to_string());
        let pinned: Vec<&str> = cpu.iter().flat_map(|cpu| ["--cpu", cpu.as_str()]).collect();
        let command = [&fixed[..], &["--seconds", "300"], &pinned].concat();
        Ok(Self { _reader: FixtureProcess::start(&command)?, _files: files })
    }
}

/// Interrupts of each numbered line by CPU, from `/proc/interrupts`.
pub fn lines() -> Result<BTreeMap<u32, Vec<u64>>> {
    let text = fs::read_to_string("/proc/interrupts")?;
    let cpus = text.lines().next().context("a head")?.split_whitespace().count();
    let lines = text.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let counts = rest.split_whitespace().take(cpus).map_while(|count| count.parse().ok());
        Some((number.trim().parse().ok()?, counts.collect()))
    });
    Ok(lines.collect())
}

/// The line that has most interrupts now, and the CPU they come to.
pub fn busiest_line() -> Result<(u32, u32)> {
    let before = lines()?;
    sleep(Duration::from_millis(500));
    let after = lines()?;
    let rises = after.iter().flat_map(|(line, counts)| {
        let before = before.get(line);
        counts.iter().enumerate().map(move |(cpu, count)| {
            let before = before.and_then(|counts| counts.get(cpu)).copied().unwrap_or(0);
            (count - before, *line, cpu as u32)
        })
    });
    let (rise, line, cpu) = rises.max().context("a machine with interrupt lines")?;
    assert!(rise > 100, "the disk makes no interrupts: line {line} has {rise} in half a second");
    Ok((line, cpu))
}
