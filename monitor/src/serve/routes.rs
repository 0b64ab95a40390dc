//! Which path is answered by whom.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use super::{
    assets, audit, backend::Backend, backend::BackendError, batch, buckets, changes, containers,
    error::ApiError, flamegraph, guard, host, kept::Shelf, outliers, past, profiles, prometheus,
    query, sources, stream, tape, window::Newest,
};

/// What every handler shares.
#[derive(Clone)]
pub struct Served {
    pub backend: Arc<dyn Backend>,
    pub ending: Ending,
    /// Whether only loopback names are answered.
    pub loopback_only: bool,
    /// Samples per second and CPU of recordings that do not say.
    pub frequency_hz: u32,
    /// Recordings that can be looked at again.
    pub kept: Shelf,
    /// What happened between the last two ticks.
    pub newest: Newest,
}

/// Tells streams and long requests that the daemon ends.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns when the daemon ends.
    pub async fn wait(&mut self) {
        // An error means that nobody can end it any more, which is the end as well.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}

/// The two halves of the end: send `true`, and whoever waits is told.
pub fn ending() -> (watch::Sender<bool>, Ending) {
    let (sender, receiver) = watch::channel(false);
    (sender, Ending(receiver))
}

/// Everything that is served. `bound` is where it listens; without a socket there is no address and no check of names.
pub fn router(
    backend: Arc<dyn Backend>,
    ending: Ending,
    bound: Option<SocketAddr>,
    frequency_hz: u32,
) -> Router {
    let loopback_only = bound.is_some_and(|address| address.ip().is_loopback());
    let kept = Shelf::default();
    let served =
        Served { backend, ending, loopback_only, frequency_hz, kept, newest: Newest::default() };
    let api = Router::new()
        .route("/containers", get(containers::list))
        .route("/containers/{id}", get(containers::detail))
        .route("/containers/{id}/latency", get(containers::latency))
        .route("/containers/{id}/states", get(containers::states))
        .route("/processes/{pid}/latency", get(containers::process_latency))
        .route("/processes/{pid}/states", get(containers::process_states))
        .route("/record", get(tape::record))
        .route("/recording", get(tape::recording))
        .route("/host", get(host::host))
        .route("/host/latency", get(containers::host_latency))
        .route("/host/states", get(containers::host_states))
        .route("/sources", get(sources::list))
        .route("/changes", get(changes::list))
        .route("/outliers", get(outliers::list))
        .route("/audit", get(audit::report))
        .route("/flamegraph", get(flamegraph::record))
        .route("/activity", get(past::activity))
        .route("/profiles", get(profiles::list))
        .route("/profiles/{id}", get(profiles::one))
        .route("/profiles/{id}/diff", get(profiles::diff))
        .route("/probes", get(host::probes))
        .route("/doctor", get(host::doctor))
        .route("/query", get(query::query))
        .route("/buckets", get(buckets::buckets))
        .route("/batch", get(batch::batch))
        .route("/series", get(query::series))
        .route("/labels/{label}", get(query::label_values))
        .route("/stream", get(stream::stream));
    Router::new()
        .nest("/api/v1", api)
        .nest("/prometheus/api/v1", prometheus_api())
        .route("/metrics", get(host::metrics))
        .route("/", get(assets::page))
        .route("/icon.svg", get(assets::file))
        .route("/assets/{file}", get(assets::file))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_get)
        .layer(middleware::from_fn_with_state(served.clone(), guard::guard))
        .with_state(served)
}

/// Prometheus' API: clients ask it with GET, and with POST when the query is long.
fn prometheus_api() -> Router<Served> {
    let (range, values) = (prometheus::query_range, prometheus::label_values);
    Router::new()
        .route("/query", get(prometheus::query).post(prometheus::query))
        .route("/query_range", get(range).post(range))
        .route("/series", get(prometheus::series).post(prometheus::series))
        .route("/labels", get(prometheus::labels).post(prometheus::labels))
        .route("/label/{name}/values", get(values).post(values))
        .route("/metadata", get(prometheus::metadata))
        .route("/status/buildinfo", get(prometheus::build_info))
}

async fn nothing_here(uri: Uri) -> ApiError {
    ApiError(BackendError::NotFound {
        what: "path",
        query: uri.path().to_owned(),
        nearest: ["/", "/metrics", "/api/v1/containers"].map(str::to_owned).to_vec(),
    })
}

async fn only_get(method: Method, uri: Uri) -> Response {
    let what = format!("{method} {} is not served: nothing here is changed over HTTP", uri.path());
    let remedy = "use GET or HEAD".to_owned();
    let mut response = ApiError(BackendError::Invalid { what, remedy }).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
