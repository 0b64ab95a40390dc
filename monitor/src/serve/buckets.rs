//! `/api/v1/buckets`: a distribution over time, as heat maps draw it.

use axum::{Json, extract::State};
use monitor_common::bucket;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    backend::BackendError,
    error::ApiError,
    params::Params,
    query::{ask, now_ms},
    query_params::QueryParams,
    routes::Served,
};
use crate::store::{Gain, query::heat};

/// A distribution, step by step: all series that were meant, merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BucketsAnswer {
    /// The metric.
    pub metric: String,
    /// The first instant, ns since the epoch.
    pub start_ns: u64,
    /// The end, not in it.
    pub end_ns: u64,
    /// Length of a step.
    pub step_ns: u64,
    /// The coarsest stored points that it was made from.
    pub resolution_ns: u64,
    /// How many series were merged: those with a point in the range.
    pub merged: usize,
    /// The smallest value of each bucket; the next bucket's is its end, and the last has none.
    pub bounds_ns: Vec<u64>,
    /// The steps; `null` where nothing was measured.
    pub steps: Vec<Option<StepBuckets>>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepBuckets {
    /// Values.
    pub count: u64,
    /// Quantiles, each off by at most an eighth; absent without values.
    pub p50_ns: Option<u64>,
    /// 95 of 100 were shorter.
    pub p95_ns: Option<u64>,
    /// 99 of 100 were shorter.
    pub p99_ns: Option<u64>,
    /// Places in `bounds_ns` and the values there, of the buckets that hold something.
    pub buckets: Vec<(u8, u64)>,
}

impl From<Gain> for StepBuckets {
    fn from(gain: Gain) -> Self {
        let histogram = gain.histogram();
        Self {
            count: gain.values(),
            p50_ns: histogram.quantile_ns(0.5),
            p95_ns: histogram.quantile_ns(0.95),
            p99_ns: histogram.quantile_ns(0.99),
            buckets: gain.buckets,
        }
    }
}

pub(super) async fn buckets(
    State(served): State<Served>,
    Params(params): Params<QueryParams>,
) -> Result<Json<BucketsAnswer>, ApiError> {
    let is_plain = params.function.is_none()
        && params.q.is_none()
        && params.by.is_none()
        && params.aggregate.is_none()
        && params.against.is_none();
    if !is_plain {
        return Err(ApiError(BackendError::Invalid {
            what: "buckets are merged, and nothing is made of them".to_owned(),
            remedy: "leave out fn, q, by, aggregate and against, or ask /api/v1/query".to_owned(),
        }));
    }
    let (query, _) = params.questions(now_ms(&served))?;
    let metric = query.metric.clone();
    let heat = ask(served, move |snapshot| heat(snapshot, &query)).await?;
    let ns = |ms: u64| ms.saturating_mul(1_000_000);
    Ok(Json(BucketsAnswer {
        metric,
        start_ns: ns(heat.start_ms),
        end_ns: ns(heat.end_ms),
        step_ns: ns(heat.step_ms),
        resolution_ns: ns(heat.resolution_ms),
        merged: heat.merged,
        bounds_ns: (0..bucket::COUNT).map(bucket::lower_bound_ns).collect(),
        steps: heat.steps.into_iter().map(|step| step.map(StepBuckets::from)).collect(),
    }))
}
