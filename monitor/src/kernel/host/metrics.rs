//! The metrics of the host, and making samples of them.

use std::borrow::Cow;

use super::{disks, interfaces, processes};
use crate::metric::{Descriptor, LabelValues, Sample, Subject, Value, descriptor};

descriptor!(
    pub(super) static CPU,
    "cgscope_host_cpu_seconds_total",
    "CPU time",
    Seconds,
    Counter,
    Host,
    &["cpu", "mode"],
    "/proc/stat",
    "2.6",
    "CPU time by CPU and mode; time in virtual machines is part of user and nice."
);
descriptor!(
    pub(super) static LOAD,
    "cgscope_host_load",
    "load",
    Count,
    Gauge,
    Host,
    &["period"],
    "/proc/loadavg",
    "2.6",
    "Mean number of threads that ran, waited for a CPU or blocked without being interruptible."
);
descriptor!(
    pub(super) static SWITCHES,
    "cgscope_host_context_switches_total",
    "switches",
    Count,
    Counter,
    Host,
    &[],
    "/proc/stat",
    "2.6",
    "Context switches of all CPUs, those to the idle task included."
);
descriptor!(
    pub(super) static INTERRUPTS,
    "cgscope_host_interrupts_total",
    "interrupts",
    Count,
    Counter,
    Host,
    &[],
    "/proc/stat",
    "2.6",
    "Hardware interrupts served by all CPUs."
);
descriptor!(
    pub(super) static SOFTIRQS,
    "cgscope_host_softirqs_total",
    "softirqs",
    Count,
    Counter,
    Host,
    &["kind"],
    "/proc/softirqs",
    "2.6.31",
    "Softirqs served by all CPUs, by kind."
);
descriptor!(
    pub(super) static FORKS,
    "cgscope_host_forks_total",
    "forks",
    Count,
    Counter,
    Host,
    &[],
    "/proc/stat",
    "2.6",
    "Processes and threads created since the host started."
);
descriptor!(
    pub(super) static PROCESSES,
    "cgscope_host_processes",
    "runnable",
    Count,
    Gauge,
    Host,
    &["state"],
    "/proc/stat",
    "2.6",
    "Threads that run or wait for a CPU (running), or are blocked in I/O (blocked)."
);
descriptor!(
    pub(super) static THREADS,
    "cgscope_host_threads",
    "threads",
    Count,
    Gauge,
    Host,
    &[],
    "/proc/loadavg",
    "2.6",
    "Threads that exist, those of the kernel included."
);
descriptor!(
    pub(super) static MEMORY,
    "cgscope_host_memory_bytes",
    "memory",
    Bytes,
    Gauge,
    Host,
    &["kind"],
    "/proc/meminfo",
    "3.14",
    "Memory by kind; the kinds overlap and do not sum to the total."
);
descriptor!(
    pub(super) static PAGE_FAULTS,
    "cgscope_host_page_faults_total",
    "page faults",
    Count,
    Counter,
    Host,
    &["kind"],
    "/proc/vmstat",
    "2.6",
    "Page faults that were settled from memory (minor), and that waited for a disk (major)."
);
descriptor!(
    pub(super) static RECLAIMED_PAGES,
    "cgscope_host_reclaimed_pages_total",
    "reclaimed",
    Count,
    Counter,
    Host,
    &["by"],
    "/proc/vmstat",
    "3.4",
    "Pages that were freed to be used otherwise: by the kernel's thread for that (kswapd), by threads that wanted memory \
     themselves, limits of cgroups included (direct), by others (other)."
);
descriptor!(
    pub(super) static MEMORY_STALLS,
    "cgscope_host_memory_stalls_total",
    "memory stalls",
    Count,
    Counter,
    Host,
    &["reason"],
    "/proc/vmstat",
    "4.10",
    "How often a thread had to free memory itself because the host was short (reclaim), or to move pages for a large one \
     (compaction)."
);
descriptor!(
    pub(super) static SWAPPED_PAGES,
    "cgscope_host_swapped_pages_total",
    "swapping",
    Count,
    Counter,
    Host,
    &["direction"],
    "/proc/vmstat",
    "2.6",
    "Pages swapped in and out."
);
descriptor!(
    pub(super) static OOM_KILLS,
    "cgscope_host_oom_kills_total",
    "OOM kills",
    Count,
    Counter,
    Host,
    &[],
    "/proc/vmstat",
    "4.13",
    "Processes that the kernel killed for want of memory, in cgroups or on the whole host."
);
descriptor!(
    pub(super) static PRESSURE,
    "cgscope_host_pressure_seconds_total",
    "pressure",
    Seconds,
    Counter,
    Host,
    &["resource", "kind"],
    "/proc/pressure",
    "4.20",
    "Wall time in which some threads, or all that were not idle (full), stalled for want of a resource; absent without PSI."
);

/// Every metric of the host.
pub static DESCRIPTORS: &[&Descriptor] = &[
    &CPU,
    &LOAD,
    &SWITCHES,
    &INTERRUPTS,
    &SOFTIRQS,
    &FORKS,
    &PROCESSES,
    &THREADS,
    &MEMORY,
    &PAGE_FAULTS,
    &RECLAIMED_PAGES,
    &MEMORY_STALLS,
    &SWAPPED_PAGES,
    &OOM_KILLS,
    &PRESSURE,
    &interfaces::BYTES,
    &interfaces::PACKETS,
    &interfaces::ERRORS,
    &interfaces::DROPS,
    &disks::OPERATIONS,
    &disks::BYTES,
    &disks::WAITS,
    &disks::BUSY,
    &processes::LIVING,
];

/// A label value.
pub(super) type Label = Cow<'static, str>;

/// A total of the host.
pub(super) fn counter(
    metric: &'static Descriptor,
    labels: impl Into<LabelValues>,
    total: u64,
) -> Sample {
    sample(metric, labels.into(), Value::Counter(total))
}

/// A state of the host.
pub(super) fn gauge(
    metric: &'static Descriptor,
    labels: impl Into<LabelValues>,
    now: f64,
) -> Sample {
    sample(metric, labels.into(), Value::Gauge(now))
}

fn sample(metric: &'static Descriptor, labels: LabelValues, value: Value) -> Sample {
    Sample { metric, subject: Subject::Host, labels, value }
}
