//! The family's series in `/metrics`.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::disk::Statistics;
use cgscope_tests::{Daemon, wait_until};

/// One reading of the exposition.
pub struct Series(String);

impl Series {
    pub fn read(daemon: &Daemon) -> Result<Self> {
        Ok(Self(daemon.text("/metrics")?))
    }

    /// The sum of the series `name` whose labels contain all of `labels`, each as `key="value"`.
    pub fn sum(&self, name: &str, labels: &[String]) -> Result<f64> {
        let mut sum = 0.0;
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) else {
                continue;
            };
            if labels.iter().all(|label| rest.contains(label)) {
                let (_, value) = rest.rsplit_once(' ').context("a series has a value")?;
                sum += value.parse::<f64>().with_context(|| line.to_owned())?;
            }
        }
        Ok(sum)
    }

    /// What a container did on a disk.
    pub fn of_container(&self, id: &str, device: &str) -> Result<Statistics> {
        self.statistics("cgscope_block", &[label("container_id", id), label("device", device)])
    }

    /// What all did on a disk, summed over those who did it.
    pub fn of_all_containers(&self, device: &str) -> Result<Statistics> {
        self.statistics("cgscope_block", &[label("device", device)])
    }

    /// What all did on a disk, as the disk's own series say.
    pub fn of_disk(&self, device: &str) -> Result<Statistics> {
        self.statistics("cgscope_block_device", &[label("device", device)])
    }

    fn statistics(&self, prefix: &str, labels: &[String]) -> Result<Statistics> {
        let read = |what: &str, operation: &str| -> Result<u64> {
            let labels = [labels, &[label("operation", operation)]].concat();
            Ok(self.sum(&format!("{prefix}_{what}_total"), &labels)? as u64)
        };
        Ok(Statistics {
            reads: read("operations", "read")?,
            read_bytes: read("bytes", "read")?,
            // The kernel's statistics count a mere flush as a write without bytes.
            writes: read("operations", "write")? + read("operations", "flush")?,
            written_bytes: read("bytes", "write")?,
        })
    }

    /// Prints who did how much, and what was lost.
    fn show_counts(&self) {
        let names =
            ["cgscope_block_operations", "cgscope_block_device_operations", "cgscope_own_dropped"];
        let is_count = |line: &&str| names.iter().any(|name| line.starts_with(name));
        for line in self.0.lines().filter(is_count).filter(|line| !line.ends_with(" 0")) {
            eprintln!("{line}");
        }
    }

    /// Upper bounds, in ns, and how many values are below them.
    pub fn buckets(&self, name: &str, labels: &[String]) -> Result<Vec<(f64, f64)>> {
        let mut buckets = Vec::new();
        for line in self.0.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{"))) {
            if labels.iter().all(|label| line.contains(label)) {
                let bound = line.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
                let bound = bound.with_context(|| line.to_owned())?.0;
                let bound_s = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                let (_, value) = line.rsplit_once(' ').context("a series has a value")?;
                buckets.push((bound_s * 1e9, value.parse()?));
            }
        }
        Ok(buckets)
    }
}

/// `key="value"`.
pub fn label(key: &str, value: &str) -> String {
    format!("{key}=\"{value}\"")
}

/// Reads until `is_there` holds, or for 10 s; then whatever there is, for the assertion to say what is wrong, and shown whole: a
/// request that is not where it should be is somewhere else.
pub fn read_until(
    daemon: &Daemon,
    mut is_there: impl FnMut(&Series) -> Result<bool>,
) -> Result<Series> {
    let patience = Duration::from_secs(10);
    let found = wait_until("the series", patience, || {
        let series = Series::read(daemon)?;
        Ok(is_there(&series)?.then_some(series))
    });
    found.or_else(|_| {
        let series = Series::read(daemon)?;
        series.show_counts();
        Ok(series)
    })
}
