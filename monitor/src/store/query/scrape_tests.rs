//! What a scraper would have seen, against what the containers of a computed host did.

use super::*;
use crate::{
    metric::Histogram,
    store::{
        HistoryOptions, Writer,
        fixture::{Did, Host, web_names},
    },
};

/// 2026-01-01 20:00, a multiple of ten minutes, and late enough for totals to begin that midnight.
const START_MS: i64 = 1_767_297_600_000;
const SECONDS: i64 = 2_000;
/// Nothing was measured in these; before the second half the daemon began anew.
const GAP: std::ops::Range<i64> = 1_200..1_260;
/// The last second of the last container.
const DEATH: i64 = 700;

fn did(container: u64, second: i64) -> Did {
    let mix = (second as u64 * 7 + container * 13) % 97;
    Did {
        events: mix,
        level: (mix * 10) as u32,
        latencies_ns: (0..mix % 5).map(|i| (mix + 1) << (10 + 2 * i + container)).collect(),
    }
}

fn history(directory: &tempfile::TempDir) -> Writer {
    let open =
        || Writer::open(HistoryOptions::in_directory(directory.path().to_owned()), web_names(2));
    let mut writer = open();
    let mut host = Host::new(2);
    let mut after_ms = 1_000;
    for second in (0..SECONDS).filter(|second| !GAP.contains(second)) {
        if second == GAP.end {
            drop(writer);
            writer = open();
            host.restart();
            after_ms = 60_000;
        }
        if second == DEATH + 1 {
            host.containers.pop();
        }
        let did: Vec<Did> = (0..host.containers.len() as u64).map(|c| did(c, second)).collect();
        writer.record(&host.tick((START_MS + second * 1_000) as u64, after_ms, &did));
        after_ms = 1_000;
    }
    writer
}

/// Growth is known in all seconds but the first of each daemon.
fn known(container: u64, from: i64, to: i64) -> impl Iterator<Item = i64> {
    let last = if container == 1 { DEATH } else { SECONDS - 1 };
    let is_known = move |s: &i64| *s != 0 && *s != GAP.end && !GAP.contains(s) && *s <= last;
    (from..=to).filter(is_known)
}

fn ask(writer: &Writer, name: &str, container: &str, from: i64, to: i64) -> Vec<Scraped> {
    ask_every(writer, name, container, (from, to), 0, 300_000)
}

fn ask_every(
    writer: &Writer,
    name: &str,
    container: &str,
    (from, to): (i64, i64),
    step_ms: i64,
    window_ms: i64,
) -> Vec<Scraped> {
    let is_meant = |label: LabelOf<'_>| label(NAME) == name && label("container") == container;
    let wanted = Wanted {
        name: Some(name),
        is_meant: &is_meant,
        after_ms: START_MS + from * 1_000,
        until_ms: START_MS + to * 1_000,
        step_ms,
        window_ms,
        totals_before_ms: START_MS + from * 1_000,
        max_series: 100,
        max_samples: 1_000_000,
    };
    scrape(&Snapshot::take(writer.shared()), &wanted).unwrap()
}

const EVENTS: &str = "cgscope_test_events_total";

#[test]
fn counters_are_totals_and_their_differences_are_what_happened() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    for (from, to) in [(0, 100), (550, 1_190), (1_100, 1_900)] {
        let scraped = ask(&writer, EVENTS, "web-0", from, to);
        assert_eq!(scraped.len(), 1);
        assert_eq!(scraped[0].labels["kind"], "x");
        let values: Vec<(i64, f64)> =
            scraped[0].samples.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
        for pair in values.windows(2) {
            let [(a_ms, a), (b_ms, b)] = [pair[0], pair[1]];
            let second = |ms: i64| (ms - START_MS) / 1_000;
            let growth = known(0, second(a_ms) + 1, second(b_ms)).map(|s| did(0, s).events);
            assert_eq!(b - a, growth.sum::<u64>() as f64, "{} to {}", second(a_ms), second(b_ms));
        }
        assert!(values.len() as i64 >= (to - from).min(1_140) * 9 / 10, "{}", values.len());
    }
    // One moment has one total, whatever range it is asked in.
    let at = |from, to| ask(&writer, EVENTS, "web-0", from, to)[0].samples.last().copied();
    assert_eq!(at(900, 1_000), at(990, 1_000));
    let whole: u64 = known(0, 0, 1_000).map(|s| did(0, s).events).sum();
    assert_eq!(at(900, 1_000), Some((START_MS + 1_000_000, Some(whole as f64))));
}

#[test]
fn the_dead_end_and_a_gap_ends_all() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let ends = |container: &str, from, to| -> Vec<i64> {
        let scraped = ask(&writer, "cgscope_test_level_bytes", container, from, to);
        let ends = scraped.iter().flat_map(|s| &s.samples).filter(|(_, value)| value.is_none());
        ends.map(|(at_ms, _)| (at_ms - START_MS) / 1_000).collect()
    };
    assert_eq!(ends("web-1", 600, 800), [DEATH + 1]);
    assert_eq!(ends("web-0", 600, 800), [0; 0]);
    assert_eq!(ends("web-0", 1_100, 1_400), [GAP.start]);
}

#[test]
fn distributions_are_buckets_with_the_bounds_of_the_exposition() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = history(&directory);
    writer.seal_now(crate::metric::KtimeNs(u64::MAX));
    let latency = "cgscope_test_latency_seconds";
    let buckets = ask(&writer, &format!("{latency}_bucket"), "web-0", 100, 400);
    assert_eq!(buckets.len(), EXPOSED_BOUNDS);
    let mut truth = Histogram::default();
    for second in known(0, 0, 400) {
        did(0, second).latencies_ns.iter().for_each(|ns| truth.record(*ns));
    }
    let last = |scraped: &Scraped| scraped.samples.last().and_then(|(_, value)| *value);
    for series in &buckets {
        let bound = &series.labels[BOUND];
        let bound_ns =
            if bound == "+Inf" { f64::INFINITY } else { bound.parse::<f64>().unwrap() * 1e9 };
        let below = truth.buckets().filter(|(i, _)| {
            monitor_common::bucket::upper_bound_ns(*i) as f64 <= bound_ns * 1.000_001
        });
        let below: u64 = below.map(|(_, n)| n).sum();
        assert_eq!(last(series), Some(below as f64), "{bound}");
    }
    let one =
        |suffix: &str| last(&ask(&writer, &format!("{latency}{suffix}"), "web-0", 100, 400)[0]);
    assert_eq!(one("_count"), Some(truth.count() as f64));
    assert_eq!(one("_sum"), Some(truth.sum_ns as f64 / 1e9));
    // A distribution has no series of its bare name, and a counter none of a bucket.
    assert!(ask(&writer, latency, "web-0", 100, 400).is_empty());
    assert!(ask(&writer, &format!("{EVENTS}_bucket"), "web-0", 100, 400).is_empty());
}

#[test]
fn coarser_points_hold_the_same_totals() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = history(&directory);
    writer.seal_now(crate::metric::KtimeNs(u64::MAX));
    let snapshot = Snapshot::take(writer.shared());
    let fine = ask(&writer, EVENTS, "web-0", 300, 1_100).remove(0).samples;
    let is_meant = |label: LabelOf<'_>| label(NAME) == EVENTS && label("container") == "web-0";
    let wanted = Wanted {
        name: Some(EVENTS),
        is_meant: &is_meant,
        after_ms: START_MS + 300_000,
        until_ms: START_MS + 1_100_000,
        step_ms: 0,
        window_ms: 0,
        totals_before_ms: START_MS + 300_000,
        max_series: 10,
        max_samples: 10_000,
    };
    let (rows, series) = select(&snapshot, wanted.name, wanted.is_meant, 10).unwrap();
    for tier in 1..TIERS {
        let mut read = Read::new(&rows, &series, &wanted);
        for segment in segments(&snapshot, &wanted, tier, true).unwrap() {
            read.segment(&snapshot, segment).unwrap();
        }
        let coarse = read.finish(&series).unwrap().remove(0).samples;
        assert!(coarse.len() < fine.len(), "tier {tier}");
        for (at_ms, value) in coarse {
            let before = fine.iter().rev().find(|(fine_ms, _)| *fine_ms <= at_ms);
            assert_eq!(before.map(|(_, value)| *value), Some(value), "tier {tier} at {at_ms}");
        }
    }
}

/// Ticks of the first minutes are sealed when the window of ten minutes ends that a daemon was started in, and a coarse point of
/// the same window is made of them: a moment is read from one of the two.
#[test]
fn what_is_sealed_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = HistoryOptions::in_directory(directory.path().to_owned());
    let mut writer = Writer::open(options, web_names(1));
    let mut host = Host::new(1);
    let (first, last) = (572, 640);
    for second in first..=last {
        let tick = host.tick((START_MS + second * 1_000) as u64, 1_000, &[did(0, second)]);
        writer.record(&tick);
        // The first tick has no growth.
        let grown: u64 = (first + 1..=second).map(|s| did(0, s).events).sum();
        for from in [first - 60, second - 5, second - 1] {
            let scraped = ask(&writer, EVENTS, "web-0", from, second);
            let expected = (START_MS + second * 1_000, Some(grown as f64));
            let total = scraped.first().and_then(|series| series.samples.last().copied());
            assert_eq!(total, (second > first).then_some(expected), "{second} from {from}");
        }
    }
}

#[test]
fn too_much_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let snapshot = Snapshot::take(writer.shared());
    let wanted = Wanted {
        name: None,
        is_meant: &|_| true,
        after_ms: START_MS,
        until_ms: START_MS + 600_000,
        step_ms: 0,
        window_ms: 300_000,
        totals_before_ms: START_MS,
        max_series: 100,
        max_samples: 10_000,
    };
    let error = scrape(&snapshot, &wanted).unwrap_err().to_string();
    assert!(error.contains("10000 samples"), "{error}");
    let few = Wanted { max_series: 2, max_samples: 1_000_000, ..wanted };
    let error = scrape(&snapshot, &few).unwrap_err().to_string();
    assert!(error.contains("series"), "{error}");
    // Times that history cannot have are empty, not wrong.
    for (after_ms, until_ms) in [(i64::MIN / 4, -1), (i64::MAX / 8, i64::MAX / 4), (5, 4)] {
        let wanted = Wanted { after_ms, until_ms, totals_before_ms: after_ms, ..few };
        assert_eq!(scrape(&snapshot, &wanted).unwrap_or_default(), [], "{after_ms} {until_ms}");
    }
}
