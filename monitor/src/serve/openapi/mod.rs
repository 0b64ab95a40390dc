//! The API described by itself: `/api/v1/openapi.json`, as OpenAPI 3.1 has it.
//!
//! Contract: the document is made from the table that the router is made from ([`table`]), and from the types of the handlers
//! ([`describe`]): what they take is its parameters, what they return its answers. There is no second list. Objects are closed:
//! a member that is not in the document is not in an answer ([`closing`]).

mod answers;
mod closing;
pub(super) mod describe;
mod prometheus;
pub(super) mod table;
pub(super) mod values;
mod words;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    body::Bytes,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response as HttpResponse},
};
use utoipa::openapi::{
    ComponentsBuilder, Content, Info, License, OpenApi, Paths, Ref, RefOr, Response,
    ResponseBuilder, Schema, path::Operation, tag::TagBuilder,
};

pub(super) use prometheus::{
    label as prometheus_label, labels as prometheus_labels, metadata as prometheus_metadata,
    query as prometheus_query, range as prometheus_range, series as prometheus_series,
};

use self::{describe::Schemas, table::Group};
use super::{
    api::ErrorBody,
    backend::BackendError,
    error::{ApiError, REFUSALS},
    params::{NoParams, Params},
    routes,
};

const JSON: &str = "application/json";

const ABOUT: &str = "Where each container's time goes, and who took it. Nothing is changed over this API. Times are integer \
     nanoseconds and say so in their names, instants of them are since 1970; other numbers are in the `unit` beside them. What is not \
     known is absent or `null`, never 0. An error has its `kind`, a sentence and a remedy.";

/// The document, as it is served.
#[derive(Debug)]
pub struct Document(Bytes);

impl IntoResponse for Document {
    fn into_response(self) -> HttpResponse {
        ([(CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

/// `/api/v1/openapi.json`.
pub async fn served(_: Params<NoParams>) -> Result<Document, ApiError> {
    static WRITTEN: LazyLock<Result<Bytes, String>> =
        LazyLock::new(|| text().map(Bytes::from).map_err(|error| error.to_string()));
    match &*WRITTEN {
        Ok(text) => Ok(Document(text.clone())),
        Err(error) => Err(ApiError(BackendError::Failed {
            what: format!("the description of the API cannot be written: {error}"),
            remedy: "report it with the version of cgscope".to_owned(),
        })),
    }
}

/// The document as text, the same in every program of one version.
///
/// # Errors
/// That it cannot be written as JSON.
pub fn text() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&document(routes::groups()).0)?;
    text.push('\n');
    Ok(text)
}

/// The document of a table, and names that two different schemas have.
pub(super) fn document(groups: Vec<Group>) -> (OpenApi, Vec<String>) {
    let mut schemas = Schemas::default();
    let mut paths = Paths::new();
    let mut tags = Vec::new();
    for group in groups {
        let tag = TagBuilder::new().name(group.name).description(Some(group.about));
        tags.push(tag.build());
        for route in group.routes {
            let item = route.described(group.name, &mut schemas);
            paths.paths.insert(route.path, item);
        }
    }
    let error = schemas.add::<ErrorBody>();
    let (mut by_name, clashes) = schemas.into_parts();
    let open = by_name.clone();
    by_name.values_mut().for_each(|schema| closing::close(schema, &open));
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post].into_iter().flatten();
        operations.for_each(|operation| close_operation(operation, &open));
    }
    let mut components = ComponentsBuilder::new().schemas_from_iter(by_name);
    for (status, when) in REFUSALS {
        let content = Content::new(Some(error.clone()));
        let response = ResponseBuilder::new().description(when).content(JSON, content);
        components = components.response(response_name(status), response.build());
    }
    let mut info = Info::new("cgscope", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    info.license = Some(license());
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components.build());
    document.tags = Some(tags);
    (document, clashes)
}

fn license() -> License {
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    license
}

fn close_operation(operation: &mut Operation, all: &BTreeMap<String, RefOr<Schema>>) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(Response { content, .. }) = response else { continue };
        for schema in content.values_mut().filter_map(|content| content.schema.as_mut()) {
            closing::close(schema, all);
        }
    }
}

/// Under which name the answer of a status is described: `NotFound`.
fn response_name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().replace(' ', "")
}

/// Where the answer of a status is described.
fn refusal(status: StatusCode) -> Ref {
    Ref::from_response_name(response_name(status))
}
