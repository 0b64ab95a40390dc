//! A process that writes is killed at random moments, again and again.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    HistoryOptions, Snapshot, Writer,
    fixture::{Did, Host, no_names},
    point::Points,
    reading::Read,
    shared::State,
    snapshot::Segment,
    tier::TIERS,
    writer::database_path,
};

const KILLS: u32 = 200;
const DIRECTORY: &str = "CGSCOPE_TEST_HISTORY";
const FIRST: &str = "CGSCOPE_TEST_FIRST";
const START_MS: u64 = 1_767_225_600_000;
/// So that there is a seal every 40 ticks, and kills meet some.
const BETWEEN_MS: u64 = 15_000;

/// A writer that keeps all: a quick one writes more than the usual six hours, and as soon as its clock has run evenly for an hour,
/// what is older goes.
fn writer(directory: &Path) -> Writer {
    let usual = HistoryOptions::in_directory(directory.to_owned());
    let all = Duration::from_secs(10 * 365 * 86_400);
    Writer::open(HistoryOptions { keep: [all; TIERS], ..usual }, no_names())
}

/// Not a test: what is killed. It writes ticks and says the number of each that is written.
#[test]
#[ignore = "the process that the test below kills"]
fn child() {
    let directory = env::var(DIRECTORY).expect("the test sets it");
    let first: u64 = env::var(FIRST).expect("the test sets it").parse().expect("a number");
    let mut writer = writer(Path::new(&directory));
    // What is only in memory is lost with it, and was never said to be written.
    assert_eq!(writer.shared().state(), State::Writing);
    let mut host = Host::new(3);
    let mut out = std::io::stdout();
    for number in first.. {
        let did = Did { events: number, level: number as u32, latencies_ns: vec![number << 10] };
        let tick = host.tick(START_MS + number * BETWEEN_MS, BETWEEN_MS, &vec![did; 3]);
        writer.record(&tick);
        if writeln!(out, "{number}").is_err() {
            return;
        }
    }
}

/// The gauge of the first container by tick, from a tier.
fn levels(writer: &Writer, tier: usize) -> Vec<(u64, f64)> {
    let snapshot = Snapshot::take(writer.shared());
    let rows = snapshot.series(Some("cgscope_test_level_bytes")).expect("readable");
    let Some(first) = rows.iter().find(|row| row.subject.ends_with('0')) else { return vec![] };
    let mut levels = vec![];
    let segment = Segment { tier, from_ms: 0, to_ms: u64::MAX };
    let reading = snapshot.reading(&[segment]).expect("readable");
    let instants: Vec<_> = reading.stretches().map(|(_, instants)| instants).collect();
    let read = reading.read(&[first.id], &mut |read| {
        let Read::Points { stretch, points: Points::Gauge(points), .. } = read else { return };
        let at = |i: u32| (instants[stretch][i as usize].at_ms - START_MS) / BETWEEN_MS;
        levels.extend(points.iter().map(|(i, point)| (at(*i), point.sum)));
    });
    read.expect("readable");
    levels.sort_unstable_by_key(|(at, _)| *at);
    levels
}

#[test]
fn nothing_that_was_written_is_lost_by_kills() {
    let directory = tempfile::tempdir().unwrap();
    let mut recoveries = vec![];
    let (mut next, mut seed) = (0u64, 7u64);
    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::crash_tests::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = thread::spawn(move || {
            let numbers = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
            numbers.last()
        });
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros(3_000 + (seed >> 33) % 80_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = reader.join().unwrap();

        let begun = Instant::now();
        let writer = writer(directory.path());
        recoveries.push(begun.elapsed());
        if let Some(last) = said {
            next = last + 1;
        }
        let stored = levels(&writer, 0);
        // The one that was being written when it was killed may be there or not.
        let there = stored.len() as u64;
        assert!(there == next || there == next + 1, "kill {kill}: {there} of {next}");
        assert!(
            stored.iter().zip(0..).all(|(&(at, level), i)| at == i && level == i as f64),
            "kill {kill}"
        );
        next = there;
    }
    let writer = writer(directory.path());
    let sum = |tier| levels(&writer, tier).iter().map(|(_, level)| level).sum::<f64>();
    for tier in 1..TIERS {
        assert_eq!(sum(tier), sum(0), "tier {tier}");
    }
    let connection = rusqlite::Connection::open(database_path(directory.path())).unwrap();
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let pieces: i64 =
        connection.query_row("SELECT count(*) FROM piece", [], |row| row.get(0)).unwrap();
    assert!(pieces > 10 && next > 500, "{pieces} pieces of {next} ticks: the test tests nothing");
    // The median: a single one may meet whatever else the machine does.
    recoveries.sort_unstable();
    let median = recoveries[recoveries.len() / 2];
    assert!(median < Duration::from_millis(100), "{median:?}");
}
