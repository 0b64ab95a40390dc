//! Answers against what the ticks themselves come to.

use super::*;
use crate::{
    metric::{Histogram, KtimeNs},
    store::{
        HistoryOptions, Writer,
        fixture::{Did, Host, web_names},
        query::{Limits, Matcher, label_values, list},
    },
};

/// 2026-01-01, a multiple of ten minutes.
const START_MS: u64 = 1_767_225_600_000;
const SECONDS: u64 = 3_000;
/// Nothing was measured in these.
const GAP: std::ops::Range<u64> = 1_200..1_500;

fn did(container: u64, second: u64) -> Did {
    let mix = (second * 7 + container * 13) % 97;
    Did {
        events: mix,
        level: (mix * 10) as u32,
        latencies_ns: (0..mix % 5).map(|i| (mix + 1) << (10 + i + container)).collect(),
    }
}

/// Three containers; the third dies at second 2,000.
fn history(directory: &tempfile::TempDir) -> Writer {
    let options = HistoryOptions::in_directory(directory.path().to_owned());
    let mut writer = Writer::open(options, web_names(3));
    let mut host = Host::new(3);
    let mut after_ms = 1_000;
    for second in (0..SECONDS).filter(|second| !GAP.contains(second)) {
        if second == GAP.end {
            // The daemon was not there: it begins anew.
            drop(writer);
            let options = HistoryOptions::in_directory(directory.path().to_owned());
            writer = Writer::open(options, web_names(3));
            host.restart();
            after_ms = 300_000;
        }
        if second == 2_000 {
            host.containers.pop();
        }
        let did: Vec<Did> = (0..host.containers.len() as u64).map(|c| did(c, second)).collect();
        writer.record(&host.tick(START_MS + second * 1_000, after_ms, &did));
        after_ms = 1_000;
    }
    writer
}

fn query(metric: &str, from: u64, to: u64, step: u64) -> Query {
    Query {
        metric: metric.to_owned(),
        matchers: vec![],
        start_ms: START_MS + from * 1_000,
        end_ms: START_MS + to * 1_000,
        step_ms: step * 1_000,
        function: None,
        by: None,
        aggregate: None,
        limits: Limits::default(),
    }
}

/// Seconds whose growth is known: not those of the first tick of a daemon.
fn known(from: u64, to: u64, container: u64) -> Vec<u64> {
    let lives = |second: &u64| container < 2 || *second < 2_000;
    let is_known = |s: &u64| *s != 0 && *s != GAP.end && !GAP.contains(s) && lives(s);
    (from..to.min(SECONDS)).filter(is_known).collect()
}

const EVENTS: &str = "cgscope_test_events_total";
const LEVEL: &str = "cgscope_test_level_bytes";
const LATENCY: &str = "cgscope_test_latency_seconds";

#[test]
fn rates_are_growth_by_the_time_that_was_measured() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let snapshot = Snapshot::take(writer.shared());
    // Each step through each tier that serves it, and odd ones that only the finest does.
    for (step, tier_s) in [(1, 1), (7, 1), (10, 10), (60, 60), (300, 60), (600, 600), (1_200, 600)]
    {
        let answer = evaluate(&snapshot, &query(EVENTS, 0, SECONDS, step)).unwrap();
        assert_eq!(answer.resolution_ms, tier_s * 1_000, "step {step}");
        assert_eq!(answer.series.len(), 3);
        let first_s = (START_MS - answer.start_ms) / 1_000;
        for (container, series) in (0..).zip(&answer.series) {
            for (value, i) in series.values.iter().zip(0..) {
                let from = (i * step).saturating_sub(first_s);
                let to = ((i + 1) * step).saturating_sub(first_s);
                let growth: u64 =
                    known(from, to, container).iter().map(|s| did(container, *s).events).sum();
                let covered = known(from, to, 0).len() as f64;
                let expected = (covered > 0.0 && !known(from, to, container).is_empty())
                    .then(|| growth as f64 / covered);
                assert_eq!(*value, expected, "step {step}, container {container}, {from}..{to}");
            }
        }
    }
}

#[test]
fn quantiles_of_any_window_are_those_of_all_its_values() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = history(&directory);
    writer.seal_now(KtimeNs(u64::MAX));
    let snapshot = Snapshot::take(writer.shared());
    for (from, to) in [(0, 600), (600, 2_400), (37, 1_811), (1_990, 2_010), (0, SECONDS)] {
        let mut query = query(LATENCY, from, to, to - from);
        query.by = Some(vec![]);
        let answer = evaluate(&snapshot, &query).unwrap();
        let start = (answer.start_ms - START_MS) / 1_000;
        let end = (answer.end_ms - START_MS) / 1_000;
        let most = (to - from) / 60 + 1;
        assert!(start <= from && from - start <= most, "{start} for {from}");
        assert!(end >= to && end - to <= most, "{end} for {to}");
        let mut truth = Histogram::default();
        for container in 0..3 {
            for second in known(start, end, container) {
                did(container, second).latencies_ns.iter().for_each(|ns| truth.record(*ns));
            }
        }
        let expected = truth.quantile_ns(0.99).map(|ns| ns as f64 * 1e-9);
        assert_eq!(answer.series[0].values, [expected], "{from}..{to}");
        assert_eq!(answer.series[0].merged, 3);
        query.function = Some(Function::Count);
        let answer = evaluate(&snapshot, &query).unwrap();
        assert_eq!(answer.series[0].values, [Some(truth.count() as f64)]);
    }
}

#[test]
fn gauges_and_series_taken_together() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let snapshot = Snapshot::take(writer.shared());
    let level = |second: u64, container| f64::from(did(container, second).level);
    let mut query = query(LEVEL, 60, 120, 60);
    let of = |query: &Query| evaluate(&snapshot, query).unwrap().series[0].values[0].unwrap();
    for (function, pick) in
        [(Function::Min, f64::min as fn(f64, f64) -> f64), (Function::Max, f64::max)]
    {
        query.function = Some(function);
        let expected = (60..120).map(|s| level(s, 0)).reduce(pick).unwrap();
        assert_eq!(of(&query), expected);
    }
    query.function = Some(Function::Mean);
    query.by = Some(vec!["runtime".to_owned()]);
    query.aggregate = Some(Aggregate::Sum);
    let mean = |container| (60..120).map(|s| level(s, container)).sum::<f64>() / 60.0;
    let expected: f64 = (0..3).map(mean).sum();
    assert!((of(&query) - expected).abs() < 1e-9);
    let answer = evaluate(&snapshot, &query).unwrap();
    assert_eq!(answer.series[0].labels, Labels::from([("runtime".into(), "podman".into())]));
}

#[test]
fn a_gap_has_no_values_and_the_dead_are_known_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let snapshot = Snapshot::take(writer.shared());
    let mut query = query(LEVEL, 1_100, 2_100, 10);
    query.matchers = vec!["container=web-2".parse::<Matcher>().unwrap()];
    let answer = evaluate(&snapshot, &query).unwrap();
    assert_eq!(answer.series.len(), 1);
    let values = &answer.series[0].values;
    let is_there = |s: u64| !GAP.contains(&s) && s < 2_000;
    assert!(values.iter().zip((1_100..).step_by(10)).all(|(v, s)| v.is_some() == is_there(s)));
    let id = &answer.series[0].labels["container_id"];
    query.matchers = vec![format!("container={}", &id[..64]).parse::<Matcher>().unwrap()];
    assert_eq!(evaluate(&snapshot, &query).unwrap(), answer);
    query.matchers = vec!["container!=web-2".parse::<Matcher>().unwrap()];
    assert_eq!(evaluate(&snapshot, &query).unwrap().series.len(), 2);

    let names = label_values(&snapshot, "container", Some(LEVEL), &[]).unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["web-0", "web-1", "web-2"]);
    let (page, total) = list(&snapshot, None, &[], 7, 5).unwrap();
    assert_eq!((page.len(), total), (2, 9));
}

#[test]
fn senseless_questions_are_refused_with_the_object_and_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let writer = history(&directory);
    let snapshot = Snapshot::take(writer.shared());
    let refusal = |query: &Query| evaluate(&snapshot, query).unwrap_err().to_string();
    let QueryError::NoMetric { nearest, .. } =
        evaluate(&snapshot, &query("cgscope_test_events", 0, 60, 1)).unwrap_err()
    else {
        panic!("it is there")
    };
    assert_eq!(nearest[0], EVENTS);
    let mut many = query(EVENTS, 0, 10_000, 1);
    many.limits.cells = 29_999;
    assert!(refusal(&many).contains("30000 values"), "{}", refusal(&many));
    many.limits = Limits { series: 2, ..Limits::default() };
    assert!(refusal(&many).contains("3 series"));
    for (metric, function) in [
        (EVENTS, Function::Mean),
        (EVENTS, Function::Quantile(0.5)),
        (LEVEL, Function::Rate),
        (LEVEL, Function::Quantile(0.5)),
    ] {
        let mut query = query(metric, 0, 60, 1);
        query.function = Some(function);
        assert!(refusal(&query).contains(metric));
    }
    let mut merged = query(LATENCY, 0, 60, 1);
    merged.aggregate = Some(Aggregate::Mean);
    assert!(refusal(&merged).contains("merged"));
}
