//! What the live stream says of each container and of the host beside their states: a few numbers, ready to be shown.
//!
//! Contract: they are of the same two ticks as the states; what was not measured is absent, never 0.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{api::ContainerRow, subject, tape::RecordedBrief};
use crate::{
    analyze::{Change, Series, SubjectWindow, Window},
    container::Container,
    metric::{Histogram, Subject, WallTimeNs},
};

const NETWORK_BYTES: [&str; 2] = ["cgscope_tcp_bytes_total", "cgscope_udp_bytes_total"];

/// The overview at a tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveList {
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// The host.
    pub host: HostBrief,
    /// The containers, the most stalled first.
    pub containers: Vec<LiveRow>,
    /// Of what recording it is the last; `null` where it is measured.
    #[serde(default)]
    pub recording: Option<RecordedBrief>,
}

/// One container in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveRow {
    /// As in the list of containers.
    #[serde(flatten)]
    pub row: ContainerRow,
    /// What stands beside.
    pub brief: Brief,
}

/// A container in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Brief {
    /// Memory that is charged to it.
    pub memory_bytes: Option<f64>,
    /// The most it may use; absent without a limit.
    pub memory_limit_bytes: Option<f64>,
    /// CPUs that its quota is worth; absent without one.
    pub cpu_limit_cores: Option<f64>,
    /// Sent and received by TCP and UDP.
    pub network_bytes_per_second: Option<f64>,
    /// Read and written on disks.
    pub block_bytes_per_second: Option<f64>,
    /// One in a hundred of its block requests took longer; absent without requests.
    pub block_p99_ns: Option<u64>,
}

/// The host in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostBrief {
    /// CPUs that worked, on average.
    pub cpu_busy_cores: Option<f64>,
    /// CPUs there are.
    pub cpu_count: Option<u64>,
    /// Memory that is not available any more.
    pub memory_used_bytes: Option<f64>,
    /// Memory there is.
    pub memory_total_bytes: Option<f64>,
    /// Read and written on all disks.
    pub block_bytes_per_second: Option<f64>,
    /// Sent and received by TCP and UDP, of all containers, units and processes.
    pub network_bytes_per_second: Option<f64>,
    /// Share of wall time (0..=1) in which some thread stalled for want of a CPU.
    pub cpu_pressure: Option<f64>,
    /// Of memory.
    pub memory_pressure: Option<f64>,
    /// Of disks.
    pub io_pressure: Option<f64>,
    /// Mean number of threads that ran or waited, over a minute.
    pub load_1m: Option<f64>,
}

impl LiveList {
    /// The overview of a window; see [`subject::rows`].
    pub fn of(window: &Window, registry: &crate::container::Registry, all: bool) -> Self {
        let rows = subject::rows(window, registry, all, &[]);
        let containers = rows.into_iter().map(|row| {
            let brief = Brief::of(window, &row.container);
            LiveRow { row, brief }
        });
        Self {
            at: window.at,
            span_ns: window.span.as_nanos() as u64,
            host: HostBrief::of(window),
            containers: containers.collect(),
            recording: None,
        }
    }
}

impl Brief {
    fn of(window: &Window, container: &Container) -> Self {
        let Some(part) = window.subjects.get(&subject::subject_of(container)) else {
            return Self::default();
        };
        let span_s = window.span.as_secs_f64();
        Self {
            memory_bytes: gauge(part, "cgscope_memory_use_bytes", None),
            memory_limit_bytes: gauge(part, "cgscope_memory_limit_bytes", None),
            cpu_limit_cores: gauge(part, "cgscope_limits_cpu_cores", None),
            network_bytes_per_second: per_second(part, &NETWORK_BYTES, span_s),
            block_bytes_per_second: per_second(part, &["cgscope_block_bytes_total"], span_s),
            block_p99_ns: block_latency(part).quantile_ns(0.99),
        }
    }
}

impl HostBrief {
    fn of(window: &Window) -> Self {
        let span_s = window.span.as_secs_f64();
        let of_containers = window.subjects.iter().filter(|(subject, _)| match subject {
            Subject::Container(id) => !subject::is_process(id),
            Subject::Host => false,
        });
        let network =
            of_containers.filter_map(|(_, part)| per_second(part, &NETWORK_BYTES, span_s));
        let network_bytes_per_second = network.reduce(|sum, one| sum + one);
        let Some(part) = window.subjects.get(&Subject::Host) else {
            return Self { network_bytes_per_second, ..Self::default() };
        };
        // Its files are read a little before the tick, on a busy machine sometimes longer before one than before the other.
        let span_s = cpu_time_s(part).unwrap_or(span_s);
        let memory = |kind| gauge(part, "cgscope_host_memory_bytes", Some(kind));
        let total = memory("total");
        let cpu = named(part, "cgscope_host_cpu_seconds_total");
        let cpus: BTreeSet<&str> =
            cpu.filter_map(|series| Some(&**series.labels.first()?)).collect();
        let pressure = |resource: &str| {
            let ns = part.increase("cgscope_host_pressure_seconds_total", &[resource, "some"])?;
            (span_s > 0.0).then(|| (ns as f64 / 1e9 / span_s).min(1.0))
        };
        Self {
            cpu_busy_cores: busy_cores(part, span_s),
            cpu_count: (!cpus.is_empty()).then_some(cpus.len() as u64),
            memory_used_bytes: total.zip(memory("available")).map(|(total, left)| total - left),
            memory_total_bytes: total,
            block_bytes_per_second: per_second(part, &["cgscope_block_device_bytes_total"], span_s),
            network_bytes_per_second,
            cpu_pressure: pressure("cpu"),
            memory_pressure: pressure("memory"),
            io_pressure: pressure("io"),
            load_1m: gauge(part, "cgscope_host_load", Some("1m")),
        }
    }
}

fn named<'a>(part: &'a SubjectWindow, name: &str) -> impl Iterator<Item = &'a Series> {
    part.series.iter().filter(move |series| series.metric.name == name)
}

/// A gauge, of the series with that first label if one is given.
fn gauge(part: &SubjectWindow, name: &str, label: Option<&str>) -> Option<f64> {
    let is_it = |series: &&Series| {
        label.is_none_or(|label| series.labels.first().is_some_and(|first| first == label))
    };
    match named(part, name).find(is_it)?.change {
        Change::Gauge(value) => Some(value),
        _ => None,
    }
}

/// All series of some counters together; `None` where there is none.
fn per_second(part: &SubjectWindow, names: &[&str], span_s: f64) -> Option<f64> {
    let grown = names.iter().flat_map(|name| named(part, name)).filter_map(increase);
    let sum = grown.reduce(|sum, one| sum + one)?;
    (span_s > 0.0).then(|| sum as f64 / span_s)
}

fn increase(series: &Series) -> Option<u64> {
    match series.change {
        Change::Counter { increase, .. } => Some(increase),
        _ => None,
    }
}

/// Wall time between the two readings of `/proc/stat`: what a CPU did, idling and what was taken from it included. The middle
/// one's, as a CPU that came on line counts from its own beginning.
fn cpu_time_s(part: &SubjectWindow) -> Option<f64> {
    let mut by_cpu: BTreeMap<&str, u64> = BTreeMap::new();
    for series in named(part, "cgscope_host_cpu_seconds_total") {
        *by_cpu.entry(series.labels.first()?).or_default() += increase(series)?;
    }
    let mut times: Vec<u64> = by_cpu.into_values().filter(|time_ns| *time_ns > 0).collect();
    times.sort_unstable();
    let middle = times.get(times.len().checked_sub(1)? / 2)?;
    Some(*middle as f64 / 1e9)
}

/// CPU time that was neither idle nor waiting for a disk, nor taken by the hypervisor.
fn busy_cores(part: &SubjectWindow, span_s: f64) -> Option<f64> {
    let rests = |mode: &str| matches!(mode, "idle" | "iowait" | "steal");
    let series = named(part, "cgscope_host_cpu_seconds_total");
    let works = series.filter(|series| series.labels.get(1).is_some_and(|mode| !rests(mode)));
    let busy_ns = works.filter_map(increase).reduce(|sum, one| sum + one)?;
    (span_s > 0.0).then(|| busy_ns as f64 / 1e9 / span_s)
}

/// From its allocation to its end, of all devices and operations.
fn block_latency(part: &SubjectWindow) -> Histogram {
    let mut all = Histogram::default();
    for series in named(part, "cgscope_block_latency_seconds") {
        let is_total = series.labels.get(2).is_some_and(|phase| phase == "total");
        if let (true, Change::Distribution(histogram)) = (is_total, &series.change) {
            all.merge(histogram);
        }
    }
    all
}
