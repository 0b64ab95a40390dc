//! The messages of OTLP that carry metrics, as far as they are used.
//!
//! Schema: <https://github.com/open-telemetry/opentelemetry-proto>, `metrics/v1/metrics.proto` and what it includes.

use prost::Message;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
pub const CUMULATIVE: i32 = 2;

/// `ExportMetricsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportRequest {
    /// What is measured of each.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// `ExportMetricsServiceResponse`, and that of profiles: their numbers are the same.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// What it did not take.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportMetricsPartialSuccess`, `ExportProfilesPartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// Points or profiles that were refused.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `ResourceMetrics`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceMetrics {
    /// Of what.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By whom: always one.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What it is known by.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// `ScopeMetrics`.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeMetrics {
    /// Who measured.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// What was measured.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Us.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of which version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `Metric`.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its help.
    #[prost(string, tag = "2")]
    pub description: String,
    /// By UCUM.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// Its points.
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    pub data: Option<Data>,
}

/// The kinds of metrics.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    /// Goes up and down.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// Only grows.
    #[prost(message, tag = "7")]
    Sum(Sum),
    /// Buckets.
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

/// `Gauge`.
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// The points.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberPoint>,
}

/// `Sum`.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// The points.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    /// True.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// `Histogram`.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// The points.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<HistogramPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
}

/// `NumberDataPoint`.
#[derive(Clone, PartialEq, Message)]
pub struct NumberPoint {
    /// When, ns since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The value; there also where it is zero.
    #[prost(double, optional, tag = "4")]
    pub as_double: Option<f64>,
    /// The labels that are the metric's own.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// `HistogramDataPoint`.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramPoint {
    /// When, ns since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// Values in all buckets.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Their sum.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// Values in each bucket; the last is above all bounds.
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    /// The greatest value of each bucket but the last.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// The labels that are the metric's own.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `AnyValue`, of which one of two is there.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct AnyValue {
    /// A text; there also where it is empty.
    #[prost(string, optional, tag = "1")]
    pub string_value: Option<String>,
    /// A number.
    #[prost(int64, optional, tag = "3")]
    pub int_value: Option<i64>,
}

impl AnyValue {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self { string_value: Some(text.to_owned()), int_value: None }
    }

    /// A number.
    pub fn number(number: i64) -> Self {
        Self { string_value: None, int_value: Some(number) }
    }
}

impl KeyValue {
    /// A text.
    pub fn new(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue::text(value)) }
    }
}
