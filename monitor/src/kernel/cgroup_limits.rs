//! What cgroupfs says of one cgroup's limits on CPU and processes, and of how it met them, in the words of v2 whichever
//! version each controller is of.
//!
//! Contract: reading is on demand. What this kernel or this version does not have is `None`, never 0; a limit that is not set
//! is `None` too. A limit on a cgroup around this one is not told here: that one has files of its own.

use std::path::Path;

use super::{
    cgroup_file::{Controller, below_root, field, number, read, read_number},
    cpus,
};
use crate::metric::KtimeNs;

/// Where the files are. On a hybrid machine each controller is where it is.
#[derive(Clone, Debug)]
pub struct LimitFiles {
    cpu: Option<Controller>,
    cpuacct: Option<Controller>,
    cpuset: Option<Controller>,
    pids: Option<Controller>,
}

/// What a cgroup may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// CPU time that its threads may use in each period, ns.
    pub quota_ns: Option<u64>,
    /// That period, ns; `None` without a quota.
    pub period_ns: Option<u64>,
    /// Its share when CPU time is short: 100 unless somebody set it.
    pub weight: Option<u64>,
    /// How many CPUs it may run on, if not on all.
    pub cpus: Option<u64>,
    /// How many processes and threads it may have.
    pub pids: Option<u64>,
    /// Whether it was there in the hierarchies of the controllers `cpu`, `cpuset` and `pids`, after its files were read: one that
    /// ends goes from one after the other, and is not without a limit meanwhile.
    pub is_in: [bool; 3],
}

/// How it met them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUse {
    /// Periods of its quota in which it wanted to run; none where it never had a quota.
    pub periods: Option<u64>,
    /// Those of them in which the quota was not enough.
    pub throttled_periods: Option<u64>,
    /// How long it was kept from running, ns, each CPU's counted.
    pub throttled_ns: Option<u64>,
    /// CPU time of its threads and of those in the cgroups inside it, and when that was read.
    pub cpu: Option<CpuUse>,
    /// Processes and threads it has.
    pub pids: Option<u64>,
    /// How often it got no new one because of the limit.
    pub refused_forks: Option<u64>,
}

/// CPU time by the kernel's own account. Of a slice that goes on it has what the last tick saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuUse {
    /// So far, ns.
    pub used_ns: u64,
    /// When it was read.
    pub at: KtimeNs,
}

impl LimitFiles {
    /// Finds them on this machine.
    pub fn find() -> Self {
        let [cpu, cpuacct, cpuset, pids] =
            ["cpu", "cpuacct", "cpuset", "pids"].map(Controller::find);
        Self { cpu, cpuacct, cpuset, pids }
    }

    /// Whether any of the controllers is mounted.
    pub fn are_there(&self) -> bool {
        [&self.cpu, &self.cpuset, &self.pids].into_iter().any(Option::is_some)
    }

    /// The limits of a cgroup path on a machine with so many CPUs; `None` when it is gone, or is the root, which has none.
    pub fn limits(&self, cgroup: &str, all_cpus: u64) -> Option<CgroupLimits> {
        let cgroup = below_root(cgroup)?;
        let mut limits = CgroupLimits::default();
        match &self.cpu {
            Some(Controller::V1(root)) => read_cpu_v1(&root.join(cgroup), &mut limits),
            Some(Controller::V2(root)) => read_cpu_v2(&root.join(cgroup), &mut limits),
            None => {}
        }
        let cpus = match &self.cpuset {
            Some(Controller::V1(root)) => read(&root.join(cgroup), "cpuset.effective_cpus"),
            Some(Controller::V2(root)) => read(&root.join(cgroup), "cpuset.cpus.effective"),
            None => None,
        };
        limits.cpus = cpus.and_then(|list| count_cpus(&list)).filter(|&count| count < all_cpus);
        if let Some(Controller::V1(root) | Controller::V2(root)) = &self.pids {
            limits.pids = read_number(&root.join(cgroup), "pids.max");
        }
        limits.is_in = self.is_in(cgroup);
        limits.is_in.contains(&true).then_some(limits)
    }

    /// How a cgroup path with these limits met them; `None` when it is gone, or is the root.
    pub fn usage(&self, cgroup: &str, limits: &CgroupLimits) -> Option<CgroupUse> {
        let cgroup = below_root(cgroup)?;
        let mut usage = CgroupUse::default();
        if let Some(Controller::V1(root) | Controller::V2(root)) = &self.cpu
            && let Some(stat) = read(&root.join(cgroup), "cpu.stat")
        {
            usage.periods = field(&stat, "nr_periods");
            usage.throttled_periods = field(&stat, "nr_throttled");
            let in_us = || Some(field(&stat, "throttled_usec")? * 1_000);
            usage.throttled_ns = field(&stat, "throttled_time").or_else(in_us);
            // On v2 the same file has both.
            usage.cpu = used_us(&stat);
        }
        if usage.cpu.is_none() {
            usage.cpu = self.cpu_use(cgroup);
        }
        if let Some(Controller::V1(root) | Controller::V2(root)) = &self.pids {
            let directory = root.join(cgroup);
            usage.pids = read_number(&directory, "pids.current");
            // Without a limit nothing was refused since the last look: a file less for most.
            usage.refused_forks = limits.pids.and_then(|_| {
                let events = read(&directory, "pids.events")?;
                field(&events, "max")
            });
        }
        // It was there if any of its files was: most have one, and need not be looked for.
        let is_there = usage != CgroupUse::default() || self.is_in(cgroup).contains(&true);
        is_there.then_some(usage)
    }

    fn cpu_use(&self, relative: &str) -> Option<CpuUse> {
        match self.cpuacct.as_ref()? {
            Controller::V1(root) => {
                let used_ns = read_number(&root.join(relative), "cpuacct.usage")?;
                Some(CpuUse { used_ns, at: KtimeNs::now() })
            }
            Controller::V2(root) => used_us(&read(&root.join(relative), "cpu.stat")?),
        }
    }

    fn is_in(&self, relative: &str) -> [bool; 3] {
        [&self.cpu, &self.cpuset, &self.pids].map(|controller| match controller {
            Some(Controller::V1(root) | Controller::V2(root)) => root.join(relative).is_dir(),
            None => false,
        })
    }
}

/// From a `cpu.stat` that was just read.
fn used_us(stat: &str) -> Option<CpuUse> {
    Some(CpuUse { used_ns: field(stat, "usage_usec")? * 1_000, at: KtimeNs::now() })
}

fn read_cpu_v2(directory: &Path, limits: &mut CgroupLimits) {
    // `QUOTA PERIOD`, where the quota may be `max`.
    if let Some((quota, period)) = read(directory, "cpu.max").as_deref().and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        Some((number(quota)?, number(period)?))
    }) {
        (limits.quota_ns, limits.period_ns) = (Some(quota * 1_000), Some(period * 1_000));
    }
    limits.weight = read_number(directory, "cpu.weight");
}

fn read_cpu_v1(directory: &Path, limits: &mut CgroupLimits) {
    // -1 for none, which is no number here.
    limits.quota_ns = read_number(directory, "cpu.cfs_quota_us").map(|us| us * 1_000);
    if limits.quota_ns.is_some() {
        limits.period_ns = read_number(directory, "cpu.cfs_period_us").map(|us| us * 1_000);
    }
    // As the kernel does it: `cpu.weight` of 100 and `cpu.shares` of 1024 are the same.
    limits.weight = read_number(directory, "cpu.shares").map(|shares| (shares * 100 + 512) / 1_024);
}

/// How many there are in `0-3,8`; `None` where nothing is said.
fn count_cpus(list: &str) -> Option<u64> {
    let cpus = cpus::parse_list(list.trim())?;
    (!cpus.is_empty()).then_some(cpus.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A mount with one cgroup `/a`.
    fn mount(content: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        for (name, text) in content {
            fs::write(directory.path().join("a").join(name), text).unwrap();
        }
        directory
    }

    fn files(controller: impl Fn() -> Controller) -> LimitFiles {
        let [cpu, cpuacct, cpuset, pids] = std::array::from_fn(|_| Some(controller()));
        LimitFiles { cpu, cpuacct, cpuset, pids }
    }

    #[test]
    fn v2_in_its_own_words() {
        let mount = mount(&[
            ("cpu.max", "20000 100000\n"),
            ("cpu.weight", "39\n"),
            ("cpu.stat", "usage_usec 9\nnr_periods 7\nnr_throttled 3\nthrottled_usec 12\n"),
            ("cpuset.cpus.effective", "0,2-3\n"),
            ("pids.max", "100\n"),
            ("pids.current", "4\n"),
            ("pids.events", "max 2\n"),
        ]);
        let files = files(|| Controller::V2(mount.path().to_owned()));
        let limits = files.limits("/a", 4).unwrap();
        assert_eq!((limits.quota_ns, limits.period_ns), (Some(20_000_000), Some(100_000_000)));
        assert_eq!((limits.weight, limits.cpus, limits.pids), (Some(39), Some(3), Some(100)));
        assert_eq!(files.limits("/a", 3).unwrap().cpus, None, "all there are");
        let usage = files.usage("/a", &limits).unwrap();
        assert_eq!((usage.periods, usage.throttled_periods), (Some(7), Some(3)));
        assert_eq!(usage.throttled_ns, Some(12_000));
        assert_eq!(usage.cpu.map(|cpu| cpu.used_ns), Some(9_000));
        assert_eq!((usage.pids, usage.refused_forks), (Some(4), Some(2)));
    }

    #[test]
    fn v1_in_the_words_of_v2() {
        let mount = mount(&[
            ("cpu.cfs_quota_us", "20000\n"),
            ("cpu.cfs_period_us", "50000\n"),
            ("cpu.shares", "1024\n"),
            ("cpu.stat", "nr_periods 7\nnr_throttled 3\nthrottled_time 12\nnr_bursts 0\n"),
            ("cpuacct.usage", "77\n"),
            ("cpuset.effective_cpus", "1\n"),
            ("pids.max", "max\n"),
            ("pids.current", "4\n"),
        ]);
        let files = files(|| Controller::V1(mount.path().to_owned()));
        let limits = files.limits("/a", 2).unwrap();
        assert_eq!((limits.quota_ns, limits.period_ns), (Some(20_000_000), Some(50_000_000)));
        assert_eq!((limits.weight, limits.cpus, limits.pids), (Some(100), Some(1), None));
        let usage = files.usage("/a", &limits).unwrap();
        assert_eq!(usage.throttled_ns, Some(12));
        assert_eq!(usage.cpu.map(|cpu| cpu.used_ns), Some(77));
        assert_eq!((usage.pids, usage.refused_forks), (Some(4), None));
    }

    #[test]
    fn a_limit_that_is_not_set_is_none() {
        for content in [
            &[("cpu.max", "max 100000\n")][..],
            &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")][..],
        ] {
            let mount = mount(content);
            for controller in [Controller::V1, Controller::V2] {
                let files = files(|| controller(mount.path().to_owned()));
                let none = CgroupLimits { is_in: [true; 3], ..CgroupLimits::default() };
                assert_eq!(files.limits("/a", 2), Some(none), "{content:?}");
            }
        }
    }

    #[test]
    fn what_is_gone_is_unknown() {
        let files = files(|| Controller::V2("/no/such/mount".into()));
        assert_eq!(files.limits("/a", 2), None);
        assert_eq!(files.usage("/a", &CgroupLimits::default()), None);
        assert_eq!(files.limits("/", 2), None);
    }
}
