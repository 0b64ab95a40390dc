//! The limits of each container on CPU and processes, and how it met them, from cgroup files: no program in the kernel is needed.
//!
//! Contract: limits that are there at the start are shown like those set later. [`Readings`] says whose files are read when; how a
//! container met its limits is two or three files, its limits are up to six that rarely change and are read every
//! [`LIMITS_INTERVAL`]. A change is noted with what the limit was.

mod change;
mod descriptor;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use change::{Change, Changes, Limit};
pub use descriptor::DESCRIPTORS;
use descriptor::{
    CORES, CPUSET, PERIOD, PERIODS, PIDS_LIMIT, PIDS_USE, QUOTA, REFUSED_FORKS, THROTTLED_PERIODS,
    THROTTLED_TIME, WEIGHT,
};

use super::{Container, Readings, Registry, switched_off};
use crate::{
    kernel::{
        cgroup_limits::{CgroupLimits, CgroupUse, CpuUse, LimitFiles},
        cpus,
        host::SourceStatus,
    },
    metric::{Descriptor, Kind, KtimeNs, LabelValues, Sample, Subject, Value},
};

/// How old the limits of a container that does something may become.
const LIMITS_INTERVAL: Duration = Duration::from_secs(5);

/// Reads them.
pub struct Limits {
    files: LimitFiles,
    readings: Readings<Reading>,
}

struct Reading {
    limits: CgroupLimits,
    limits_at: Instant,
    usage: CgroupUse,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: LimitFiles::find(), readings: Readings::default() }
    }
}

impl Limits {
    /// Notes that an owner ran.
    pub fn note_active(&mut self, owner: &Arc<str>) {
        self.readings.note_active(owner);
    }

    /// Reads whose turn it is, and notes what changed; then shows what was read last.
    pub fn collect(
        &mut self,
        registry: &Registry,
        changes: &mut Changes,
        samples: &mut Vec<Sample>,
    ) {
        let now = Instant::now();
        // Without the list every cpuset is shown, which is true as well.
        let mut all_cpus = None;
        let mut all_cpus = || *all_cpus.get_or_insert_with(online_cpus);
        let files = &self.files;
        self.readings.collect(registry, now, |container, before| {
            read(files, container, before, now, &mut all_cpus, changes)
        });
        for (owner, reading) in self.readings.iter() {
            reading.show(&Subject::Container(Arc::clone(owner)), samples);
        }
    }
}

impl Limits {
    /// CPU time of the owners whose files were read since an instant, by the kernel's own account.
    pub fn cpu_since(&self, since: KtimeNs) -> impl Iterator<Item = (&Arc<str>, CpuUse)> {
        let all = self.readings.iter();
        let all = all.filter_map(|(owner, reading)| Some((owner, reading.usage.cpu?)));
        all.filter(move |(_, cpu)| cpu.at >= since)
    }
}

/// How the files are read.
pub fn source(limits: Option<&Limits>) -> SourceStatus {
    const NAME: &str = "cgroup.limits";
    let missing = |limits: &Limits| {
        (!limits.files.are_there()).then_some("no hierarchy with cpu, cpuset or pids is mounted")
    };
    limits
        .map_or_else(|| switched_off(NAME), |limits| limits.readings.status(NAME, missing(limits)))
}

fn online_cpus() -> u64 {
    cpus::online().map_or(u64::MAX, |cpus| cpus.len() as u64)
}

fn read(
    files: &LimitFiles,
    container: &Container,
    before: Option<Reading>,
    now: Instant,
    all_cpus: &mut impl FnMut() -> u64,
    changes: &mut Changes,
) -> Option<Reading> {
    let (limits, limits_at) = match &before {
        Some(before) if now.duration_since(before.limits_at) < LIMITS_INTERVAL => {
            (before.limits, before.limits_at)
        }
        _ => (files.limits(&container.cgroup, all_cpus())?, now),
    };
    if let Some(before) = before.filter(|before| before.limits.is_in == limits.is_in) {
        changes.compare(container, &settings(&before.limits), &settings(&limits));
    }
    let usage = files.usage(&container.cgroup, &limits)?;
    Some(Reading { limits, limits_at, usage })
}

/// What may be set, and so changed.
fn settings(limits: &CgroupLimits) -> [Limit; 5] {
    [
        (&QUOTA, limits.quota_ns),
        (&PERIOD, limits.period_ns),
        (&WEIGHT, limits.weight),
        (&CPUSET, limits.cpus),
        (&PIDS_LIMIT, limits.pids),
    ]
}

impl Reading {
    fn show(&self, subject: &Subject, samples: &mut Vec<Sample>) {
        let mut push = |metric: &'static Descriptor, value| {
            let labels = LabelValues::default();
            samples.push(Sample { metric, subject: subject.clone(), labels, value });
        };
        let had_quota = self.limits.quota_ns.is_some() || self.usage.periods > Some(0);
        let of_quota = |number: Option<u64>| number.filter(|_| had_quota);
        let CgroupUse { periods, throttled_periods, throttled_ns, pids, refused_forks, cpu: _ } =
            self.usage;
        let usage = [
            (&PERIODS, of_quota(periods)),
            (&THROTTLED_PERIODS, of_quota(throttled_periods)),
            (&THROTTLED_TIME, of_quota(throttled_ns)),
            (&PIDS_USE, pids),
            (&REFUSED_FORKS, refused_forks),
        ];
        for (metric, number) in settings(&self.limits).into_iter().chain(usage) {
            if let Some(number) = number {
                push(
                    metric,
                    match metric.kind {
                        Kind::Counter => Value::Counter(number),
                        Kind::Gauge | Kind::Distribution => Value::Gauge(number as f64),
                    },
                );
            }
        }
        if let (Some(quota_ns), Some(period_ns @ 1..)) =
            (self.limits.quota_ns, self.limits.period_ns)
        {
            push(&CORES, Value::Gauge(quota_ns as f64 / period_ns as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(limits: CgroupLimits, usage: CgroupUse) -> Vec<(&'static str, Value)> {
        let mut samples = Vec::new();
        let reading = Reading { limits, limits_at: Instant::now(), usage };
        reading.show(&Subject::Host, &mut samples);
        samples.into_iter().map(|sample| (sample.metric.name, sample.value)).collect()
    }

    const THROTTLED: CgroupUse = CgroupUse {
        periods: Some(9),
        throttled_periods: Some(7),
        throttled_ns: Some(5),
        cpu: None,
        pids: None,
        refused_forks: None,
    };

    #[test]
    fn a_quota_is_shown_in_cpus_too() {
        let limits = CgroupLimits {
            quota_ns: Some(150_000_000),
            period_ns: Some(100_000_000),
            ..CgroupLimits::default()
        };
        let shown = shown(limits, THROTTLED);
        assert!(shown.contains(&("cgscope_limits_cpu_cores", Value::Gauge(1.5))), "{shown:?}");
        let time = ("cgscope_limits_cpu_throttled_seconds_total", Value::Counter(5));
        assert!(shown.contains(&time), "{shown:?}");
    }

    #[test]
    fn who_never_had_a_quota_has_no_periods_and_who_had_one_keeps_them() {
        let never = CgroupUse { periods: Some(0), throttled_periods: Some(0), ..THROTTLED };
        assert!(shown(CgroupLimits::default(), never).is_empty());
        assert_eq!(shown(CgroupLimits::default(), THROTTLED).len(), 3);
    }
}
