//! What history costs: samples written a second of CPU time, bytes a sample, bytes written a day, memory, and how long questions
//! take. Against the goals, as ratios; no daemon and no root are needed, but the disk is used.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use cgscope::metric::{
    Descriptor, Histogram, Kind, KtimeNs, Sample, Scope, Subject, Tick, Unit, Value, WallTimeNs,
};
use cgscope::store::query::{Function, Limits, Query, evaluate};
use cgscope::store::{HistoryOptions, Snapshot, Writer};
use cgscope_tests::scratch_dir;
use tempfile::TempDir;

/// 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;
const HOUR_S: u64 = 3_600;

const fn descriptor(name: &'static str, kind: Kind, unit: Unit) -> Descriptor {
    Descriptor {
        name,
        help: "",
        title: "",
        unit,
        kind,
        scope: Scope::Container,
        labels: &["part"],
        source: "",
        kernel_floor: "",
    }
}

static TIME: Descriptor = descriptor("bench_time_seconds_total", Kind::Counter, Unit::Seconds);
static EVENTS: Descriptor = descriptor("bench_events_total", Kind::Counter, Unit::Count);
static MEMORY: Descriptor = descriptor("bench_memory_bytes", Kind::Gauge, Unit::Bytes);
static LATENCY: Descriptor = descriptor("bench_latency_seconds", Kind::Distribution, Unit::Seconds);

/// Containers of which a fifth is busy, as on a real host; each has 20 series: times of states, counts, memory.
struct Host {
    ids: Vec<Arc<str>>,
    totals: Vec<[u64; 20]>,
    latencies: Vec<Arc<Histogram>>,
    seed: u64,
}

const PARTS: [&str; 20] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19",
];

impl Host {
    fn new(with_totals: usize, with_latencies: usize) -> Self {
        let containers = with_totals.max(with_latencies);
        Self {
            ids: (0..containers).map(|i| format!("{i:064x}").into()).collect(),
            totals: vec![[1 << 20; 20]; with_totals],
            latencies: vec![Arc::default(); with_latencies],
            seed: 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    fn tick(&mut self, second: u64) -> Tick {
        for container in 0..self.totals.len() {
            let is_busy = container.is_multiple_of(5);
            for part in 0..20 {
                let noise = self.random();
                let grows = match part {
                    // Three states of a busy container share its time; the rest is rare.
                    0..3 if is_busy => 200_000_000 + noise % 50_000_000,
                    0..8 if noise.is_multiple_of(50) => noise % 1_000_000,
                    8..14 if is_busy => noise % 200,
                    8..14 => u64::from(noise.is_multiple_of(20)),
                    14..20 if noise.is_multiple_of(10) => (noise >> 8) % 16,
                    _ => 0,
                };
                let total = &mut self.totals[container][part];
                if part < 14 {
                    *total += grows;
                } else {
                    // Pages come and go.
                    *total =
                        (*total + grows * 4_096).saturating_sub((noise >> 4) % 2 * grows * 4_096);
                }
            }
        }
        for container in 0..self.latencies.len() {
            let mut values = Histogram::clone(&self.latencies[container]);
            for _ in 0..20 {
                let value = 2_000 + self.random() % 40_000;
                values.record(value);
            }
            self.latencies[container] = Arc::new(values);
        }
        Tick::new(
            WallTimeNs((START_MS + second * 1_000) * 1_000_000),
            KtimeNs((1_000 + second) * 1_000_000_000),
            self.samples(),
        )
    }

    fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(self.ids.len() * 21);
        for (part, label) in PARTS.into_iter().enumerate() {
            for (id, totals) in self.ids.iter().zip(&self.totals) {
                let (metric, value) = match part {
                    0..8 => (&TIME, Value::Counter(totals[part])),
                    8..14 => (&EVENTS, Value::Counter(totals[part])),
                    _ => (&MEMORY, Value::Gauge(totals[part] as f64)),
                };
                let subject = Subject::Container(Arc::clone(id));
                samples.push(Sample { metric, subject, labels: [label.into()].into(), value });
            }
        }
        for (id, latency) in self.ids.iter().zip(&self.latencies) {
            let subject = Subject::Container(Arc::clone(id));
            let value = Value::Distribution(Arc::clone(latency));
            samples.push(Sample { metric: &LATENCY, subject, labels: ["".into()].into(), value });
        }
        samples
    }
}

/// What writing took.
struct Written {
    writer: Writer,
    _directory: TempDir,
    samples: u64,
    cpu_s: f64,
    disk_bytes: u64,
}

fn write(host: &mut Host, seconds: u64, every_s: u64) -> Result<Written> {
    let directory = TempDir::with_prefix_in("bench-", scratch_dir())?;
    let options = HistoryOptions::in_directory(directory.path().to_owned());
    let mut writer = Writer::open(options, Box::new(Vec::new));
    let (mut samples, mut cpu_s) = (0, 0.0);
    let disk_before = disk_bytes()?;
    for second in (0..seconds).step_by(every_s as usize) {
        let tick = host.tick(second);
        samples += tick.len() as u64;
        let before = cpu_now_s();
        writer.record(&tick);
        cpu_s += cpu_now_s() - before;
    }
    let before = cpu_now_s();
    writer.seal_now(KtimeNs(u64::MAX));
    cpu_s += cpu_now_s() - before;
    let disk_bytes = disk_bytes()? - disk_before;
    Ok(Written { writer, _directory: directory, samples, cpu_s, disk_bytes })
}

/// CPU time of this thread, s.
fn cpu_now_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this frame.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// What this process had written to disks.
fn disk_bytes() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.parse()?)
}

/// Memory of this process that is its own, MiB.
fn memory_mib() -> f64 {
    cgscope::kernel::memory::resident()
        .map_or(0.0, |r| r.anonymous_bytes as f64 / f64::from(1 << 20))
}

fn question(
    metric: &str,
    part: Option<&str>,
    from_s: u64,
    to_s: u64,
    step_s: u64,
) -> Result<Query> {
    let matchers = part.map(|part| format!("part={part}").parse()).transpose()?;
    Ok(Query {
        metric: metric.to_owned(),
        matchers: matchers.into_iter().collect(),
        start_ms: START_MS + from_s * 1_000,
        end_ms: START_MS + to_s * 1_000,
        step_ms: step_s * 1_000,
        function: None,
        by: None,
        aggregate: None,
        limits: Limits::default(),
    })
}

/// The median of several askings, each with a snapshot of its own, ms; and of the first, which opens the file.
fn ask_ms(writer: &Writer, query: &Query, series: usize) -> Result<(f64, f64)> {
    let mut times = vec![];
    for _ in 0..9 {
        let begun = Instant::now();
        let answer = evaluate(&Snapshot::take(writer.shared()), query)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(answer.series.len() == series, "{} series", answer.series.len());
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], first))
}

fn line(what: &str, value: f64, unit: &str, goal: f64, is_more_better: bool) {
    let ratio = if is_more_better { value / goal } else { goal / value };
    println!("{what:<46} {value:>10.2} {unit:<8} goal {goal:>6}   {ratio:>6.2} x");
}

/// Measures and prints. Above 1 x the goal is met.
pub fn bench(hours: u64) -> Result<()> {
    println!("2,000 series at 1 s, {hours} h");
    let memory_before = memory_mib();
    let written = write(&mut Host::new(100, 0), hours * HOUR_S, 1)?;
    let memory = memory_mib() - memory_before;
    let bytes = Snapshot::take(written.writer.shared()).stored_bytes()?;
    let samples = written.samples as f64;
    line("ingest, samples a second of CPU time", samples / written.cpu_s / 1e6, "M/s", 2.0, true);
    line("tier of 1 s, with its instants", bytes[0] as f64 / samples, "B/sample", 1.5, false);
    println!("  all tiers: {:.2} B/sample", bytes.iter().sum::<u64>() as f64 / samples);
    let a_day = written.disk_bytes as f64 / hours as f64 * 24.0 / 1e9;
    line("written to the disk at 2,000 series", a_day, "GB/day", 1.0, false);
    line("memory that came with it", memory, "MiB", 40.0, false);
    // A metric of all containers lies together: as many as there are is the least that is read.
    let hour = question(TIME.name, Some("0"), (hours - 1) * HOUR_S, hours * HOUR_S, 1)?;
    let (median, first) = ask_ms(&written.writer, &hour, 100)?;
    println!("  100 series x 1 h at 1 s: {median:.2} ms, with the file opened {first:.2} ms");
    drop(written);

    println!("1,000 series at 1 s, {hours} h");
    let written = write(&mut Host::new(50, 0), hours * HOUR_S, 1)?;
    let (median, first) = ask_ms(&written.writer, &hour, 50)?;
    line("50 series x 1 h at 1 s", median, "ms", 5.0, false);
    println!("  with the file opened: {first:.2} ms");
    drop(written);

    println!("1,000 series at 10 s, 24 h");
    let written = write(&mut Host::new(50, 0), 24 * HOUR_S, 10)?;
    let (median, first) =
        ask_ms(&written.writer, &question(TIME.name, Some("0"), 0, 24 * HOUR_S, 10)?, 50)?;
    line("50 series x 24 h at 10 s", median, "ms", 20.0, false);
    println!("  with the file opened: {first:.2} ms");
    drop(written);

    println!("100 containers with a distribution at 10 s, 24 h");
    let written = write(&mut Host::new(0, 100), 24 * HOUR_S, 10)?;
    let mut quantile = question(LATENCY.name, None, 0, 24 * HOUR_S, 24 * HOUR_S)?;
    quantile.function = Some(Function::Quantile(0.99));
    let (each, _) = ask_ms(&written.writer, &quantile, 100)?;
    line("quantile of 24 h, each of 100 containers", each, "ms", 50.0, false);
    quantile.by = Some(vec![]);
    let (all, _) = ask_ms(&written.writer, &quantile, 1)?;
    line("quantile of 24 h over 100 containers", all, "ms", 50.0, false);
    let bytes = Snapshot::take(written.writer.shared()).stored_bytes()?[0] as f64;
    println!("  a distribution of 20 values: {:.1} B", bytes / written.samples as f64);
    Ok(())
}
