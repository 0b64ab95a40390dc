//! The extractors and answers of handlers, as the document tells them.

use axum::{Json, extract::State, http::StatusCode, response::sse::Sse};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        HeaderBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema,
        path::ParameterIn,
        schema::{AdditionalProperties, Type},
    },
};

use super::{
    Document, JSON,
    describe::{Answer, Draft, Input},
};
use crate::{
    profile::{DiffDocument, Format, ProfileDocument},
    serve::{
        brief::LiveList,
        error::ApiError,
        flamegraph::{Drawing, PROFILE_ID},
        host::Exposition,
        params::{Params, Segment},
        profiles::DrawnDifference,
        tape::TapeFile,
    },
};

impl<S> Input for State<S> {
    fn describe(_: &mut Draft<'_>) {}
}

impl<T: IntoParams> Input for Params<T> {
    fn describe(draft: &mut Draft<'_>) {
        let parameters = T::into_params(|| Some(ParameterIn::Query));
        parameters.into_iter().for_each(|parameter| draft.parameter(parameter));
        draft.refuses(StatusCode::BAD_REQUEST);
    }
}

/// The row of the table says what it stands for.
impl Input for Segment {
    fn describe(draft: &mut Draft<'_>) {
        draft.refuses(StatusCode::BAD_REQUEST);
    }
}

impl<T: Input, E> Input for Result<T, E> {
    fn describe(draft: &mut Draft<'_>) {
        T::describe(draft);
    }
}

impl<T: Answer, E: Answer> Answer for Result<T, E> {
    fn describe(draft: &mut Draft<'_>) {
        T::describe(draft);
        E::describe(draft);
    }
}

impl<T: ToSchema> Answer for Json<T> {
    fn describe(draft: &mut Draft<'_>) {
        let schema = draft.schema::<T>();
        draft.answers(JSON, Some(schema));
    }
}

impl Answer for ApiError {
    fn describe(draft: &mut Draft<'_>) {
        for status in [
            StatusCode::BAD_REQUEST,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::GONE,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::NOT_IMPLEMENTED,
        ] {
            draft.refuses(status);
        }
    }
}

/// Each event `overview` has one in its data.
impl<S> Answer for Sse<S> {
    fn describe(draft: &mut Draft<'_>) {
        let schema = draft.schema::<LiveList>();
        draft.answers("text/event-stream", Some(schema));
    }
}

impl Answer for Exposition {
    fn describe(draft: &mut Draft<'_>) {
        draft.answers(Self::MEDIA_TYPE, Some(plain_text()));
    }
}

impl Answer for TapeFile {
    fn describe(draft: &mut Draft<'_>) {
        draft.answers(Self::MEDIA_TYPE, None);
    }
}

impl Answer for Document {
    fn describe(draft: &mut Draft<'_>) {
        let document = ObjectBuilder::new()
            .description(Some("A document as OpenAPI 3.1 has it."))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        draft.answers(JSON, Some(holding(document, &["openapi", "info", "paths", "components"])));
    }
}

impl Answer for Drawing {
    fn describe(draft: &mut Draft<'_>) {
        let document = OneOfBuilder::new()
            .item(draft.schema::<ProfileDocument<'_>>())
            .item(draft.schema::<DiffDocument<'_>>())
            .item(firefox())
            .item(speedscope());
        let document = RefOr::from(document);
        for format in Format::ALL {
            let schema = match format {
                Format::Json => Some(document.clone()),
                // The same media type.
                Format::Firefox | Format::Speedscope => continue,
                Format::Svg | Format::Folded => Some(plain_text()),
                Format::Pprof => None,
            };
            draft.answers(format.media_type(), schema);
        }
        let header = HeaderBuilder::new()
            .schema(ObjectBuilder::new().schema_type(Type::String))
            .description(Some("The id of a recording that is kept, with `keep=true`."));
        draft.answers_header(PROFILE_ID.as_str(), header.build());
    }
}

impl Answer for DrawnDifference {
    fn describe(draft: &mut Draft<'_>) {
        let document = draft.schema::<DiffDocument<'_>>();
        draft.answers(Format::Json.media_type(), Some(document));
        for format in [Format::Svg, Format::Folded] {
            draft.answers(format.media_type(), Some(plain_text()));
        }
    }
}

fn plain_text() -> RefOr<Schema> {
    String::schema()
}

fn firefox() -> RefOr<Schema> {
    let what = "For profiler.firefox.com, with `format=firefox`: a processed profile, whose form is that program's.";
    holding(foreign(what), &["meta", "libs", "shared", "threads"])
}

fn speedscope() -> RefOr<Schema> {
    let what = "For speedscope.app, with `format=speedscope`, whose form is that program's.";
    holding(foreign(what), &["$schema", "shared", "profiles"])
}

fn foreign(what: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .description(Some(what))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// An object that has these members, of any kind, and others.
fn holding(object: ObjectBuilder, members: &[&str]) -> RefOr<Schema> {
    let any = || ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue);
    members
        .iter()
        .fold(object, |object, member| object.property(*member, any()).required(*member))
        .into()
}
