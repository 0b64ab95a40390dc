//! What questions about the past answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::values;

/// A metric over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueryAnswer {
    /// The metric.
    pub metric: String,
    /// Its kind.
    #[schema(value_type = values::MetricKind)]
    pub kind: String,
    /// What the values are; of a rate, that per second.
    #[schema(value_type = values::MetricUnit)]
    pub unit: String,
    /// What was made of each step.
    #[serde(rename = "fn")]
    #[schema(value_type = values::FunctionName)]
    pub function: String,
    /// The first instant, ns since the epoch.
    pub start_ns: u64,
    /// The end, not in it.
    pub end_ns: u64,
    /// Length of a step.
    pub step_ns: u64,
    /// The coarsest stored points that the values were made from.
    pub resolution_ns: u64,
    /// The other range, if the answer is held against one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub against: Option<AgainstAnswer>,
    /// One line each, in the order of their labels; those without any value are left out.
    pub series: Vec<SeriesAnswer>,
}

/// The range that an answer is held against; its steps are as many and as long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgainstAnswer {
    /// Its first instant, ns since the epoch.
    pub start_ns: u64,
    /// Its end, not in it.
    pub end_ns: u64,
    /// The coarsest stored points that its values were made from.
    pub resolution_ns: u64,
}

/// One series, or several taken together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = QuerySeries)]
pub struct SeriesAnswer {
    /// Its labels, or those it was taken together by.
    pub labels: BTreeMap<String, String>,
    /// How many series it is made of.
    pub merged: usize,
    /// A value for each step, `null` where nothing was measured.
    pub values: Vec<Option<f64>>,
    /// Those of the other range, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub against: Option<Vec<Option<f64>>>,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesList {
    /// How many there are.
    pub total: usize,
    /// Where the next list begins; `null` at the end.
    pub cursor: Option<usize>,
    /// Some of them, in the order of their metrics and labels.
    pub series: Vec<SeriesName>,
}

/// A series that was stored, of the living or the dead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesName {
    /// The metric.
    pub metric: String,
    /// Its kind.
    #[schema(value_type = values::MetricKind)]
    pub kind: String,
    /// Its unit.
    #[schema(value_type = values::MetricUnit)]
    pub unit: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The values of a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LabelValuesAnswer {
    /// In alphabetical order.
    pub values: Vec<String>,
}
