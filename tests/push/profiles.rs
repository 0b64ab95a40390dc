//! Profiles as a receiver has them: decoded by the public schemas of pprof, Pyroscope and Parca, and held against the CPU time that the
//! kernel accounts to the container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::protobuf::{Field, fields, text};
use cgscope_tests::{Container, Daemon, Pprof, truth, wait_until};

use crate::http::{Http, Posted, Reply};

/// Windows are ten seconds long.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const FREQUENCY_HZ: f64 = 99.0;
pub const TAKEN: &str = "cgscope_own_push_samples_total";

/// A series of a request.
struct Series {
    labels: BTreeMap<String, String>,
    file: Pprof,
}

impl Series {
    /// Its window, in seconds since 1970.
    fn window(&self) -> (f64, f64) {
        let begin = self.file.time_nanos as f64 / 1e9;
        (begin, begin + self.file.duration_nanos as f64 / 1e9)
    }

    fn is_of(&self, container: &Container) -> bool {
        self.labels.get("container").is_some_and(|name| name == container.name())
    }
}

fn part(message: &[Field], number: u32) -> impl Iterator<Item = &Field> {
    message.iter().filter(move |field| field.number == number)
}

fn labels(message: &[Field]) -> BTreeMap<String, String> {
    let pair = |field: &Field| {
        let label = fields(&field.bytes);
        let of = |number| part(&label, number).next().map_or(String::new(), |f| text(&f.bytes));
        (of(1), of(2))
    };
    part(message, 1).map(pair).collect()
}

/// By the numbers of `push.v1.PushRequest`.
fn pyroscope(posted: &Posted) -> Result<Vec<Series>> {
    ensure!(posted.path == "/prefix/push.v1.PusherService/Push", "{}", posted.path);
    ensure!(posted.header("content-type") == Some("application/proto"));
    ensure!(posted.header("x-scope-orgid") == Some("team-a"), "the user's header");
    let mut all = vec![];
    for series in part(&fields(&posted.body), 1) {
        let series = fields(&series.bytes);
        for file in part(&series, 2) {
            let file = fields(&file.bytes);
            let raw = &part(&file, 1).next().context("a file")?.bytes;
            all.push(Series { labels: labels(&series), file: Pprof::parse(raw)? });
        }
    }
    Ok(all)
}

/// By the numbers of `parca.profilestore.v1alpha1.WriteRawRequest` in a frame of gRPC-Web.
fn parca(posted: &Posted) -> Result<Vec<Series>> {
    let path = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw";
    ensure!(posted.path == path, "{}", posted.path);
    ensure!(posted.header("content-type") == Some("application/grpc-web+proto"));
    let (head, message) = posted.body.split_at(5);
    ensure!(head[0] == 0 && head[1..] == u32::try_from(message.len())?.to_be_bytes());
    let mut all = vec![];
    for series in part(&fields(message), 2) {
        let series = fields(&series.bytes);
        let set = fields(&part(&series, 1).next().context("labels")?.bytes);
        for file in part(&series, 2) {
            let file = fields(&file.bytes);
            let raw = &part(&file, 1).next().context("a file")?.bytes;
            all.push(Series { labels: labels(&set), file: Pprof::parse(raw)? });
        }
    }
    Ok(all)
}

fn all(http: &Http, read: fn(&Posted) -> Result<Vec<Series>>) -> Result<Vec<Series>> {
    let mut all = vec![];
    for posted in http.taken() {
        all.extend(read(&posted)?);
    }
    Ok(all)
}

pub fn own(daemon: &Daemon, name: &str) -> Result<f64> {
    Ok(daemon.scrape()?.sum(name, &[("protocol", "profiles")]))
}

/// What `cpu.stat` said of a container, by wall time, read all the time until this is dropped.
pub struct Usage {
    seen: thread::JoinHandle<Vec<(f64, f64)>>,
    is_ending: Arc<AtomicBool>,
}

impl Usage {
    pub fn follow(container: &Container) -> Result<Self> {
        let cgroup = container.cgroup_v2()?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_ending);
        let seen = thread::spawn(move || {
            let mut seen = vec![];
            while !until.load(Ordering::Relaxed) {
                let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                let stat = truth::cpu_stat(&cgroup).unwrap();
                seen.push((at, *stat.get("usage_usec").unwrap() as f64 / 1e6));
                sleep(Duration::from_millis(20));
            }
            seen
        });
        Ok(Self { seen, is_ending })
    }

    pub fn end(self) -> Vec<(f64, f64)> {
        self.is_ending.store(true, Ordering::Relaxed);
        self.seen.join().unwrap()
    }
}

/// Between the two readings around an instant, as if it had grown evenly there.
pub fn usage_at(seen: &[(f64, f64)], at: f64) -> Option<f64> {
    let next = seen.partition_point(|(when, _)| *when <= at);
    let ((from, before), (to, after)) = (seen.get(next.checked_sub(1)?)?, seen.get(next)?);
    Some(before + (after - before) * (at - from) / (to - from))
}

#[test]
fn pyroscope_gets_each_container_as_it_ran() -> Result<()> {
    let http = Http::start(Reply::ok())?;
    let url = http.url() + "/prefix/";
    let daemon = Daemon::start(&[
        "--keep-profiles",
        "99",
        "--push-profiles",
        &url,
        "--push-profiles-label",
        "instance=host-1",
        "--push-profiles-header",
        "X-Scope-OrgID: team-a",
    ])?;
    let container = Container::run("shares", &["shares", "--seconds", "180"])?;
    let usage = Usage::follow(&container)?;
    let bystander = Container::run("burn", &["burn", "--seconds", "180"])?;
    // Its first window is not whole; three more are.
    wait_until("four windows of the container", PATIENCE, || {
        let seen = all(&http, pyroscope)?;
        Ok((seen.iter().filter(|series| series.is_of(&container)).count() >= 4).then_some(()))
    })?;
    let seen_usage = usage.end();
    let seen = all(&http, pyroscope)?;

    let mut of_it: Vec<&Series> = seen.iter().filter(|series| series.is_of(&container)).collect();
    of_it.retain(|series| usage_at(&seen_usage, series.window().0).is_some());
    of_it.retain(|series| usage_at(&seen_usage, series.window().1).is_some());
    ensure!(of_it.len() >= 3, "{} whole windows", of_it.len());
    let (mut samples, mut time_s, mut truth_s) = (0, 0.0, 0.0);
    let mut by_function: BTreeMap<&str, u64> = BTreeMap::new();
    for series in &of_it {
        let file = &series.file;
        let types = [("samples", "count"), ("cpu", "nanoseconds")];
        let types = types.map(|(name, unit)| (name.to_owned(), unit.to_owned()));
        ensure!(file.types == types, "{:?}", file.types);
        samples += file.total(0);
        time_s += file.total(1) as f64 / 1e9;
        let (begin, end) = series.window();
        let at = |at| usage_at(&seen_usage, at).context("cpu.stat");
        truth_s += at(end)? - at(begin)?;
        for sample in &file.samples {
            ensure!(sample.labels.is_empty(), "each would be a series there: {:?}", sample.labels);
            let has = |name: &str| {
                sample.locations.iter().any(|place| place.functions.iter().any(|f| f == name))
            };
            for function in ["hot_sixty", "hot_thirty", "hot_ten"] {
                if has(function) {
                    *by_function.entry(function).or_default() += sample.values[0];
                }
            }
            let root = sample.locations.last().context("a frame")?;
            ensure!(root.functions.iter().any(|name| name.contains("shares")), "{root:?}");
        }
        ensure!(
            file.samples.len()
                == file
                    .samples
                    .iter()
                    .map(|s| format!("{:?}", s.locations))
                    .collect::<BTreeSet<_>>()
                    .len()
        );
        for (name, value) in [
            ("__name__", "process_cpu"),
            ("service_name", container.name()),
            ("container_id", container.id()),
            ("instance", "host-1"),
            ("job", "cgscope"),
        ] {
            ensure!(series.labels.get(name).is_some_and(|v| v == value), "{:?}", series.labels);
        }
    }
    eprintln!(
        "{samples} samples, {time_s:.3} s in {} windows; cpu.stat {truth_s:.3} s",
        of_it.len()
    );
    // Of n samples taken at instants that have nothing to do with who runs, the standard deviation is at most the root of n.
    let bound = 4.0 * (samples as f64).sqrt() / FREQUENCY_HZ;
    ensure!((time_s - truth_s).abs() <= bound, "{time_s} s pushed, {truth_s} s by cpu.stat");
    ensure!((time_s - samples as f64 / FREQUENCY_HZ).abs() <= 0.001 * time_s, "the period");
    for (function, share) in [("hot_sixty", 0.6), ("hot_thirty", 0.3), ("hot_ten", 0.1)] {
        let part = *by_function.get(function).unwrap_or(&0) as f64 / samples as f64;
        let deviation = (share * (1.0f64 - share) / samples as f64).sqrt();
        ensure!((part - share).abs() <= 4.0 * deviation, "{function}: {part:.4}, not {share}");
    }
    ensure!(seen.iter().any(|series| series.is_of(&bystander)), "the other container");

    // All that was taken is counted, to the sample; and it is what was kept.
    let of_all = |seen: &[Series]| seen.iter().map(|series| series.file.total(0)).sum::<u64>();
    wait_until("the count of what was taken", PATIENCE, || {
        let before = own(&daemon, TAKEN)?;
        let received = of_all(&all(&http, pyroscope)?) as f64;
        Ok((received == before).then_some(()))
    })?;
    let (begin, end) = of_it[1].window();
    let kept = daemon.text(&format!(
        "/api/v1/flamegraph?container={}&start={begin:.3}&end={end:.3}&format=folded",
        container.name()
    ))?;
    let kept = cgscope_tests::Folded::parse(&kept)?.kept();
    ensure!(kept == of_it[1].file.total(0), "{kept} kept, {} pushed", of_it[1].file.total(0));
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == 0.0);
    Ok(())
}

/// gRPC's answer: an empty message, then trailers.
fn grpc(code: u32) -> Reply {
    let trailers = format!("grpc-status:{code}\r\ngrpc-message:as told\r\n");
    let mut body = vec![0, 0, 0, 0, 0, 0x80];
    body.extend_from_slice(&(trailers.len() as u32).to_be_bytes());
    body.extend_from_slice(trailers.as_bytes());
    Reply { status: 200, body }
}

#[test]
fn parca_says_in_grpc_whether_it_takes_them() -> Result<()> {
    // Unavailable: it may take them later.
    let http = Http::start(grpc(14))?;
    let daemon = Daemon::start(&[
        "--keep-profiles",
        "99",
        "--push-profiles",
        &http.url(),
        "--push-profiles-to",
        "parca",
    ])?;
    let container = Container::run("burn", &["burn", "--seconds", "120"])?;
    wait_until("a retry", PATIENCE, || {
        Ok((own(&daemon, "cgscope_own_push_retries_total")? > 0.0).then_some(()))
    })?;
    ensure!(own(&daemon, TAKEN)? == 0.0 && own(&daemon, "cgscope_own_push_waiting")? > 0.0);
    http.answer(grpc(0));
    wait_until("what waited to be taken", PATIENCE, || {
        let is_empty = own(&daemon, "cgscope_own_push_waiting")? == 0.0;
        Ok((is_empty && own(&daemon, TAKEN)? > 0.0).then_some(()))
    })?;
    let seen = all(&http, parca)?;
    ensure!(seen.iter().any(|series| series.is_of(&container)), "the container");
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == 0.0);
    // An invalid argument: it never will.
    http.answer(grpc(3));
    wait_until("a refusal", PATIENCE, || {
        let refused = [("protocol", "profiles"), ("reason", "refused")];
        let scrape = daemon.scrape()?;
        Ok((scrape.sum("cgscope_own_push_dropped_total", &refused) > 0.0).then_some(()))
    })?;
    ensure!(
        daemon.log().contains("refuses") && daemon.log().contains("as told"),
        "{}",
        daemon.log()
    );
    Ok(())
}

#[test]
fn what_cannot_be_pushed_is_said_at_once() -> Result<()> {
    for (flags, says) in [
        (&["--push-profiles", "http://127.0.0.1:1"][..], "--keep-profiles"),
        (&["--push-profiles", "127.0.0.1:1"], "a whole address"),
        (&["--push-profiles-to", "parca"], "--push-profiles"),
        (
            &[
                "--keep-profiles",
                "19",
                "--push-profiles",
                "http://a",
                "--push-profiles-label",
                "a.b=c",
            ],
            "a.b is no label",
        ),
        (&["--push-profiles", "http://a", "--push-profiles-to", "b"], "pyroscope, parca or otlp"),
    ] {
        let output = cgscope_tests::cli(&[&["run", "--listen", "127.0.0.1:0"], flags].concat())?;
        let said = format!("{output:?}");
        if output.status != Some(2) || !said.contains(says) {
            bail!("{flags:?}: {said}");
        }
    }
    Ok(())
}
