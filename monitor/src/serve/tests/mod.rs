//! Routes over a backend that is fed real ticks, through the real router, without a socket.

mod containers;
mod flights;
mod itself;
mod openapi;
mod recordings;
mod refusals;
mod replays;
mod streams;

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use monitor_common::outlier::OutlierKind;
use serde_json::Value as Json;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{
    backend::{Backend, BackendError, BoxFuture, ProfileRequest, Watch, process_subject},
    report::{DoctorReport, ProbesReport},
    routes::{Serving, ending, router},
};
use crate::{
    analyze::audit::AuditReport,
    collect::{LatestOutliers, Outlier},
    container::{
        Options, Registry,
        limits::{Change, Changes},
        switched_off,
    },
    kernel::{
        cgroupfs::{CgroupTree, Hierarchy, HierarchyId},
        host::{Health, SourceStatus},
        ids::{Tgid, Tid},
    },
    metric::{
        Descriptor, Histogram, Kind, KtimeNs, LabelValues, Sample, Scope, Subject, Tick, Unit,
        Value, WallTimeNs,
    },
    profile::Profile,
    store::Live,
};

pub const WEB: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";
pub const DB: &str = "5bb65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";

pub static STATE: Descriptor =
    descriptor("cgscope_sched_state_seconds_total", Unit::Seconds, Kind::Counter, &["state"]);
pub static CPU: Descriptor =
    descriptor("cgscope_sched_cpu_seconds_total", Unit::Seconds, Kind::Counter, &[]);
pub static RUNQUEUE: Descriptor =
    descriptor("cgscope_sched_runqueue_latency_seconds", Unit::Seconds, Kind::Distribution, &[]);
pub static QUOTA: Descriptor =
    descriptor("cgscope_limits_cpu_quota_seconds", Unit::Seconds, Kind::Gauge, &[]);
pub static THREADS: Descriptor = descriptor("cgscope_sched_threads", Unit::Count, Kind::Gauge, &[]);

pub const fn descriptor(
    name: &'static str,
    unit: Unit,
    kind: Kind,
    labels: &'static [&'static str],
) -> Descriptor {
    Descriptor {
        name,
        help: "What it \"tells\".",
        title: "Title",
        unit,
        kind,
        scope: Scope::Container,
        labels,
        source: "test",
        kernel_floor: "5.8",
    }
}

/// A registry over a directory with two podman containers and a unit; `web` has a name that needs escaping.
pub fn registry(directory: &tempfile::TempDir) -> Registry {
    let cgroups = directory.path().join("cgroups");
    for path in [
        format!("libpod_parent/libpod-{WEB}"),
        format!("libpod_parent/libpod-{DB}"),
        "system.slice/nginx.service".to_owned(),
    ] {
        fs::create_dir_all(cgroups.join(path)).unwrap();
    }
    let list = directory.path().join("root/var/lib/containers/storage/overlay-containers");
    fs::create_dir_all(&list).unwrap();
    let names = serde_json::json!([{"id": WEB, "names": ["we\"b"]}, {"id": DB, "names": ["db"]}]);
    fs::write(list.join("containers.json"), names.to_string()).unwrap();
    let tree = CgroupTree {
        hierarchy: Hierarchy::V2,
        hierarchy_id: HierarchyId::V2,
        mount: cgroups,
        reason: String::new(),
    };
    let options =
        Options { root: directory.path().join("root"), retries: vec![], ..Options::default() };
    let registry = Registry::start_with(tree, options);
    assert!(registry.wait_for_names(Duration::from_secs(20)));
    registry
}

/// A process that runs: this one.
fn process() -> Tgid {
    Tgid(std::process::id())
}

/// What two containers, one process and the host have done until a second.
pub fn tick(second: u64) -> Tick {
    let ns = 1_000_000_000;
    let mut waits = Histogram::default();
    (0..second * 10).for_each(|_| waits.record(3_000_000));
    let of = |id: &str| Subject::Container(id.into());
    let counter = |metric, subject: &Subject, labels: &[&'static str], total| Sample {
        metric,
        subject: subject.clone(),
        labels: labels.iter().map(|&label| label.into()).collect(),
        value: Value::Counter(total),
    };
    let process = process_subject(process());
    let mut samples = vec![];
    for (subject, busy) in [(of(WEB), 1), (of(DB), 3), (process.clone(), 1)] {
        samples.push(counter(&CPU, &subject, &[], second * ns / 2));
        samples.push(counter(&STATE, &subject, &["running.user"], second * ns / 2));
        samples.push(counter(&STATE, &subject, &["runnable"], second * ns * busy / 4));
        samples.push(counter(&STATE, &subject, &["sleeping"], second * ns));
    }
    for subject in [of(WEB), process] {
        let value = Value::Distribution(Arc::new(waits.clone()));
        samples.push(Sample { metric: &RUNQUEUE, subject, labels: LabelValues::default(), value });
    }
    samples.push(Sample {
        metric: &THREADS,
        subject: Subject::Host,
        labels: LabelValues::default(),
        value: Value::Gauge(17.0),
    });
    Tick::new(WallTimeNs(second * ns), KtimeNs(second * ns), samples)
}

/// An engine whose ticks the test writes.
struct Fed {
    live: Live,
    registry: Registry,
    watched: Arc<AtomicUsize>,
    asked: Mutex<Vec<ProfileRequest>>,
    _directory: tempfile::TempDir,
}

impl Backend for Fed {
    fn live(&self) -> &Live {
        &self.live
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn probes(&self) -> ProbesReport {
        ProbesReport { cpu_seconds: Some(1.5), ..ProbesReport::default() }
    }

    fn doctor(&self) -> DoctorReport {
        DoctorReport { kernel: "6.18".to_owned(), checks: vec![] }
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let read = SourceStatus {
            is_enabled: true,
            health: Health::Ok,
            last_read: Some(KtimeNs::now()),
            ..switched_off("cgroup.limits")
        };
        vec![read, switched_off("cgroup.memory")]
    }

    fn audit(&self) -> AuditReport {
        AuditReport { rounds: 3, ..AuditReport::default() }
    }

    fn metrics(&self) -> Vec<&'static Descriptor> {
        vec![&STATE, &CPU, &RUNQUEUE]
    }

    fn changes(&self) -> Vec<Change> {
        let mut changes = Changes::default();
        for (id, old, new) in [(WEB, None, Some(20_000_000)), (DB, Some(7_000_000), None)] {
            let container = self.registry.find(id).unwrap();
            changes.compare(&container, &[(&QUOTA, old)], &[(&QUOTA, new)]);
        }
        changes.latest()
    }

    fn kernel_functions(&self, stacks: Vec<Arc<[u64]>>) -> BoxFuture<Vec<Vec<String>>> {
        let name = |address: &u64| format!("function_{address}");
        let named = stacks.iter().map(|stack| stack.iter().rev().map(name).collect()).collect();
        Box::pin(async move { named })
    }

    fn outliers(&self, span: Duration) -> LatestOutliers {
        let outlier = |id: &str, latency_ns, thread| {
            let container = self.registry.find(id).unwrap();
            Outlier {
                kind: OutlierKind::Block,
                operation: "write",
                at: WallTimeNs(9),
                latency_ns,
                queue_ns: Some(latency_ns / 4),
                service_ns: Some(latency_ns - latency_ns / 4),
                container: container.id.clone(),
                name: container.qualified_name(),
                device: Some("vda".into()),
                sector: Some(2_048),
                file: None,
                inode: None,
                stack: Some([30, 20].into()),
                bytes: 4_096,
                thread,
            }
        };
        let thread = Some((Tgid(7), Tid(8), "writer".to_owned()));
        let of_file = Outlier {
            kind: OutlierKind::File,
            operation: "sync",
            queue_ns: None,
            service_ns: None,
            sector: None,
            file: Some("/var/lib/table".into()),
            inode: Some(12),
            stack: None,
            ..outlier(DB, 1_000_000, thread.clone())
        };
        LatestOutliers {
            span: span.min(Duration::from_secs(60)),
            outliers: vec![outlier(WEB, 4_000_000, None), outlier(DB, 2_000_000, thread), of_file],
            missing: vec![(OutlierKind::File, "start the daemon with --enable files")],
        }
    }

    fn watch(&self, process: Tgid) -> Result<Watch, BackendError> {
        if process != self::process() {
            return Err(BackendError::ProcessGone(process));
        }
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.watched.fetch_add(1, Ordering::SeqCst);
        Ok(Watch::new(process_subject(process), Guard(Arc::clone(&self.watched))))
    }

    fn profile(&self, request: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>> {
        self.asked.lock().unwrap().push(request.clone());
        Box::pin(async move {
            tokio::time::sleep(request.duration).await;
            Ok(Profile {
                kind: request.kind,
                started_at: SystemTime::UNIX_EPOCH,
                duration_ns: request.duration.as_nanos() as u64,
                frequency_hz: Some(request.frequency_hz),
                scope: "host".to_owned(),
                containers: Default::default(),
                samples: vec![],
                lost: [("stack_ring_full".to_owned(), Default::default())].into(),
                drawn: Default::default(),
            })
        })
    }
}

struct Server {
    fed: Arc<Fed>,
    router: Router,
    end: watch::Sender<bool>,
}

impl Server {
    fn new(ticks: u64) -> Self {
        Self::bound(ticks, None)
    }

    fn bound(ticks: u64, address: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let live = Live::default();
        (0..ticks).for_each(|second| live.add(tick(second)));
        let fed = Arc::new(Fed {
            live,
            registry: registry(&directory),
            watched: Arc::default(),
            asked: Mutex::default(),
            _directory: directory,
        });
        let (end, ending) = ending();
        let bound = address.map(|address| address.parse().unwrap());
        let backend: Arc<dyn Backend> = fed.clone();
        let serving = Serving { bound, frequency_hz: 99, flight: None };
        Self { router: router(backend, ending, serving), fed, end }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 24).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn json(&self, path: &str) -> Json {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn refused(&self, path: &str) -> (u16, Json) {
        let (status, body) = self.get(path).await;
        (status.as_u16(), serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
    }
}
