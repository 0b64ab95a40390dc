//! `/proc/vmstat`: what the kernel did for memory since it started.
//!
//! Contract: a line that this kernel lacks is no sample; a sum of several lines (zones, ways of reclaim) is of those there are.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{
        Label, MEMORY_STALLS, OOM_KILLS, PAGE_FAULTS, RECLAIMED_PAGES, SWAPPED_PAGES, counter,
    },
    source::Measure,
};
use crate::metric::{Descriptor, Sample};

/// A total: its metric, its label, the lines that are added up, and those that are taken off.
struct Total {
    metric: &'static Descriptor,
    label: Option<&'static str>,
    plus: &'static [&'static str],
    minus: &'static [&'static str],
}

const fn total(
    metric: &'static Descriptor,
    label: Option<&'static str>,
    plus: &'static [&'static str],
    minus: &'static [&'static str],
) -> Total {
    Total { metric, label, plus, minus }
}

static TOTALS: [Total; 10] = [
    // The kernel counts a major fault in both.
    total(&PAGE_FAULTS, Some("minor"), &["pgfault"], &["pgmajfault"]),
    total(&PAGE_FAULTS, Some("major"), &["pgmajfault"], &[]),
    total(&RECLAIMED_PAGES, Some("kswapd"), &["pgsteal_kswapd"], &[]),
    total(&RECLAIMED_PAGES, Some("direct"), &["pgsteal_direct"], &[]),
    total(&RECLAIMED_PAGES, Some("other"), &["pgsteal_khugepaged", "pgsteal_proactive"], &[]),
    total(&MEMORY_STALLS, Some("reclaim"), &ALLOCATION_STALLS, &[]),
    total(&MEMORY_STALLS, Some("compaction"), &["compact_stall"], &[]),
    total(&SWAPPED_PAGES, Some("in"), &["pswpin"], &[]),
    total(&SWAPPED_PAGES, Some("out"), &["pswpout"], &[]),
    total(&OOM_KILLS, None, &["oom_kill"], &[]),
];

/// One a zone.
static ALLOCATION_STALLS: [&str; 6] = [
    "allocstall_dma",
    "allocstall_dma32",
    "allocstall_normal",
    "allocstall_high",
    "allocstall_movable",
    "allocstall_device",
];

/// Reads the file.
pub(super) struct Vmstat(ProcFile);

impl Vmstat {
    pub fn new(proc: &Path) -> Self {
        Self(ProcFile::new(proc.join("vmstat"), "mount procfs at /proc"))
    }
}

impl Measure for Vmstat {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let mut sums = [None::<u64>; TOTALS.len()];
        let mut taken_off = [0_u64; TOTALS.len()];
        for line in self.0.read()?.lines() {
            let Some((name, count)) = line.split_once(' ') else { continue };
            let Ok(count) = count.trim().parse::<u64>() else { continue };
            for (i, total) in TOTALS.iter().enumerate() {
                if total.plus.contains(&name) {
                    *sums[i].get_or_insert(0) += count;
                }
                if total.minus.contains(&name) {
                    taken_off[i] += count;
                }
            }
        }
        if sums.iter().all(Option::is_none) {
            return Err(self.0.malformed("line such as `pgfault 1`"));
        }
        for ((total, sum), off) in TOTALS.iter().zip(sums).zip(taken_off) {
            if let Some(sum) = sum {
                let label: Vec<Label> = total.label.map(Label::Borrowed).into_iter().collect();
                samples.push(counter(total.metric, label, sum.saturating_sub(off)));
            }
        }
        Ok(())
    }
}
