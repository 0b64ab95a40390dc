//! Which path is answered by whom.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    handler::Handler,
    http::{Method, StatusCode, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use super::{
    assets, audit,
    backend::{Backend, BackendError},
    batch, buckets, changes, containers,
    error::ApiError,
    flamegraph, guard, host,
    kept::Shelf,
    openapi::{
        self,
        describe::Described,
        table::{Group, Route},
        values,
    },
    outliers, past, profiles, prometheus, query, sources, stream,
    tape::{self, Flight},
    window::Newest,
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
    /// What remembers everything of the last minutes, if anything does.
    pub flight: Option<Flight>,
}

/// How an engine is served.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// Where it listens; without a socket there is no address and no check of names.
    pub bound: Option<SocketAddr>,
    /// Samples per second and CPU of recordings that do not say.
    pub frequency_hz: u32,
    /// What remembers everything of the last minutes, if anything does.
    pub flight: Option<Flight>,
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

/// Everything that is served.
pub fn router(backend: Arc<dyn Backend>, ending: Ending, serving: Serving) -> Router {
    let Serving { bound, frequency_hz, flight } = serving;
    let served = Served {
        backend,
        ending,
        loopback_only: bound.is_some_and(|address| address.ip().is_loopback()),
        frequency_hz,
        kept: Shelf::default(),
        newest: Newest::default(),
        flight,
    };
    let described = groups().into_iter().flat_map(|group| group.routes);
    described
        .fold(Router::new(), |router, route| route.routed(router))
        .route("/", get(assets::page))
        .route("/icon.svg", get(assets::file))
        .route("/assets/{file}", get(assets::file))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_get)
        .layer(middleware::from_fn_with_state(served.clone(), guard::guard))
        .with_state(served)
}

/// All but the dashboard: what is answered, by whom, and what that is. The router and the document are made from it.
pub(super) fn groups() -> Vec<Group> {
    vec![
        Group {
            name: "containers",
            about: "Containers, units and processes: what they did in a window of the last ten minutes.",
            routes: of_containers(),
        },
        Group {
            name: "host",
            about: "The whole machine, and what stands out on it.",
            routes: of_host(),
        },
        Group {
            name: "profiles",
            about: "Flame graphs: recorded now, kept, or of the past.",
            routes: of_profiles(),
        },
        Group {
            name: "history",
            about: "What was measured up to a year ago. Without history, `--no-history`, it answers 501.",
            routes: of_history(),
        },
        Group {
            name: "itself",
            about: "What the daemon costs, loses and lacks, and how right its figures are.",
            routes: of_itself(),
        },
        Group {
            name: "prometheus",
            about: "The same history for programs that ask Prometheus. Parameters that are not known are left alone, as it does.",
            routes: of_prometheus(),
        },
    ]
}

fn api<H, T, I>(path: &str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Served> + Described<I>,
    T: 'static,
{
    Route::get(format!("/api/v1{path}"), summary, handler)
}

fn of_containers() -> Vec<Route> {
    vec![
        api(
            "/containers",
            "Containers and what they did in a window, the most stalled first.",
            containers::list,
        ),
        api(
            "/containers/{id}",
            "One container: who it is, what it did, and every metric of it.",
            containers::detail,
        )
        .with(values::container),
        api(
            "/containers/{id}/latency",
            "The distributions of a container in a window.",
            containers::latency,
        )
        .with(values::container),
        api(
            "/containers/{id}/states",
            "Where the time of a container's threads went in a window, and who ran while they waited for a CPU.",
            containers::states,
        )
        .with(values::container),
        api(
            "/processes/{pid}/latency",
            "The distributions of a process in a window that begins now.",
            containers::process_latency,
        )
        .with(values::process),
        api(
            "/processes/{pid}/states",
            "Where the time of a process' threads went in a window that begins now.",
            containers::process_states,
        )
        .with(values::process),
        api(
            "/changes",
            "Limits of containers that were changed while the daemon ran, the newest first.",
            changes::list,
        ),
        api(
            "/stream",
            "The overview at each tick, as server-sent events: each event `overview` has the described object in its data.",
            stream::stream,
        ),
    ]
}

fn of_host() -> Vec<Route> {
    vec![
        api("/host", "Every metric of the host.", host::host),
        api(
            "/host/latency",
            "The distributions of all containers, units and processes together.",
            containers::host_latency,
        ),
        api(
            "/host/states",
            "Where the time of all threads went in a window.",
            containers::host_states,
        ),
        api(
            "/outliers",
            "The slowest operations of each second, the slowest first.",
            outliers::list,
        ),
        Route::get("/metrics", "Every metric as OpenMetrics text, for scrapers.", host::metrics),
    ]
}

fn of_profiles() -> Vec<Route> {
    vec![
        api(
            "/flamegraph",
            "Records stacks for as long as `duration` and draws them; with `start` or `end` it draws what was kept, with `against` as well the \
             difference of two ranges.",
            flamegraph::record,
        ),
        api(
            "/activity",
            "How much ran when: what to choose a range of the past by.",
            past::activity,
        ),
        api("/profiles", "The recordings that are kept, the newest first.", profiles::list),
        api("/profiles/{id}", "A recording that is kept, in any format.", profiles::one)
            .with(values::recording),
        api(
            "/profiles/{id}/diff",
            "The difference of two recordings that are kept.",
            profiles::diff,
        )
        .with(values::recording),
    ]
}

fn of_history() -> Vec<Route> {
    vec![
        api(
            "/query",
            "A metric over time: one line for each series, or for several together.",
            query::query,
        ),
        api(
            "/buckets",
            "A distribution over time, as heat maps draw it: of the parameters `metric`, `match`, `start`, `end` and `step`.",
            buckets::buckets,
        ),
        api(
            "/batch",
            "Several questions of `/query` and `/buckets` at once, each with an answer and a status of its own.",
            batch::batch,
        ),
        api("/series", "What can be asked for.", query::series),
        api("/labels/{label}", "The values of a label.", query::label_values).with(values::label),
    ]
}

fn of_itself() -> Vec<Route> {
    vec![
        api("/probes", "What the kernel half and the daemon cost and lose.", host::probes),
        api("/doctor", "What this kernel offers and what is missing.", host::doctor),
        api(
            "/sources",
            "The files that are read again and again, and how that goes.",
            sources::list,
        ),
        api(
            "/record",
            "Records all that is measured for a while: a file for `cgscope replay`, which grows while it is read.",
            tape::record,
        ),
        api(
            "/flight",
            "All that the flight recorder holds of the last minutes, at once: a file for `cgscope replay`.",
            tape::flight,
        ),
        api("/recording", "What is replayed, if this is a recording.", tape::recording),
        api("/audit", "What was counted, held against the kernel's own accounts.", audit::report),
        api("/openapi.json", "This document.", openapi::served),
    ]
}

/// Prometheus' API: clients ask it with GET, and with POST when the query is long.
fn of_prometheus() -> Vec<Route> {
    let (range, values) = (prometheus::query_range, prometheus::label_values);
    let path = |end: &str| format!("/prometheus/api/v1{end}");
    vec![
        Route::get(path("/query"), "An expression at an instant.", prometheus::query)
            .or_post(prometheus::query)
            .with(openapi::prometheus_query),
        Route::get(path("/query_range"), "An expression over time.", range)
            .or_post(range)
            .with(openapi::prometheus_range),
        Route::get(path("/series"), "Series by their labels.", prometheus::series)
            .or_post(prometheus::series)
            .with(openapi::prometheus_series),
        Route::get(path("/labels"), "Names of labels.", prometheus::labels)
            .or_post(prometheus::labels)
            .with(openapi::prometheus_labels),
        Route::get(path("/label/{name}/values"), "Values of a label.", values)
            .or_post(values)
            .with(openapi::prometheus_label),
        Route::get(
            path("/metadata"),
            "Metrics, their kinds and what they tell.",
            prometheus::metadata,
        )
        .with(openapi::prometheus_metadata),
        Route::get(path("/status/buildinfo"), "Who answers.", prometheus::build_info),
    ]
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
