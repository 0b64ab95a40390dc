//! `/api/v1/batch`: several questions about the past in one request, as a page of charts asks them at each tick.
//!
//! Contract: each answer is the one its own path gives, with its own status; one that fails takes no other with it. A browser
//! spends some 0.7 ms of the page's thread on each request, which for twelve charts is more than on drawing their lines.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
};

use super::{
    api::ErrorBody,
    backend::BackendError,
    buckets::{BucketsAnswer, buckets},
    error::{ApiError, status},
    openapi::values,
    params::Params,
    query::query,
    query_api::QueryAnswer,
    routes::Served,
};

/// Questions of one request.
pub(super) const MAX_ASKED: usize = 32;

/// The answers, in the order of the questions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// One for each question.
    answers: Vec<OneAnswer>,
}

/// As if it had been asked alone.
#[derive(Debug, Serialize, ToSchema)]
struct OneAnswer {
    /// The HTTP status.
    status: u16,
    /// The answer, or the error.
    body: Body,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = OneBody)]
enum Body {
    Query(QueryAnswer),
    Buckets(BucketsAnswer),
    Error(ErrorBody),
}

/// The questions, in the order in which they stand in the address.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Asked(Vec<(String, String)>);

impl IntoParams for Asked {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let ask = ParameterBuilder::new()
            .name("ask")
            .parameter_in(ParameterIn::Query)
            .required(utoipa::openapi::Required::True)
            .description(Some("A question: `query?` or `buckets?` and its parameters, encoded. It is given once for each."))
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .schema(Some(values::Questions::schema()));
        vec![ask.build()]
    }
}

/// Each `ask` is a path below `/api/v1/` with its parameters: `query?metric=...` or `buckets?metric=...`.
pub(super) async fn batch(
    State(served): State<Served>,
    Params(Asked(pairs)): Params<Asked>,
) -> Result<Json<BatchAnswer>, ApiError> {
    if let Some((name, _)) = pairs.iter().find(|(name, _)| name != "ask") {
        return Err(invalid(format!("unknown parameter {name:?}"), "name each question `ask`"));
    }
    if pairs.is_empty() || pairs.len() > MAX_ASKED {
        let what = format!("{} questions in one request", pairs.len());
        return Err(invalid(what, &format!("ask 1 to {MAX_ASKED}")));
    }
    // All at once: they wait for nothing but CPUs.
    let asked = pairs.into_iter().map(|(_, ask)| tokio::spawn(one(served.clone(), ask)));
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.unwrap_or_else(|error| {
            Err(ApiError(BackendError::Failed {
                what: format!("the question could not be answered: {error}"),
                remedy: "report it with the question and the version of cgscope".to_owned(),
            }))
        });
        answers.push(match answer {
            Ok(body) => OneAnswer { status: StatusCode::OK.as_u16(), body },
            Err(ApiError(error)) => OneAnswer {
                status: status(&error).as_u16(),
                body: Body::Error(ErrorBody::from(&error)),
            },
        });
    }
    Ok(Json(BatchAnswer { answers }))
}

async fn one(served: Served, ask: String) -> Result<Body, ApiError> {
    let remedy = "ask for `query?...` or `buckets?...`, encoded";
    let uri = Uri::try_from(format!("/{ask}"))
        .map_err(|error| invalid(format!("{ask:?} is no path: {error}"), remedy))?;
    match uri.path() {
        "/query" => Ok(Body::Query(query(State(served), Params::of(&uri)?).await?.0)),
        "/buckets" => Ok(Body::Buckets(buckets(State(served), Params::of(&uri)?).await?.0)),
        path => Err(invalid(format!("{path:?} cannot be asked together with others"), remedy)),
    }
}

fn invalid(what: String, remedy: &str) -> ApiError {
    ApiError(BackendError::Invalid { what, remedy: remedy.to_owned() })
}
