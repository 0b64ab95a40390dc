//! `/api/v1/containers` and `/api/v1/processes`: lists, details, distributions and states.

use std::time::Duration;

use axum::{Json, extract::State};

use super::{
    api::{
        About, ContainerDetail, ContainerList, LatencyReport, Measurement, NamedDistribution,
        StatesReport,
    },
    backend::BackendError,
    error::ApiError,
    params::{
        DEFAULT_DURATION, ListParams, Params, RecentParams, Segment, WindowParams, duration_or,
    },
    routes::Served,
    subject::{self, Names},
    window,
};
use crate::{
    analyze::{Activity, SubjectWindow, Window, culprits, together},
    kernel::ids::Tgid,
    metric::WallTimeNs,
};

/// Names an error lists.
const NEAR: usize = 5;

type Answer<T> = Result<Json<T>, ApiError>;

/// What one subject did in a window, and who it is.
struct Part {
    about: About,
    id: String,
    /// When the window ended.
    at: WallTimeNs,
    span_ns: u64,
    part: SubjectWindow,
}

pub async fn list(
    State(served): State<Served>,
    Params(params): Params<ListParams>,
) -> Answer<ContainerList> {
    let duration = duration_or(params.duration, Duration::ZERO)?;
    let wanted = metrics(&served, params.metrics.as_deref())?;
    let only = params.container.as_deref();
    let only = only.map(|query| subject::find(&*served.backend, query)).transpose()?;
    let window = window::recent(served.backend.live(), &served.newest, duration).await?;
    let all = params.all || only.is_some();
    let mut rows = subject::rows(&window, served.backend.registry(), all, &wanted);
    if let Some(only) = only {
        rows.retain(|row| row.container == *only);
    }
    Ok(Json(ContainerList { at: window.at, span_ns: span_ns(&window), containers: rows }))
}

/// The names in a list, each of which must be one of a container's metrics.
fn metrics<'a>(served: &Served, names: Option<&'a str>) -> Result<Vec<&'a str>, BackendError> {
    let known = if names.is_some() { served.backend.metrics() } else { vec![] };
    let check = |name: &'a str| {
        if known.iter().any(|metric| metric.name == name) {
            return Ok(name);
        }
        let near = known.iter().map(|metric| metric.name).filter(|known| known.contains(name));
        let near: Vec<&str> = near.take(NEAR).collect();
        let near = if near.is_empty() || name.is_empty() {
            String::new()
        } else {
            format!("; near it: {}", near.join(", "))
        };
        Err(BackendError::Invalid {
            what: format!("containers have no metric {name:?}"),
            remedy: format!("docs/metrics.md lists them{near}"),
        })
    };
    names.into_iter().flat_map(|names| names.split(',')).map(check).collect()
}

pub async fn detail(
    State(served): State<Served>,
    Segment(query): Segment,
    Params(params): Params<RecentParams>,
) -> Answer<ContainerDetail> {
    let duration = duration_or(params.duration, Duration::ZERO)?;
    let container = subject::find(&*served.backend, &query)?;
    let subject = subject::subject_of(&container);
    let mut window = window::recent_of(served.backend.live(), &subject, duration).await?;
    let span_ns = span_ns(&window);
    let part = window.subjects.remove(&subject);
    let activity = part.as_ref().map(|part| Activity::of(container.id.as_str(), part, span_ns));
    let mut row = subject::row(&container, activity);
    let series = part.iter().flat_map(|part| &part.series);
    row.metrics = series.map(|series| Measurement::of(series, span_ns)).collect();
    Ok(Json(ContainerDetail { at: window.at, span_ns, row }))
}

pub async fn latency(
    State(served): State<Served>,
    Segment(query): Segment,
    Params(params): Params<WindowParams>,
) -> Answer<LatencyReport> {
    Ok(Json(container(&served, &query, params).await?.latency()))
}

pub async fn states(
    State(served): State<Served>,
    Segment(query): Segment,
    Params(params): Params<WindowParams>,
) -> Answer<StatesReport> {
    Ok(Json(
        container(&served, &query, params).await?.states(&Names::of(served.backend.registry())),
    ))
}

pub async fn process_latency(
    State(served): State<Served>,
    Segment(pid): Segment,
    Params(params): Params<WindowParams>,
) -> Answer<LatencyReport> {
    Ok(Json(process(&served, &pid, params).await?.latency()))
}

pub async fn process_states(
    State(served): State<Served>,
    Segment(pid): Segment,
    Params(params): Params<WindowParams>,
) -> Answer<StatesReport> {
    Ok(Json(process(&served, &pid, params).await?.states(&Names::of(served.backend.registry()))))
}

pub async fn host_latency(
    State(served): State<Served>,
    Params(params): Params<WindowParams>,
) -> Answer<LatencyReport> {
    Ok(Json(host(&served, params).await?.latency()))
}

pub async fn host_states(
    State(served): State<Served>,
    Params(params): Params<WindowParams>,
) -> Answer<StatesReport> {
    Ok(Json(host(&served, params).await?.states(&Names::of(served.backend.registry()))))
}

async fn container(served: &Served, query: &str, params: WindowParams) -> Result<Part, ApiError> {
    let duration = duration_or(params.duration, DEFAULT_DURATION)?;
    let container = subject::find_soon(&*served.backend, query).await?;
    let subject = subject::subject_of(&container);
    let mut window = window::recent_of(served.backend.live(), &subject, duration).await?;
    // One that did nothing has no samples: empty distributions say so.
    let part = window.subjects.remove(&subject).unwrap_or_default();
    Ok(Part {
        id: container.id.as_str().to_owned(),
        about: About::Container(Box::new(container.as_ref().clone())),
        at: window.at,
        span_ns: span_ns(&window),
        part,
    })
}

async fn process(served: &Served, pid: &str, params: WindowParams) -> Result<Part, ApiError> {
    let duration = duration_or(params.duration, DEFAULT_DURATION)?;
    let process = match pid.parse::<u32>() {
        Ok(pid @ 1..) => Tgid(pid),
        _ => {
            return Err(ApiError(BackendError::Invalid {
                what: format!("{pid:?} is no process id"),
                remedy: "a process id is a number from 1".to_owned(),
            }));
        }
    };
    let about = subject::about_process(process);
    let watch = served.backend.watch(process)?;
    // A watch outlives its process: time after its end would dilute every rate.
    let is_gone = || !subject::is_running(process);
    let window = window::from_now(served.backend.live(), duration, &watch.subject, is_gone).await?;
    let mut window = window.ok_or(BackendError::ProcessGone(process))?;
    let part = window.subjects.remove(&watch.subject).unwrap_or_default();
    Ok(Part {
        id: format!("process:{process}"),
        about,
        at: window.at,
        span_ns: span_ns(&window),
        part,
    })
}

async fn host(served: &Served, params: WindowParams) -> Result<Part, ApiError> {
    let duration = duration_or(params.duration, DEFAULT_DURATION)?;
    let window = window::recent(served.backend.live(), &served.newest, duration).await?;
    let part = together(&window, |id| !subject::is_process(id));
    Ok(Part {
        id: "all".to_owned(),
        about: About::Host,
        at: window.at,
        span_ns: span_ns(&window),
        part,
    })
}

impl Part {
    fn latency(self) -> LatencyReport {
        LatencyReport {
            at: self.at,
            span_ns: self.span_ns,
            distributions: self.part.series.iter().filter_map(NamedDistribution::of).collect(),
            about: self.about,
        }
    }

    fn states(self, names: &Names) -> StatesReport {
        StatesReport {
            at: self.at,
            span_ns: self.span_ns,
            activity: Activity::of(&self.id, &self.part, self.span_ns),
            waited_for: culprits(&self.part, |id| names.name(id)),
            about: self.about,
        }
    }
}

pub fn span_ns(window: &Window) -> u64 {
    window.span.as_nanos() as u64
}
