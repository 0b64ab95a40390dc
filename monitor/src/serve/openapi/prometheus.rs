//! What Prometheus' API takes and answers, as its clients know it: https://prometheus.io/docs/prometheus/latest/querying/api.

use axum::http::StatusCode;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, OneOfBuilder, RefOr, Required, Schema,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ArrayBuilder, ArrayItems, Type},
    },
};

use super::{
    JSON,
    describe::{Answer, Draft, Input},
    values,
};
use crate::serve::{
    api::ErrorBody,
    prometheus_api::{At, Failure, FailureBody, Point, Success},
    prometheus_params::{Fields, MAX_SELECTORS},
};

/// The rows of the table say what they are.
impl Input for Fields {
    fn describe(_: &mut Draft<'_>) {}
}

impl<T: ToSchema> Answer for Success<T> {
    fn describe(draft: &mut Draft<'_>) {
        let sentences = || ArrayBuilder::new().items(text());
        let answer = ObjectBuilder::new()
            .property("status", text().enum_values(Some(["success"])))
            .required("status")
            .property("data", draft.inlined::<T>())
            .required("data")
            .property("warnings", sentences())
            .property("infos", sentences());
        draft.answers(JSON, Some(answer.into()));
    }
}

impl Answer for Failure {
    fn describe(draft: &mut Draft<'_>) {
        let body = draft.schema::<FailureBody>();
        for (status, when) in [
            (StatusCode::BAD_REQUEST, "A parameter is missing or makes no sense."),
            (StatusCode::UNPROCESSABLE_ENTITY, "The expression cannot be evaluated."),
            (StatusCode::INTERNAL_SERVER_ERROR, "It went wrong."),
        ] {
            draft.refuses_with(status, when, body.clone());
        }
        if draft.method == utoipa::openapi::HttpMethod::Post {
            for (status, when) in [
                (StatusCode::PAYLOAD_TOO_LARGE, "The form is too long."),
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is no form."),
            ] {
                draft.refuses_with(status, when, body.clone());
            }
        }
        let either = OneOfBuilder::new().item(body).item(draft.schema::<ErrorBody>());
        let when = "It took too long, nothing can be asked, or the daemon is shutting down.";
        draft.refuses_with(StatusCode::SERVICE_UNAVAILABLE, when, either.into());
    }
}

impl PartialSchema for At {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).into()
    }
}

impl ToSchema for At {}

impl PartialSchema for Point {
    fn schema() -> RefOr<Schema> {
        let at = Object::with_type(Type::Number);
        let value = Object::with_type(Type::String);
        ArrayBuilder::new()
            .description(Some("Seconds since 1970, and a number as text."))
            .prefix_items([at, value])
            .items(ArrayItems::False)
            .min_items(Some(2))
            .into()
    }
}

impl ToSchema for Point {
    fn name() -> std::borrow::Cow<'static, str> {
        "PrometheusPoint".into()
    }
}

/// Of `/query`.
pub fn query(draft: &mut Draft<'_>) {
    draft.field(needed(field("query", "The expression.", text())));
    draft.field(field("time", "The instant, the present when not said.", instant()));
    draft.field(timeout());
}

/// Of `/query_range`.
pub fn range(draft: &mut Draft<'_>) {
    draft.field(needed(field("query", "The expression.", text())));
    draft.field(needed(field("start", "The first instant.", instant())));
    draft.field(needed(field("end", "The last instant.", instant())));
    draft.field(needed(field("step", "From one instant to the next.", span())));
    draft.field(timeout());
}

/// Of `/series`.
pub fn series(draft: &mut Draft<'_>) {
    draft.field(needed(selectors()));
    listed(draft);
}

/// Of `/labels`.
pub fn labels(draft: &mut Draft<'_>) {
    draft.field(selectors());
    listed(draft);
}

/// Of `/label/{name}/values`.
pub fn label(draft: &mut Draft<'_>) {
    values::segment(draft, "name", "The name of the label.", text());
    labels(draft);
}

/// Of `/metadata`.
pub fn metadata(draft: &mut Draft<'_>) {
    draft.field(field("metric", "Only this metric.", text()));
    draft.field(limit());
}

fn listed(draft: &mut Draft<'_>) {
    draft.field(limit());
    draft.field(timeout());
}

fn selectors() -> Parameter {
    let texts = ArrayBuilder::new().items(text()).max_items(Some(MAX_SELECTORS));
    field("match[]", "Selectors; a series is meant that meets any of them.", texts)
}

fn limit() -> Parameter {
    let number = values::integer(0, None).default(Some(0.into()));
    field("limit", "The most entries; 0 for all.", number)
}

fn timeout() -> Parameter {
    field("timeout", "How long it may take, at most as long as it may by itself.", span())
}

fn field(name: &str, what: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(what))
        .schema(Some(schema))
        .build()
}

fn needed(mut parameter: Parameter) -> Parameter {
    parameter.required = Required::True;
    parameter
}

/// Seconds since 1970, or a date and time.
fn instant() -> ObjectBuilder {
    values::text("^[0-9+.eE-]+$|^[0-9]{4}-.*T.*$", ["1767225600.5", "2026-01-01T00:00:00Z"])
}

/// Seconds, or numbers with units.
fn span() -> ObjectBuilder {
    values::text("^([0-9.]+(ms|y|w|d|h|m|s))+$|^[0-9+.eE-]+$", ["15", "1h30m"])
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
