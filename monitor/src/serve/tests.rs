//! Routes over a backend that is fed real ticks, through the real router, without a socket.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::Value as Json;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{
    backend::{Backend, BackendError, BoxFuture, ProfileRequest, Target, Watch, process_subject},
    report::{DoctorReport, ProbesReport},
    routes::{ending, router},
};
use crate::{
    container::{
        Options, Registry,
        limits::{Change, Changes},
        switched_off,
    },
    kernel::{
        cgroupfs::{CgroupTree, Hierarchy, HierarchyId},
        host::{Health, SourceStatus},
        ids::Tgid,
    },
    metric::{
        Descriptor, Histogram, Kind, KtimeNs, Sample, Scope, Subject, Tick, Unit, Value, WallTimeNs,
    },
    profile::{Profile, ProfileKind},
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
        samples.push(Sample { metric: &RUNQUEUE, subject, labels: Box::default(), value });
    }
    samples.push(Sample {
        metric: &THREADS,
        subject: Subject::Host,
        labels: Box::default(),
        value: Value::Gauge(17.0),
    });
    Tick { at: WallTimeNs(second * ns), taken: KtimeNs(second * ns), samples }
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

    fn changes(&self) -> Vec<Change> {
        let mut changes = Changes::default();
        for (id, old, new) in [(WEB, None, Some(20_000_000)), (DB, Some(7_000_000), None)] {
            let container = self.registry.find(id).unwrap();
            changes.compare(&container, &[(&QUOTA, old)], &[(&QUOTA, new)]);
        }
        changes.latest()
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
        let address = address.map(|address| address.parse().unwrap());
        let backend: Arc<dyn Backend> = fed.clone();
        Self { router: router(backend, ending, address, 99), fed, end }
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

#[tokio::test]
async fn containers_by_stall() {
    let server = Server::new(5);
    let list = server.json("/api/v1/containers").await;
    assert_eq!(list["span_ns"], 1_000_000_000u64);
    let rows = list["containers"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "we\"b"], "the most stalled first, no unit, no process");
    assert_eq!(rows[0]["activity"]["stall"], 0.75);
    assert_eq!(rows[0]["activity"]["cpu_cores"], 0.5);
    assert_eq!(rows[1]["id"], WEB);
    let all = server.json("/api/v1/containers?all=true").await;
    let all = all["containers"].as_array().unwrap();
    let process_id = format!("process:{}", process());
    assert!(all.iter().any(|row| row["name"] == "nginx.service"));
    assert!(all.iter().all(|row| row["id"] != process_id));
}

#[tokio::test]
async fn one_container_with_the_metrics_asked_for() {
    let server = Server::new(5);
    let list = server
        .json("/api/v1/containers?container=db&metrics=cgscope_sched_cpu_seconds_total")
        .await;
    let rows = list["containers"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["metrics"][0]["per_second"], 0.5);
    assert_eq!(rows[0]["metrics"][0]["unit"], "seconds");
    let detail = server.json("/api/v1/containers/we%22b?duration=3s").await;
    assert_eq!(detail["span_ns"], 3_000_000_000u64);
    let metrics = detail["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 5);
    let waits = metrics.iter().find(|m| m["kind"] == "distribution").unwrap();
    assert_eq!(waits["count"], 30);
}

#[tokio::test]
async fn latency_of_container_host_and_prefix() {
    let server = Server::new(20);
    for path in ["/containers/we%22b/latency", "/containers/4aa6/latency", "/host/latency"] {
        let report = server.json(&format!("/api/v1{path}?duration=10s")).await;
        let distribution = &report["distributions"][0];
        assert_eq!(distribution["name"], RUNQUEUE.name);
        assert_eq!(distribution["count"], 100, "{path}");
        let buckets = distribution["buckets"].as_array().unwrap();
        let sum: u64 = buckets.iter().map(|b| b["count"].as_u64().unwrap()).sum();
        assert_eq!(sum, 100);
        assert!(buckets[0]["le_ns"].as_u64().unwrap() > 3_000_000);
        let p99 = distribution["p99_ns"].as_u64().unwrap();
        assert!((2_600_000..3_400_000).contains(&p99), "{p99}");
    }
    let report = server.json("/api/v1/containers/db/latency?duration=1s").await;
    assert_eq!(report["distributions"], serde_json::json!([]));
}

#[tokio::test]
async fn sources_with_their_age() {
    let server = Server::new(1);
    let list = server.json("/api/v1/sources").await;
    let [read, off] = &list["sources"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&read["enabled"], &read["health"]), (&true.into(), &"ok".into()));
    assert!(read["age_ns"].as_u64().unwrap() < 60_000_000_000);
    assert_eq!((&off["enabled"], &off["health"]), (&false.into(), &"disabled".into()));
    assert_eq!(off["age_ns"], Json::Null);
}

#[tokio::test]
async fn changes_of_limits_with_what_they_were() {
    let server = Server::new(1);
    let all = server.json("/api/v1/changes").await;
    let changes = all["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!((&changes[0]["name"], &changes[0]["new"]), (&"db".into(), &Json::Null));
    assert_eq!(changes[0]["old"], 0.007);
    let of_web = server.json("/api/v1/changes?container=we%22b").await;
    let [change] = &of_web["changes"].as_array().unwrap()[..] else { panic!("{of_web}") };
    assert_eq!((&change["container"], &change["metric"]), (&WEB.into(), &QUOTA.name.into()));
    assert_eq!((&change["old"], &change["new"]), (&Json::Null, &0.02.into()));
    assert_eq!(server.refused("/api/v1/changes?container=nobody").await.0, 404);
}

#[tokio::test]
async fn states_sum_to_one() {
    let server = Server::new(5);
    let report = server.json("/api/v1/containers/db/states?duration=2s").await;
    assert_eq!(report["about"]["kind"], "container");
    let states = report["activity"]["states"].as_array().unwrap();
    let sum: f64 = states.iter().map(|s| s["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let host = server.json("/api/v1/host/states?duration=2s").await;
    assert_eq!(host["activity"]["cpu_cores"], 1.0, "two containers, not the watched process");
}

#[tokio::test]
async fn a_window_that_is_not_there_yet_is_waited_for() {
    let server = Server::new(2);
    let live = server.fed.live.clone();
    let feed = tokio::spawn(async move {
        for second in 2..=8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            live.add(tick(second));
        }
    });
    let report = server.json("/api/v1/containers/we%22b/latency?duration=5s").await;
    assert_eq!(report["span_ns"], 5_000_000_000u64);
    feed.await.unwrap();
}

#[tokio::test]
async fn a_process_is_watched_as_long_as_it_is_asked_for() {
    let server = Server::new(1);
    let live = server.fed.live.clone();
    let watched = Arc::clone(&server.fed.watched);
    let feed = tokio::spawn(async move {
        for second in 1..=5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(watched.load(Ordering::SeqCst), 1);
            live.add(tick(second));
        }
    });
    let report = server.json(&format!("/api/v1/processes/{}/latency?duration=4s", process())).await;
    assert_eq!(report["about"]["pid"], process().0);
    assert_eq!(report["distributions"][0]["count"], 40);
    feed.await.unwrap();
    assert_eq!(server.fed.watched.load(Ordering::SeqCst), 0);
    assert_eq!(server.refused("/api/v1/processes/4194305/states").await.0, 410);
}

#[tokio::test]
async fn senseless_requests_are_told_what_would_be_right() {
    let server = Server::new(5);
    for (path, status) in [
        ("/api/v1/containers?nonsense=1", 400),
        ("/api/v1/containers?all=maybe", 400),
        ("/api/v1/containers?duration=0s", 400),
        ("/api/v1/containers/db/latency?duration=11m", 400),
        ("/api/v1/containers/db/latency?duration=x", 400),
        ("/api/v1/containers/nobody", 404),
        ("/api/v1/containers/nobody/latency", 404),
        ("/api/v1/processes/x/latency", 400),
        ("/api/v1/processes/0/latency", 400),
        ("/api/v1/flamegraph?frequency=10001", 400),
        ("/api/v1/flamegraph?frequency=0", 400),
        ("/api/v1/flamegraph?type=wall", 400),
        ("/api/v1/flamegraph?type=offcpu&frequency=99", 400),
        ("/api/v1/flamegraph?container=db&pid=1", 400),
        ("/api/v1/flamegraph?pid=0", 400),
        ("/api/v1/flamegraph?format=png", 400),
        ("/api/v1/flamegraph?container=nobody", 404),
        ("/api/v1/probes?x=1", 400),
        ("/nothing", 404),
        ("/api/v1/nothing", 404),
    ] {
        let (got, body) = server.refused(path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(!body["error"].as_str().unwrap().is_empty(), "{path}");
        assert!(!body["remedy"].as_str().unwrap().is_empty(), "{path}");
    }
    let (_, body) = server.refused("/api/v1/containers/bd").await;
    assert_eq!(body["remedy"], "near it: db");
    assert!(server.fed.asked.lock().unwrap().is_empty(), "nothing was recorded");
}

#[tokio::test]
async fn a_recording_is_drawn_in_a_world_of_its_own() {
    let server = Server::new(2);
    let path = "/api/v1/flamegraph?container=db&duration=10ms&frequency=999";
    let (status, headers, body) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"image/svg+xml".parse().unwrap())
    );
    assert!(body.contains("<svg"), "{body}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("sandbox allow-scripts") && !policy.contains("same-origin"),
        "{policy}"
    );
    let asked = server.fed.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, Target::Container(DB.into()));
    assert_eq!((asked[0].frequency_hz, asked[0].duration), (999, Duration::from_millis(10)));
    assert_eq!(asked[0].kind, ProfileKind::OnCpu);
    let path = "/api/v1/flamegraph?type=offcpu&container=db&duration=10ms";
    let (status, _, body) = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(status == StatusCode::OK && body.contains("Off-CPU"), "{body}");
    assert_eq!(server.fed.asked.lock().unwrap()[1].kind, ProfileKind::OffCpu);
}

#[tokio::test]
async fn the_page_is_strict_and_answers_are_private() {
    let server = Server::new(0);
    for (path, media_type) in
        [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")]
    {
        let (status, headers, body) =
            server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers["content-type"].to_str().unwrap().starts_with(media_type));
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!body.is_empty());
    }
    let (_, page) = server.get("/").await;
    assert!(!page.contains("<script>") && !page.contains(" style=") && !page.contains("onclick"));
}

#[tokio::test]
async fn only_loopback_names_and_no_other_sites() {
    let server = Server::bound(2, Some("127.0.0.1:7070"));
    let with = |name: &str, value: &str| {
        Request::get("/api/v1/probes").header(name, value).body(Body::empty()).unwrap()
    };
    assert_eq!(server.ask(with("host", "localhost:7070")).await.0, StatusCode::OK);
    assert_eq!(
        server.ask(with("host", "evil.example:7070")).await.0,
        StatusCode::MISDIRECTED_REQUEST
    );
    assert_eq!(server.ask(with("x-none", "")).await.0, StatusCode::MISDIRECTED_REQUEST);
    let cross = Request::get("/api/v1/flamegraph")
        .header("host", "localhost")
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty());
    assert_eq!(server.ask(cross.unwrap()).await.0, StatusCode::FORBIDDEN);
    assert!(server.fed.asked.lock().unwrap().is_empty());
    let open = Server::bound(2, Some("0.0.0.0:7070"));
    assert_eq!(open.ask(with("host", "host.example")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_the_daemon_says_of_itself() {
    let server = Server::new(3);
    assert_eq!(server.json("/api/v1/probes").await["cpu_seconds"], 1.5);
    assert_eq!(server.json("/api/v1/doctor").await["kernel"], "6.18");
    let host = server.json("/api/v1/host").await;
    assert_eq!(host["metrics"][0]["value"], 17.0);
    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn the_stream_has_an_event_per_tick_and_ends_with_the_daemon() {
    let server = Server::new(2);
    let request = Request::get("/api/v1/stream").body(Body::empty()).unwrap();
    let answer = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let live = server.fed.live.clone();
    let end = server.end.clone();
    tokio::spawn(async move {
        for second in 2..=4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            live.add(tick(second));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        end.send(true).unwrap();
    });
    let body = tokio::time::timeout(Duration::from_secs(10), to_bytes(answer.into_body(), 1 << 20));
    let body = String::from_utf8(body.await.expect("it ended").unwrap().to_vec()).unwrap();
    assert_eq!(body.matches("event: overview").count(), 4, "{body}");
    let data = body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: Json = serde_json::from_str(data).unwrap();
    assert_eq!(data["containers"][0]["name"], "db");
}

#[tokio::test]
async fn the_end_is_quick_with_streams_and_recordings_under_way() {
    let server = Server::new(2);
    let (listener, address) = super::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let taken = super::server::bind(address).unwrap_err();
    assert!(matches!(taken, super::ServeError::InUse { .. }), "{taken}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = server.router.clone();
    let serving = tokio::spawn(super::server::serve(listener, router, server.end.clone(), async {
        let _ = stopped.await;
    }));
    let ask = |path: &'static str| {
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .build()
                .into();
            let mut answer = agent.get(format!("http://{address}{path}")).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string())
        })
    };
    let stream = ask("/api/v1/stream");
    let recording = ask("/api/v1/flamegraph?duration=5m");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(recording.await.unwrap().0, 503);
    assert_eq!(stream.await.unwrap().0, 200);
}
