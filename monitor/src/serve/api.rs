//! What the API answers: one set of types for the server and for the command line that asks it.
//!
//! Contract: times are integer nanoseconds and say so in their names; other numbers are in the `unit` beside them. What is
//! not known is absent or `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{backend::ErrorKind, openapi::values};
use crate::{
    analyze::{Activity, Change, Culprit, Series},
    container::Container,
    metric::{Histogram, Kind, Unit, WallTimeNs},
};

/// Containers and what they did in a window, the most stalled first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerList {
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// The containers.
    pub containers: Vec<ContainerRow>,
}

/// One container and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerRow {
    /// Who it is.
    #[serde(flatten)]
    pub container: Container,
    /// Whether its cgroup is still there.
    pub alive: bool,
    /// What it did; absent when nothing of it ran under observation.
    pub activity: Option<Activity>,
    /// The metrics that were asked for; all of them in the details of one container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Measurement>,
}

/// Everything measured of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerDetail {
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// Who it is, what it did, and every metric of it.
    #[serde(flatten)]
    pub row: ContainerRow,
}

/// Everything measured of the whole host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostReport {
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// Every metric of it.
    pub metrics: Vec<Measurement>,
}

/// One metric with one set of labels, in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Measurement {
    /// The metric.
    pub name: String,
    /// Its heading, short.
    pub title: String,
    /// Its unit; of `per_second`, that per second.
    #[schema(value_type = values::MetricUnit)]
    pub unit: String,
    /// Values of its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What was measured.
    #[serde(flatten)]
    pub value: Measured,
}

/// What was measured, in the metric's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Measured {
    /// It only grows.
    Counter {
        /// Since it was first seen.
        total: f64,
        /// In the window.
        per_second: Option<f64>,
    },
    /// It goes up and down.
    Gauge {
        /// At the end of the window.
        value: f64,
    },
    /// The values of the window.
    Distribution(Distribution),
}

/// A distribution of latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// Their mean.
    pub mean_ns: Option<f64>,
    /// Quantiles, each off by at most an eighth.
    pub p50_ns: Option<u64>,
    /// 90 of 100 were shorter.
    pub p90_ns: Option<u64>,
    /// 95 of 100 were shorter.
    pub p95_ns: Option<u64>,
    /// 99 of 100 were shorter.
    pub p99_ns: Option<u64>,
    /// 999 of 1,000 were shorter.
    pub p999_ns: Option<u64>,
    /// Upper bound of the largest.
    pub max_ns: Option<u64>,
    /// The buckets that hold something, shortest first.
    pub buckets: Vec<Bucket>,
}

/// One bucket of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// The smallest latency in it.
    pub ge_ns: u64,
    /// Its upper bound; `null` for the last, which has none.
    pub le_ns: Option<u64>,
    /// Values in it.
    pub count: u64,
}

/// Whom a report is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum About {
    /// All containers, units and processes of the host together.
    Host,
    /// One container.
    Container(Box<Container>),
    /// One process.
    Process {
        /// Its id in the initial pid namespace.
        pid: u32,
        /// Its name, when it could be read.
        name: Option<String>,
    },
}

/// The distributions of one subject in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyReport {
    /// Of whom.
    pub about: About,
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// Every distribution that is measured.
    pub distributions: Vec<NamedDistribution>,
}

/// One distribution and what it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamedDistribution {
    /// The metric.
    pub name: String,
    /// Its heading, short.
    pub title: String,
    /// What it tells.
    pub help: String,
    /// Values of its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The values of the window.
    #[serde(flatten)]
    pub distribution: Distribution,
}

/// Where the thread time of one subject went in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatesReport {
    /// Of whom.
    pub about: About,
    /// When the window ended.
    pub at: WallTimeNs,
    /// How long it was.
    pub span_ns: u64,
    /// Where the time went.
    pub activity: Activity,
    /// Who ran while its threads were `runnable`, most first: waits that ended in the window. Not measured for a process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waited_for: Vec<Culprit>,
}

/// An error as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong, with the object it went wrong on.
    pub error: String,
    /// What to do about it.
    pub remedy: String,
    /// Its kind.
    pub kind: ErrorKind,
}

impl Measurement {
    /// A series of a window of `span_ns`.
    pub fn of(series: &Series, span_ns: u64) -> Self {
        let unit = series.metric.unit;
        let value = match &series.change {
            Change::Counter { total, increase } => Measured::Counter {
                total: in_unit(unit, *total as f64),
                per_second: (span_ns > 0)
                    .then(|| in_unit(unit, *increase as f64) * 1e9 / span_ns as f64),
            },
            Change::Gauge(value) => Measured::Gauge { value: in_unit(unit, *value) },
            Change::Distribution(histogram) => Measured::Distribution(histogram.as_ref().into()),
        };
        Self {
            name: series.metric.name.to_owned(),
            title: series.metric.title.to_owned(),
            unit: unit_name(unit).to_owned(),
            labels: labels(series),
            value,
        }
    }
}

impl NamedDistribution {
    /// A series, if it is a distribution.
    pub fn of(series: &Series) -> Option<Self> {
        let Change::Distribution(histogram) = &series.change else { return None };
        debug_assert_eq!(series.metric.kind, Kind::Distribution);
        Some(Self {
            name: series.metric.name.to_owned(),
            title: series.metric.title.to_owned(),
            help: series.metric.help.to_owned(),
            labels: labels(series),
            distribution: histogram.as_ref().into(),
        })
    }
}

impl From<&Histogram> for Distribution {
    fn from(histogram: &Histogram) -> Self {
        use monitor_common::bucket;
        let buckets = histogram.buckets().map(|(i, count)| Bucket {
            ge_ns: bucket::lower_bound_ns(i),
            le_ns: (i < bucket::COUNT - 1).then(|| bucket::upper_bound_ns(i)),
            count,
        });
        Self {
            count: histogram.count(),
            sum_ns: histogram.sum_ns,
            mean_ns: histogram.mean_ns(),
            p50_ns: histogram.quantile_ns(0.5),
            p90_ns: histogram.quantile_ns(0.9),
            p95_ns: histogram.quantile_ns(0.95),
            p99_ns: histogram.quantile_ns(0.99),
            p999_ns: histogram.quantile_ns(0.999),
            max_ns: histogram.max_ns(),
            buckets: buckets.collect(),
        }
    }
}

/// A number as it is kept, in the unit it is exposed in. A division, as 10^-9 has no exact float: 60 ms are 0.06 s.
pub fn in_unit(unit: Unit, kept: f64) -> f64 {
    match unit {
        Unit::Seconds => kept / 1e9,
        Unit::Bytes | Unit::Ratio | Unit::Count => kept,
    }
}

/// A unit as the API writes it.
pub fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Ratio => "ratio",
        Unit::Count => "count",
    }
}

fn labels(series: &Series) -> BTreeMap<String, String> {
    let names = series.metric.labels.iter();
    names
        .zip(series.labels.iter())
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect()
}
