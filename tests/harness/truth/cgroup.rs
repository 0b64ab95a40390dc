//! CPU time of a cgroup as the kernel accounts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// `cpu.stat` of a cgroup v2 directory: `usage_usec`, `user_usec`, `system_usec`, and `nr_throttled` and the like
/// where the cpu controller is in v2; of a v1 `cpu` directory: `nr_periods`, `nr_throttled`, `throttled_time` (ns).
///
/// # Errors
/// When the cgroup is gone.
pub fn cpu_stat(cgroup: &Path) -> Result<BTreeMap<String, u64>> {
    let path = cgroup.join("cpu.stat");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let (key, value) = line.split_once(' ').context("a line of cpu.stat is a pair")?;
            Ok((key.to_owned(), value.parse().with_context(|| format!("cpu.stat: {line}"))?))
        })
        .collect()
}

/// `cpuacct.usage` of a cgroup v1 directory, in nanoseconds.
///
/// # Errors
/// When the cgroup is gone.
pub fn cpuacct_usage_ns(cgroup: &Path) -> Result<u64> {
    let path = cgroup.join("cpuacct.usage");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{}: {text}", path.display()))
}
