//! The metrics of the host, and making samples of them.

use std::borrow::Cow;

use crate::metric::{Descriptor, Kind, LabelValues, Sample, Scope, Subject, Unit, Value};

macro_rules! descriptor {
    ($static:ident, $name:literal, $title:literal, $unit:ident, $kind:ident, $labels:expr, $source:literal, $floor:literal,
     $help:literal) => {
        pub(super) static $static: Descriptor = Descriptor {
            name: $name,
            help: $help,
            title: $title,
            unit: Unit::$unit,
            kind: Kind::$kind,
            scope: Scope::Host,
            labels: $labels,
            source: $source,
            kernel_floor: $floor,
        };
    };
}

descriptor!(
    CPU,
    "cgscope_host_cpu_seconds_total",
    "CPU time",
    Seconds,
    Counter,
    &["cpu", "mode"],
    "/proc/stat",
    "2.6",
    "CPU time by CPU and mode; time in virtual machines is part of user and nice."
);
descriptor!(
    LOAD,
    "cgscope_host_load",
    "load",
    Count,
    Gauge,
    &["period"],
    "/proc/loadavg",
    "2.6",
    "Mean number of threads that ran, waited for a CPU or blocked without being interruptible."
);
descriptor!(
    SWITCHES,
    "cgscope_host_context_switches_total",
    "switches",
    Count,
    Counter,
    &[],
    "/proc/stat",
    "2.6",
    "Context switches of all CPUs, those to the idle task included."
);
descriptor!(
    INTERRUPTS,
    "cgscope_host_interrupts_total",
    "interrupts",
    Count,
    Counter,
    &[],
    "/proc/stat",
    "2.6",
    "Hardware interrupts served by all CPUs."
);
descriptor!(
    SOFTIRQS,
    "cgscope_host_softirqs_total",
    "softirqs",
    Count,
    Counter,
    &["kind"],
    "/proc/softirqs",
    "2.6.31",
    "Softirqs served by all CPUs, by kind."
);
descriptor!(
    FORKS,
    "cgscope_host_forks_total",
    "forks",
    Count,
    Counter,
    &[],
    "/proc/stat",
    "2.6",
    "Processes and threads created since the host started."
);
descriptor!(
    PROCESSES,
    "cgscope_host_processes",
    "runnable",
    Count,
    Gauge,
    &["state"],
    "/proc/stat",
    "2.6",
    "Threads that run or wait for a CPU (running), or are blocked in I/O (blocked)."
);
descriptor!(
    THREADS,
    "cgscope_host_threads",
    "threads",
    Count,
    Gauge,
    &[],
    "/proc/loadavg",
    "2.6",
    "Threads that exist, those of the kernel included."
);
descriptor!(
    MEMORY,
    "cgscope_host_memory_bytes",
    "memory",
    Bytes,
    Gauge,
    &["kind"],
    "/proc/meminfo",
    "3.14",
    "Memory by kind; the kinds overlap and do not sum to the total."
);
descriptor!(
    PAGE_FAULTS,
    "cgscope_host_page_faults_total",
    "page faults",
    Count,
    Counter,
    &["kind"],
    "/proc/vmstat",
    "2.6",
    "Page faults that were settled from memory (minor), and that waited for a disk (major)."
);
descriptor!(
    RECLAIMED_PAGES,
    "cgscope_host_reclaimed_pages_total",
    "reclaimed",
    Count,
    Counter,
    &["by"],
    "/proc/vmstat",
    "3.4",
    "Pages that were freed to be used otherwise: by the kernel's thread for that (kswapd), by threads that wanted memory \
     themselves, limits of cgroups included (direct), by others (other)."
);
descriptor!(
    MEMORY_STALLS,
    "cgscope_host_memory_stalls_total",
    "memory stalls",
    Count,
    Counter,
    &["reason"],
    "/proc/vmstat",
    "4.10",
    "How often a thread had to free memory itself because the host was short (reclaim), or to move pages for a large one \
     (compaction)."
);
descriptor!(
    SWAPPED_PAGES,
    "cgscope_host_swapped_pages_total",
    "swapping",
    Count,
    Counter,
    &["direction"],
    "/proc/vmstat",
    "2.6",
    "Pages swapped in and out."
);
descriptor!(
    OOM_KILLS,
    "cgscope_host_oom_kills_total",
    "OOM kills",
    Count,
    Counter,
    &[],
    "/proc/vmstat",
    "4.13",
    "Processes that the kernel killed for want of memory, in cgroups or on the whole host."
);
descriptor!(
    PRESSURE,
    "cgscope_host_pressure_seconds_total",
    "pressure",
    Seconds,
    Counter,
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
