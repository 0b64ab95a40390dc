//! Metrics as a receiver of OTLP has them: decoded by the numbers of the public schema, and held against `/metrics` of the same moment.

use std::collections::BTreeMap;
use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use cgscope_tests::protobuf::{Field, fields, text};
use cgscope_tests::{Container, Daemon, wait_until};

use crate::http::{Http, Posted, Reply};

const PATIENCE: Duration = Duration::from_secs(60);
const CUMULATIVE: u64 = 2;

type Labels = BTreeMap<String, String>;

/// A point: whose, of which metric, when and how much.
#[derive(Debug)]
struct Point {
    resource: Labels,
    /// Name, unit and help.
    metric: (String, String, String),
    attributes: Labels,
    at_ns: u64,
    value: Value,
}

#[derive(Debug, PartialEq)]
enum Value {
    Gauge(f64),
    Counter(f64),
    /// Count, sum, and the counts up to each bound.
    Histogram(u64, f64, Vec<(f64, u64)>),
}

pub fn part(message: &[Field], number: u32) -> impl Iterator<Item = &Field> {
    message.iter().filter(move |field| field.number == number)
}

pub fn messages(message: &[Field], number: u32) -> Vec<Vec<Field>> {
    part(message, number).map(|field| fields(&field.bytes)).collect()
}

pub fn string(message: &[Field], number: u32) -> String {
    part(message, number).next().map_or(String::new(), |field| text(&field.bytes))
}

pub fn number(message: &[Field], number: u32) -> u64 {
    part(message, number).next().map_or(0, |field| field.value)
}

/// Eight bytes each, packed.
fn eights(message: &[Field], number: u32) -> Vec<u64> {
    let packed: Vec<u8> = part(message, number).flat_map(|field| field.bytes.clone()).collect();
    packed.chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap())).collect()
}

pub fn attributes(message: &[Field], of: u32) -> Labels {
    let pair = |pair: Vec<Field>| {
        let value = messages(&pair, 2).pop().unwrap_or_default();
        (string(&pair, 1), string(&value, 1))
    };
    messages(message, of).into_iter().map(pair).collect()
}

fn numbers(data: &[Field], make: fn(f64) -> Value) -> Result<Vec<(Labels, u64, Value)>> {
    let point = |point: Vec<Field>| {
        let value = part(&point, 4).next().context("a value")?;
        let value = make(f64::from_bits(value.value));
        Ok((attributes(&point, 7), number(&point, 3), value))
    };
    messages(data, 1).into_iter().map(point).collect()
}

fn histograms(data: &[Field]) -> Result<Vec<(Labels, u64, Value)>> {
    let point = |point: Vec<Field>| {
        let counts = eights(&point, 6);
        let mut bounds: Vec<f64> = eights(&point, 7).into_iter().map(f64::from_bits).collect();
        ensure!(counts.len() == bounds.len() + 1 && bounds.is_sorted(), "{bounds:?}");
        bounds.push(f64::INFINITY);
        let mut up_to = 0;
        let mut sum_up = |count: u64| {
            up_to += count;
            up_to
        };
        let counts = counts.into_iter().map(&mut sum_up).collect::<Vec<_>>();
        let sum = f64::from_bits(part(&point, 5).next().context("a sum")?.value);
        let buckets = bounds.into_iter().zip(counts).collect();
        let value = Value::Histogram(number(&point, 4), sum, buckets);
        Ok((attributes(&point, 9), number(&point, 3), value))
    };
    messages(data, 1).into_iter().map(point).collect()
}

/// By the numbers of `ExportMetricsServiceRequest`.
fn points(posted: &Posted) -> Result<Vec<Point>> {
    ensure!(posted.path == "/v1/metrics", "{}", posted.path);
    ensure!(posted.header("content-type") == Some("application/x-protobuf"));
    ensure!(posted.header("content-encoding") == Some("gzip"));
    let mut plain = vec![];
    flate2::read::GzDecoder::new(&posted.body[..]).read_to_end(&mut plain)?;
    let mut all = vec![];
    for of_resource in messages(&fields(&plain), 1) {
        let resource = messages(&of_resource, 1).pop().context("a resource")?;
        let resource = attributes(&resource, 1);
        for scope in messages(&of_resource, 2) {
            let who = messages(&scope, 1).pop().context("a scope")?;
            ensure!(string(&who, 1) == "cgscope");
            for metric in messages(&scope, 2) {
                let about = (string(&metric, 1), string(&metric, 3), string(&metric, 2));
                let mut found = vec![];
                for gauge in messages(&metric, 5) {
                    found.extend(numbers(&gauge, Value::Gauge)?);
                }
                for sum in messages(&metric, 7) {
                    ensure!(number(&sum, 2) == CUMULATIVE && number(&sum, 3) == 1, "{about:?}");
                    found.extend(numbers(&sum, Value::Counter)?);
                }
                for histogram in messages(&metric, 9) {
                    ensure!(number(&histogram, 2) == CUMULATIVE, "{about:?}");
                    found.extend(histograms(&histogram)?);
                }
                ensure!(!found.is_empty(), "{about:?} has no points");
                all.extend(found.into_iter().map(|(attributes, at_ns, value)| Point {
                    resource: resource.clone(),
                    metric: about.clone(),
                    attributes,
                    at_ns,
                    value,
                }));
            }
        }
    }
    Ok(all)
}

/// What `/metrics` calls a metric of OpenTelemetry's own names.
fn exposed(name: &str) -> &str {
    match name {
        "container.cpu.time" => "cgscope_sched_cpu_seconds_total",
        "container.memory.usage" => "cgscope_memory_use_bytes",
        "container.memory.working_set" => "cgscope_memory_working_set_bytes",
        other => other,
    }
}

/// A point as the lines of `/metrics` that it stands for: name and sorted labels, with the value.
fn lines(point: &Point) -> Vec<(String, f64)> {
    let mut labels = point.attributes.clone();
    for (attribute, label) in [
        ("container.name", "container"),
        ("container.id", "container_id"),
        ("container.runtime", "runtime"),
        ("container.image.name", "image"),
        ("k8s.pod.name", "pod"),
        ("k8s.namespace.name", "namespace"),
    ] {
        if let Some(value) = point.resource.get(attribute) {
            labels.insert(label.to_owned(), value.clone());
        }
    }
    let line = |suffix: &str, more: Option<(&str, String)>| {
        let mut labels = labels.clone();
        labels.extend(more.map(|(name, value)| (name.to_owned(), value)));
        format!("{}{suffix}{labels:?}", exposed(&point.metric.0))
    };
    match &point.value {
        Value::Gauge(value) | Value::Counter(value) => vec![(line("", None), *value)],
        Value::Histogram(count, sum, buckets) => {
            let mut all = vec![(line("_count", None), *count as f64), (line("_sum", None), *sum)];
            all.extend(buckets.iter().map(|(bound, count)| {
                let bound = if bound.is_finite() { format!("{bound:e}") } else { "inf".to_owned() };
                (line("_bucket", Some(("le", bound))), *count as f64)
            }));
            all
        }
    }
}

/// The lines of `/metrics`, written alike.
fn scraped(text: &str) -> Result<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (head, value) = line.rsplit_once(' ').context("a value")?;
        let (name, mut rest) = head.trim_end_matches('}').split_once('{').unwrap_or((head, ""));
        let mut labels = Labels::new();
        while let Some((key, after)) = rest.split_once("=\"") {
            let mut value = String::new();
            let mut chars = after.char_indices();
            rest = "";
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        rest = after[at + 1..].trim_start_matches(',');
                        break;
                    }
                    '\\' => value.push(match chars.next().context("an escape")?.1 {
                        'n' => '\n',
                        other => other,
                    }),
                    c => value.push(c),
                }
            }
            if key == "le" {
                let bound: f64 = value.replace("+Inf", "inf").parse()?;
                value = if bound.is_finite() { format!("{bound:e}") } else { "inf".to_owned() };
            }
            labels.insert(key.to_owned(), value);
        }
        all.insert(format!("{name}{labels:?}"), value.parse()?);
    }
    Ok(all)
}

fn now_ns() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64)
}

fn own(daemon: &Daemon, name: &str) -> Result<f64> {
    Ok(daemon.scrape()?.sum(name, &[("protocol", "otlp")]))
}

#[test]
fn a_collector_has_what_is_scraped() -> Result<()> {
    let http = Http::start(Reply::ok())?;
    let daemon = Daemon::start(&[
        "--interval",
        "3s",
        "--otlp",
        &http.url(),
        "--otlp-interval",
        "3s",
        "--otlp-attribute",
        "host.name=host-1",
        "--otlp-attribute",
        "deployment.environment.name=test",
    ])?;
    let container = Container::run("burn", &["burn", "--seconds", "120"])?;
    let is_of = |point: &Point| {
        point.resource.get("container.name").is_some_and(|name| name == container.name())
    };
    wait_until("the container to be pushed", PATIENCE, || {
        let last = http.taken().pop().context("a request").and_then(|posted| points(&posted));
        Ok(last.is_ok_and(|points| points.iter().any(is_of)).then_some(()))
    })?;

    // A tick lasts three seconds: what is scraped before and after the push of one is the same tick.
    let begun = Instant::now();
    let (pushed, exposed) = loop {
        ensure!(begun.elapsed() < PATIENCE, "no tick was scraped whole");
        let before = http.taken().len();
        wait_until("a push", PATIENCE, || Ok((http.taken().len() > before).then_some(())))?;
        // The rest of the tick: a request follows the other.
        sleep(Duration::from_millis(700));
        let exposed = daemon.text("/metrics")?;
        sleep(Duration::from_millis(100));
        let taken = http.taken();
        let mut pushed = vec![];
        for posted in &taken[before..] {
            pushed.extend(points(posted)?);
        }
        let last = pushed.iter().map(|point| point.at_ns).max().context("points")?;
        let is_one_tick = pushed.iter().all(|point| point.at_ns == last);
        // A part of it may have come before.
        let earlier = points(&taken[before - 1])?.iter().any(|point| point.at_ns == last);
        if is_one_tick && !earlier && exposed == daemon.text("/metrics")? {
            break (pushed, exposed);
        }
    };
    let there: BTreeMap<String, f64> = pushed.iter().flat_map(lines).collect();
    let here = scraped(&exposed)?;
    eprintln!("{} points, {} lines there and {} here", pushed.len(), there.len(), here.len());
    let missing: Vec<&String> = here.keys().filter(|line| !there.contains_key(*line)).collect();
    let more: Vec<&String> = there.keys().filter(|line| !here.contains_key(*line)).collect();
    ensure!(missing.is_empty() && more.is_empty(), "not there: {missing:?}\nnot here: {more:?}");
    for (line, value) in &here {
        ensure!(there[line] == *value, "{line}: {value} here, {} there", there[line]);
    }

    let cpu = pushed.iter().find(|p| is_of(p) && p.metric.0 == "container.cpu.time");
    let cpu = cpu.context("its CPU time")?;
    ensure!(cpu.metric.1 == "s" && matches!(cpu.value, Value::Counter(s) if s > 0.0), "{cpu:?}");
    let instance = format!("host-1/{}", container.id());
    for (name, value) in [
        ("service.name", "cgscope"),
        ("host.name", "host-1"),
        ("deployment.environment.name", "test"),
        ("container.id", container.id()),
        ("service.instance.id", instance.as_str()),
    ] {
        ensure!(cpu.resource.get(name).is_some_and(|v| v == value), "{name}: {:?}", cpu.resource);
    }
    ensure!(pushed.iter().any(|p| matches!(p.value, Value::Histogram(count, ..) if count > 0)));
    ensure!(
        pushed.iter().any(|p| p.metric.1 == "By") && pushed.iter().all(|p| !p.metric.2.is_empty())
    );
    Ok(())
}

/// What a receiver leaves out, and what it cannot take now, as it says.
#[test]
fn what_is_left_out_is_counted_and_what_waits_is_sent() -> Result<()> {
    // `rejected_data_points: 7` in `partial_success`.
    let http = Http::start(Reply { status: 200, body: vec![0x0a, 2, 0x08, 7] })?;
    let daemon = Daemon::start(&["--otlp", &http.url(), "--otlp-interval", "1s"])?;
    wait_until("points left out", PATIENCE, || {
        let scrape = daemon.scrape()?;
        let refused = [("protocol", "otlp"), ("reason", "refused")];
        let refused = scrape.sum("cgscope_own_push_dropped_total", &refused);
        Ok((refused >= 7.0 && refused % 7.0 == 0.0).then_some(()))
    })?;
    http.answer(Reply { status: 503, body: b"later".to_vec() });
    let refused_from = now_ns()?;
    wait_until("a retry", PATIENCE, || {
        Ok((own(&daemon, "cgscope_own_push_retries_total")? > 0.0).then_some(()))
    })?;
    ensure!(daemon.log().contains("503") && daemon.log().contains("later"), "{}", daemon.log());
    let dropped = own(&daemon, "cgscope_own_push_dropped_total")?;
    let refused_to = now_ns()?;
    http.answer(Reply::ok());
    wait_until("what waited to be taken", PATIENCE, || {
        Ok((own(&daemon, "cgscope_own_push_waiting")? == 0.0).then_some(()))
    })?;
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == dropped, "it was only late");
    let mut ticks: Vec<u64> = vec![];
    for posted in http.taken() {
        ticks.extend(points(&posted)?.first().map(|point| point.at_ns));
    }
    ensure!(ticks.is_sorted(), "in order: {ticks:?}");
    let of_then = ticks.iter().filter(|at| (refused_from..refused_to).contains(*at)).count();
    ensure!(of_then > 0, "none of {refused_from} to {refused_to}: {ticks:?}");
    Ok(())
}

/// Has the daemon wait for a receiver that does not answer, until several ticks wait.
fn held() -> Result<(Http, Daemon)> {
    let http = Http::start(Reply::ok())?;
    let daemon = Daemon::start(&["--otlp", &http.url(), "--otlp-interval", "1s"])?;
    wait_until("a push", PATIENCE, || Ok((!http.taken().is_empty()).then_some(())))?;
    http.hold(true);
    let of_a_tick = points(&http.taken()[0])?.len() as f64;
    wait_until("samples that wait", PATIENCE, || {
        let waiting = own(&daemon, "cgscope_own_push_waiting")?;
        Ok((waiting > 2.0 * of_a_tick).then_some(()))
    })?;
    Ok((http, daemon))
}

#[test]
fn what_waits_at_the_end_is_sent() -> Result<()> {
    let (http, mut daemon) = held()?;
    let before = http.taken().len();
    daemon.tell(libc::SIGTERM)?;
    http.hold(false);
    let status = wait_until("the daemon to end", PATIENCE, || daemon.ended())?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    let mut ticks: Vec<u64> = vec![];
    for posted in http.taken() {
        ticks.extend(points(&posted)?.first().map(|point| point.at_ns));
    }
    // One was on its way, and two at least waited.
    ensure!(ticks.len() >= before + 3, "{before}, then {ticks:?}");
    let is_gap = |pair: &[u64]| pair[1].saturating_sub(pair[0]) > 1_900_000_000;
    ensure!(!ticks.windows(2).any(is_gap), "{ticks:?}");
    ensure!(!daemon.log().contains("to be pushed"), "{}", daemon.log());
    Ok(())
}

#[test]
fn a_receiver_that_does_not_answer_holds_up_no_end_and_what_is_lost_is_told() -> Result<()> {
    let (_http, mut daemon) = held()?;
    let begun = Instant::now();
    let status = daemon.terminate()?;
    let took = begun.elapsed();
    ensure!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    let log = daemon.log();
    ensure!(log.contains("samples that waited to be pushed by otlp were not"), "{log}");
    Ok(())
}
