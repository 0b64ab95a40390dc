//! What is written is what was measured, in every tier, whatever happened in between.

use std::{collections::BTreeMap, fs, time::Duration};

use proptest::prelude::*;

use super::{
    HistoryOptions, Snapshot, State, Writer,
    fixture::{Did, Host, no_names, writer},
    point::{Gain, Points, Summary},
    reading::Read,
    snapshot::Segment,
    tier::{STEP_MS, TIERS},
    writer::{database_path, journal_path},
};
use crate::metric::{Histogram, KtimeNs};

/// 2026-01-01, a multiple of ten minutes.
const START_MS: u64 = 1_767_225_600_000;

#[derive(Clone, Debug)]
enum Step {
    Ticks(Vec<Did>),
    Gap(u64),
    ClockBack(u64),
    ClockForward(u64),
    Restart,
    Seal,
}

fn did() -> impl Strategy<Value = Did> {
    let latencies = prop::collection::vec(0u64..1 << 36, 0..4);
    (0u64..1 << 40, 0u32..1 << 20, latencies).prop_map(|(events, level, latencies_ns)| Did {
        events,
        level,
        latencies_ns,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(did(), 1..80).prop_map(Step::Ticks),
        2 => (2u64..900).prop_map(Step::Gap),
        1 => (1u64..2_000_000).prop_map(Step::ClockBack),
        1 => (1u64..2_000_000).prop_map(Step::ClockForward),
        2 => Just(Step::Restart),
        1 => Just(Step::Seal),
    ]
}

/// A tier's points by their instant.
#[derive(Debug, Default, PartialEq)]
struct Tier {
    events: BTreeMap<u64, Summary<u64>>,
    level: BTreeMap<u64, Summary<f64>>,
    latency: BTreeMap<u64, Gain>,
}

fn merge_into<P: Clone>(
    map: &mut BTreeMap<u64, P>,
    at: u64,
    point: &P,
    merge: impl Fn(&mut P, &P),
) {
    map.entry(at).and_modify(|known| merge(known, point)).or_insert_with(|| point.clone());
}

/// What the ticks themselves come to.
fn truth(ticks: &[(u64, bool, Did)], step_ms: u64) -> Tier {
    let mut tier = Tier::default();
    for (at_ms, has_start, did) in ticks {
        let at = at_ms / step_ms * step_ms;
        merge_into(&mut tier.level, at, &Summary::of(f64::from(did.level)), Summary::merge);
        if *has_start {
            merge_into(&mut tier.events, at, &Summary::of(did.events), Summary::merge);
            let mut values = Histogram::default();
            did.latencies_ns.iter().for_each(|ns| values.record(*ns));
            merge_into(&mut tier.latency, at, &Gain::between(&values, None), Gain::merge);
        }
    }
    tier
}

/// What is stored; tier 0 by whole seconds too, since several ticks may share one.
fn stored(writer: &Writer, tier: usize) -> Tier {
    let snapshot = Snapshot::take(writer.shared());
    let ids: Vec<_> = snapshot.series(None).unwrap().iter().map(|row| row.id).collect();
    let mut seen = Tier::default();
    let segment = Segment { tier, from_ms: 0, to_ms: u64::MAX };
    let reading = snapshot.reading(&[segment]).unwrap();
    let instants: Vec<_> = reading.stretches().map(|(_, instants)| instants).collect();
    reading
        .read(&ids, &mut |read| {
            let Read::Points { stretch, points, .. } = read else { return };
            let at = |i: u32| instants[stretch][i as usize].at_ms / STEP_MS[tier] * STEP_MS[tier];
            match points {
                Points::Counter(points) => points
                    .iter()
                    .for_each(|(i, p)| merge_into(&mut seen.events, at(*i), p, Summary::merge)),
                Points::Gauge(points) => points
                    .iter()
                    .for_each(|(i, p)| merge_into(&mut seen.level, at(*i), p, Summary::merge)),
                Points::Distribution(points) => points
                    .iter()
                    .for_each(|(i, p)| merge_into(&mut seen.latency, at(*i), p, Gain::merge)),
            }
        })
        .unwrap();
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_tier_is_what_the_ticks_come_to(steps in prop::collection::vec(step(), 1..25)) {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        let mut host = Host::new(1);
        let (mut at_ms, mut gap_ms, mut is_first) = (START_MS, 0, true);
        let mut ticks = vec![];
        for step in steps {
            match step {
                Step::Ticks(all) => for did in all {
                    at_ms += 1_000 + gap_ms;
                    let tick = host.tick(at_ms, 1_000 + gap_ms, std::slice::from_ref(&did));
                    gap_ms = 0;
                    writer.record(&tick);
                    ticks.push((at_ms, !is_first, did));
                    is_first = false;
                },
                Step::Gap(seconds) => gap_ms += seconds * 1_000,
                Step::ClockBack(ms) => at_ms -= ms,
                Step::ClockForward(ms) => at_ms += ms,
                Step::Restart => {
                    drop(writer);
                    writer = self::writer(directory.path());
                    host.restart();
                    is_first = true;
                }
                Step::Seal => writer.seal_now(KtimeNs(host.taken_ms * 1_000_000)),
            }
        }
        prop_assert_eq!(writer.shared().state(), State::Writing);
        for (tier, step_ms) in STEP_MS.into_iter().enumerate() {
            prop_assert_eq!(stored(&writer, tier), truth(&ticks, step_ms), "tier {}", tier);
        }
        // And again from the disk.
        drop(writer);
        let mut writer = self::writer(directory.path());
        writer.seal_now(KtimeNs(0));
        for (tier, step_ms) in STEP_MS.into_iter().enumerate() {
            prop_assert_eq!(stored(&writer, tier), truth(&ticks, step_ms), "tier {}", tier);
        }
    }
}

/// So many ticks, a second apart, in which a container does the same again and again.
fn record(writer: &mut Writer, host: &mut Host, at_ms: &mut u64, ticks: u64) {
    record_every(1_000, writer, host, at_ms, ticks);
}

fn record_every(ms: u64, writer: &mut Writer, host: &mut Host, at_ms: &mut u64, ticks: u64) {
    let did = Did { events: 3, level: 7, latencies_ns: vec![5_000] };
    for _ in 0..ticks {
        *at_ms += ms;
        let tick = host.tick(*at_ms, ms, &vec![did.clone(); host.containers.len()]);
        writer.record(&tick);
    }
}

fn events(writer: &Writer, tier: usize) -> u64 {
    stored(writer, tier).events.values().map(|s| s.sum).sum()
}

#[test]
fn what_is_too_old_goes_tier_by_tier() {
    let directory = tempfile::tempdir().unwrap();
    let keep = [600, 3_600, 7_200, 86_400].map(Duration::from_secs);
    let options = HistoryOptions { keep, ..HistoryOptions::in_directory(directory.path().into()) };
    let mut writer = Writer::open(options, no_names());
    let (mut host, mut at_ms) = (Host::new(1), START_MS);
    record_every(10_000, &mut writer, &mut host, &mut at_ms, 4 * 360 + 1);
    let begins = |tier| (at_ms - stored(&writer, tier).events.first_key_value().unwrap().0) / 1_000;
    // A piece goes as a whole, when its last point is too old; merged ones are an hour or six long.
    assert!((600..=1_220).contains(&begins(0)), "{}", begins(0));
    assert!((3_600..=7_800).contains(&begins(1)), "{}", begins(1));
    assert!((7_200..=14_400).contains(&begins(2)), "{}", begins(2));
    assert_eq!(begins(3) / 600, 4 * 6, "all of it");
    assert_eq!(events(&writer, 3), 3 * 4 * 360, "all but the first tick, which has no start");
}

#[test]
fn a_clock_that_leaps_a_year_deletes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    let (mut host, mut at_ms) = (Host::new(1), START_MS);
    record(&mut writer, &mut host, &mut at_ms, 1_300);
    at_ms += 2 * 365 * 86_400_000;
    record(&mut writer, &mut host, &mut at_ms, 1_300);
    at_ms -= 2 * 365 * 86_400_000;
    record(&mut writer, &mut host, &mut at_ms, 700);
    for tier in 0..TIERS {
        assert_eq!(events(&writer, tier), 3 * (3_300 - 1), "tier {tier}");
    }
}

#[test]
fn the_oldest_of_the_finest_goes_when_there_is_too_much() {
    let directory = tempfile::tempdir().unwrap();
    let max_bytes = 300 << 10;
    let options =
        HistoryOptions { max_bytes, ..HistoryOptions::in_directory(directory.path().into()) };
    let mut writer = Writer::open(options, no_names());
    let (mut host, mut at_ms) = (Host::new(60), START_MS);
    let mut seed = 1u64;
    for _ in 0..3 * 720 {
        at_ms += 5_000;
        let did: Vec<Did> = (0..60)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Did {
                    events: seed >> 40,
                    level: (seed >> 33) as u32 & 0xffff,
                    latencies_ns: vec![],
                }
            })
            .collect();
        writer.record(&host.tick(at_ms, 5_000, &did));
    }
    let size = |path| fs::metadata(path).map_or(0, |file| file.len());
    assert!(size(database_path(directory.path())) < max_bytes + (2 << 20), "with free pages");
    let begins = |tier| *stored(&writer, tier).events.first_key_value().unwrap().0;
    assert!(begins(0) > START_MS + 3_600_000, "the finest gave way");
    assert!(begins(3) < START_MS + 600_000, "the coarsest is whole");
}

#[test]
fn series_over_the_bound_are_refused_and_counted_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        HistoryOptions { max_series: 30, ..HistoryOptions::in_directory(directory.path().into()) };
    let mut writer = Writer::open(options, no_names());
    let (mut host, mut at_ms) = (Host::new(10), START_MS);
    record(&mut writer, &mut host, &mut at_ms, 5);
    (0..10).for_each(|_| host.add());
    record(&mut writer, &mut host, &mut at_ms, 5);
    let refused = writer.shared().counts.refused[1].load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refused, 10 * 3 * 5);
    assert_eq!(events(&writer, 0), 3 * 10 * 9);
    assert_eq!(Snapshot::take(writer.shared()).series(None).unwrap().len(), 30);
}

#[test]
fn damaged_files_are_moved_aside_and_history_begins_anew() {
    for name in ["history.db", "history.journal"] {
        let directory = tempfile::tempdir().unwrap();
        let mut first = writer(directory.path());
        let (mut host, mut at_ms) = (Host::new(1), START_MS);
        record(&mut first, &mut host, &mut at_ms, 1_300);
        drop(first);
        fs::write(directory.path().join(name), vec![0x5a; 20_000]).unwrap();
        let mut again = writer(directory.path());
        record(&mut again, &mut host, &mut at_ms, 10);
        assert_eq!(again.shared().state(), State::Writing, "{name}");
        assert!(events(&again, 0) >= 3 * 9, "{name}");
        let is_kept = fs::read_dir(directory.path()).unwrap().any(|entry| {
            let kept = entry.unwrap().file_name().to_string_lossy().into_owned();
            kept.starts_with(name.trim_end_matches(".journal")) && kept.contains("damaged")
        });
        assert!(is_kept, "{name}");
    }
}

#[test]
fn files_that_are_removed_while_they_are_written_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    let (mut host, mut at_ms) = (Host::new(1), START_MS);
    record(&mut writer, &mut host, &mut at_ms, 100);
    fs::remove_file(database_path(directory.path())).unwrap();
    fs::remove_file(journal_path(directory.path())).unwrap();
    record(&mut writer, &mut host, &mut at_ms, 30);
    assert_eq!(writer.shared().state(), State::Writing);
    assert!(events(&writer, 0) > 0);
    drop(writer);
    let writer = self::writer(directory.path());
    assert!(events(&writer, 0) > 0, "it is on disk again");
}

#[test]
fn two_writers_do_not_meet() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = writer(directory.path());
    let (mut host, mut at_ms) = (Host::new(1), START_MS);
    record(&mut first, &mut host, &mut at_ms, 3);
    let mut second = writer(directory.path());
    let State::Memory { reason } = second.shared().state() else { panic!("two write") };
    assert!(reason.contains("another daemon"), "{reason}");
    record(&mut second, &mut host, &mut at_ms, 3);
    assert!(events(&second, 0) >= 2 * 3, "it collects in memory");
    drop(first);
    record(&mut second, &mut host, &mut at_ms, 6);
    assert_eq!(second.shared().state(), State::Writing, "now it may");
}
