//! What a metric is: the one declaration its documentation, exposition help, API schema, column and chart come from.

use std::fmt;

/// The declaration of one metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `cgscope_<subsystem>_<what>_<unit>`, with `_total` on counters.
    pub name: &'static str,
    /// One sentence for a person.
    pub help: &'static str,
    /// Heading of its column and chart, short.
    pub title: &'static str,
    /// What its numbers mean in exposition; inside, times are integer nanoseconds.
    pub unit: Unit,
    /// How it behaves over time.
    pub kind: Kind,
    /// Whom it is measured for.
    pub scope: Scope,
    /// Labels besides the container's own.
    pub labels: &'static [&'static str],
    /// Where the number comes from: a tracepoint, a file.
    pub source: &'static str,
    /// The oldest kernel that gives it.
    pub kernel_floor: &'static str,
}

/// Declares a static [`Descriptor`]: visibility and name, the metric's name, its title, [`Unit`], [`Kind`], [`Scope`], labels, source,
/// kernel floor, help.
macro_rules! descriptor {
    ($visibility:vis static $static:ident, $name:expr, $title:expr, $unit:ident, $kind:ident, $scope:ident, $labels:expr, $source:expr,
     $floor:expr, $help:expr $(,)?) => {
        $visibility static $static: $crate::metric::Descriptor = $crate::metric::Descriptor {
            name: $name,
            help: $help,
            title: $title,
            unit: $crate::metric::Unit::$unit,
            kind: $crate::metric::Kind::$kind,
            scope: $crate::metric::Scope::$scope,
            labels: $labels,
            source: $source,
            kernel_floor: $floor,
        };
    };
}
pub(crate) use descriptor;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time, kept as integer nanoseconds.
    Seconds,
    /// Memory or traffic.
    Bytes,
    /// A share of 1, kept as a float.
    Ratio,
    /// Things counted.
    Count,
}

impl Unit {
    /// The factor from what is kept to what is exposed.
    pub const fn exposition_factor(self) -> f64 {
        match self {
            Self::Seconds => 1e-9,
            Self::Bytes | Self::Ratio | Self::Count => 1.0,
        }
    }
}

/// How a metric behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its rate is what people look at.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution whose buckets are counters.
    Distribution,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Distribution => "distribution",
        })
    }
}

/// Whom a metric is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each container, and what is not in one.
    Container,
    /// The whole host.
    Host,
    /// cgscope itself.
    Own,
}
