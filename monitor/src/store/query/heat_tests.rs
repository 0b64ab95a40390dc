//! Buckets of each step against the values that were recorded.

use super::heat;
use crate::{
    metric::Histogram,
    store::{
        HistoryOptions, Snapshot, Writer,
        fixture::{Did, Host, web_names},
        query::{Limits, Query},
    },
};

/// 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

fn latencies(container: u64, second: u64) -> Vec<u64> {
    (0..(second + container) % 4).map(|i| (second + 1) << (10 + i)).collect()
}

fn query(metric: &str, step: u64) -> Query {
    Query {
        metric: metric.to_owned(),
        matchers: vec![],
        start_ms: START_MS,
        end_ms: START_MS + 60_000,
        step_ms: step * 1_000,
        function: None,
        by: None,
        aggregate: None,
        limits: Limits::default(),
    }
}

#[test]
fn each_step_has_the_values_of_all_series_in_it_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let options = HistoryOptions::in_directory(directory.path().to_owned());
    let mut writer = Writer::open(options, web_names(2));
    let mut host = Host::new(2);
    for second in 0..60 {
        let did =
            |container| Did { events: 1, level: 1, latencies_ns: latencies(container, second) };
        writer.record(&host.tick(START_MS + second * 1_000, 1_000, &[did(0), did(1)]));
    }
    let snapshot = Snapshot::take(writer.shared());
    for step in [1, 7, 10, 60] {
        let found = heat(&snapshot, &query("cgscope_test_latency_seconds", step)).unwrap();
        assert_eq!(found.merged, 2);
        let first = found.start_ms;
        for (gain, i) in found.steps.iter().zip(0..) {
            let from = (first + i * step * 1_000).saturating_sub(START_MS) / 1_000;
            let to = (first + (i + 1) * step * 1_000).saturating_sub(START_MS) / 1_000;
            let mut truth = Histogram::default();
            // Of the first tick of a daemon nothing is known.
            for second in from.max(1)..to.min(60) {
                for container in 0..2 {
                    latencies(container, second).into_iter().for_each(|ns| truth.record(ns));
                }
            }
            let histogram = gain.as_ref().map(super::Gain::histogram).unwrap_or_default();
            assert_eq!(
                histogram.buckets().collect::<Vec<_>>(),
                truth.buckets().collect::<Vec<_>>(),
                "step {step}, {from}..{to}"
            );
        }
    }
    let earlier = Query {
        start_ms: START_MS - 120_000,
        end_ms: START_MS - 60_000,
        ..query("cgscope_test_latency_seconds", 1)
    };
    assert_eq!(heat(&snapshot, &earlier).unwrap().merged, 0, "they were not there yet");
    let refusal = heat(&snapshot, &query("cgscope_test_level_bytes", 1)).unwrap_err().to_string();
    assert!(refusal.contains("no buckets"), "{refusal}");
}
