//! What Prometheus' HTTP API answers, as its clients read it.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use crate::promql::{ErrorKind, Labels, Notes, Outcome, PromqlError, Sample, format_number};

/// An answer.
#[derive(Serialize)]
pub struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    infos: Vec<String>,
}

impl<T> Success<T> {
    /// With nothing else to say.
    pub fn new(data: T) -> Self {
        Self::with(data, Notes::default())
    }

    /// With what there is to say beside it.
    pub fn with(data: T, notes: Notes) -> Self {
        let warnings = notes.warnings.into_iter().collect();
        Self { status: "success", data, warnings, infos: notes.infos.into_iter().collect() }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// No answer, as it is written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PrometheusError)]
pub struct FailureBody {
    /// `error`.
    status: &'static str,
    /// `bad_data`, `execution`, `timeout`, `internal` or `unavailable`.
    error_type: &'static str,
    /// What is wrong.
    error: String,
}

/// No answer.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    /// A request that could not be read.
    pub fn rejected(status: StatusCode, message: String) -> Self {
        Self { status, kind: "bad_data", message }
    }

    /// Nobody can be asked now.
    pub fn unavailable(message: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message }
    }
}

impl From<PromqlError> for Failure {
    fn from(error: PromqlError) -> Self {
        let (status, kind) = match error.kind {
            ErrorKind::BadData => (StatusCode::BAD_REQUEST, "bad_data"),
            ErrorKind::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message: error.message }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = FailureBody { status: "error", error_type: self.kind, error: self.message };
        (self.status, Json(body)).into_response()
    }
}

/// What a query comes to.
#[derive(Serialize, ToSchema)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
#[schema(as = PrometheusData)]
pub enum QueryData {
    /// A number.
    Scalar(Point),
    /// A text.
    String((At, String)),
    /// A number for each series.
    Vector(Vec<One>),
    /// Several for each series.
    Matrix(Vec<Many>),
}

/// A series with one value.
#[derive(Serialize, ToSchema)]
#[schema(as = PrometheusSample)]
pub struct One {
    /// Its labels.
    metric: Metric,
    /// The value.
    value: Point,
}

/// A series with several values.
#[derive(Serialize, ToSchema)]
#[schema(as = PrometheusSeries)]
pub struct Many {
    /// Its labels.
    metric: Metric,
    /// The values.
    values: Vec<Point>,
}

impl From<Outcome> for QueryData {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Scalar(sample) => Self::Scalar(Point(sample)),
            Outcome::Text(at_ms, text) => Self::String((At(at_ms), text)),
            Outcome::Vector(vector) => {
                let one = |(labels, sample)| One { metric: Metric(labels), value: Point(sample) };
                Self::Vector(vector.into_iter().map(one).collect())
            }
            Outcome::Matrix(matrix) => Self::Matrix(
                matrix
                    .into_iter()
                    .map(|series| Many {
                        metric: Metric(series.labels),
                        values: series.samples.into_iter().map(Point).collect(),
                    })
                    .collect(),
            ),
        }
    }
}

/// Labels as an object.
#[derive(ToSchema)]
#[schema(as = PrometheusMetric, value_type = BTreeMap<String, String>)]
pub struct Metric(pub Labels);

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Seconds since 1970, to the millisecond.
pub struct At(pub i64);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000 == 0 {
            serializer.serialize_i64(self.0 / 1_000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1e3)
        }
    }
}

/// An instant and a number, which is a text: JSON has no infinity.
pub struct Point(pub Sample);

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.value;
        // All digits of what is very large or small help nobody.
        let is_long = value.is_finite() && value != 0.0 && !(1e-6..1e21).contains(&value.abs());
        let text = if is_long { format!("{value:e}") } else { format_number(value) };
        (At(self.0.at_ms), text).serialize(serializer)
    }
}

/// What is known of a metric.
#[derive(Serialize, ToSchema)]
#[schema(as = PrometheusMetadata)]
pub struct Metadata {
    /// `counter`, `gauge` or `histogram`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Empty: it is in the name.
    pub unit: &'static str,
}

/// By the names of metrics.
pub type AllMetadata = BTreeMap<&'static str, Vec<Metadata>>;

/// Who answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PrometheusBuildInfo)]
pub struct BuildInfo {
    /// The version of Prometheus whose API and language this is.
    pub version: &'static str,
    /// The program and its version.
    pub revision: &'static str,
    /// Nothing.
    pub branch: &'static str,
    /// Nothing.
    pub build_user: &'static str,
    /// Nothing.
    pub build_date: &'static str,
    /// Nothing.
    pub go_version: &'static str,
}
