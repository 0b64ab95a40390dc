//! What is measured of limits on CPU and processes.

use crate::metric::{Descriptor, descriptor};

const CPU: &str = "cpu.max of the cgroup, cpu.cfs_* on v1";
const STAT: &str = "cpu.stat of the cgroup, v2 or v1";
const PIDS: &str = "pids.* of the cgroup, v2 or v1";

descriptor!(
    pub(super) static QUOTA,
    "cgscope_limits_cpu_quota_seconds",
    "CPU quota",
    Seconds,
    Gauge,
    Container,
    &[],
    CPU,
    "5.8",
    "CPU time that its threads may use together in each period; absent without a quota."
);
descriptor!(
    pub(super) static PERIOD,
    "cgscope_limits_cpu_period_seconds",
    "CPU period",
    Seconds,
    Gauge,
    Container,
    &[],
    CPU,
    "5.8",
    "The period of its quota; absent without one."
);
descriptor!(
    pub(super) static CORES,
    "cgscope_limits_cpu_cores",
    "CPU limit",
    Count,
    Gauge,
    Container,
    &[],
    CPU,
    "5.8",
    "How many CPUs its quota is worth: the quota divided by the period; absent without one."
);
descriptor!(
    pub(super) static WEIGHT,
    "cgscope_limits_cpu_weight",
    "CPU weight",
    Count,
    Gauge,
    Container,
    &[],
    "cpu.weight of the cgroup, cpu.shares on v1",
    "5.8",
    "Its share where CPU time is short, beside the other cgroups of its parent: 100 unless somebody set it. cpu.shares of v1 are \
     converted as the kernel does, 1024 to 100."
);
descriptor!(
    pub(super) static CPUSET,
    "cgscope_limits_cpuset_cpus",
    "cpuset",
    Count,
    Gauge,
    Container,
    &[],
    "cpuset.cpus.effective of the cgroup, cpuset.effective_cpus on v1",
    "5.8",
    "How many CPUs it may run on; absent if on all."
);
descriptor!(
    pub(super) static PERIODS,
    "cgscope_limits_cpu_periods_total",
    "quota periods",
    Count,
    Counter,
    Container,
    &[],
    STAT,
    "5.8",
    "Periods of its quota in which its threads wanted to run; absent if it never had one."
);
descriptor!(
    pub(super) static THROTTLED_PERIODS,
    "cgscope_limits_cpu_throttled_periods_total",
    "throttled periods",
    Count,
    Counter,
    Container,
    &[],
    STAT,
    "5.8",
    "Periods in which its quota was not enough; absent if it never had one."
);
descriptor!(
    pub(super) static THROTTLED_TIME,
    "cgscope_limits_cpu_throttled_seconds_total",
    "throttled time",
    Seconds,
    Counter,
    Container,
    &[],
    STAT,
    "5.8",
    "How long its quota kept its threads from CPUs, the time on each CPU added up; absent if it never had one. What single threads \
     lost by it is the state throttled."
);
descriptor!(
    pub(super) static PIDS_USE,
    "cgscope_limits_pids_use",
    "pids",
    Count,
    Gauge,
    Container,
    &[],
    PIDS,
    "5.8",
    "Processes and threads that count for its limit of them."
);
descriptor!(
    pub(super) static PIDS_LIMIT,
    "cgscope_limits_pids_limit",
    "pids limit",
    Count,
    Gauge,
    Container,
    &[],
    PIDS,
    "5.8",
    "How many processes and threads it may have; absent without a limit."
);
descriptor!(
    pub(super) static REFUSED_FORKS,
    "cgscope_limits_refused_forks_total",
    "refused forks",
    Count,
    Counter,
    Container,
    &[],
    PIDS,
    "5.8",
    "How often it got no new process or thread because of that limit; absent without a limit."
);

/// Everything.
pub static DESCRIPTORS: &[&Descriptor] = &[
    &QUOTA,
    &PERIOD,
    &CORES,
    &WEIGHT,
    &CPUSET,
    &PERIODS,
    &THROTTLED_PERIODS,
    &THROTTLED_TIME,
    &PIDS_USE,
    &PIDS_LIMIT,
    &REFUSED_FORKS,
];
