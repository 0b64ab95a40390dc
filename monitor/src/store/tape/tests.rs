//! Tapes: exactly what was recorded, or what is whole of it and what was lost.

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{
    SectionKind, Tape, TapeError, TapeHistory, TapeWriter, VERSION,
    describe::{Metrics, Numbers},
    section::{file_head, renumber},
    ticks,
};
use crate::{
    metric::{
        Descriptor, Histogram, Kind, KtimeNs, Sample, SampleRef, Scope, Subject, Tick, Unit, Value,
        WallTimeNs,
    },
    profile::{ProfileKind, kept_window},
    store::{Live, OlderTicks},
};

const fn descriptor(name: &'static str, kind: Kind, labels: &'static [&'static str]) -> Descriptor {
    Descriptor {
        name,
        help: "What it \"tells\".",
        title: "Title",
        unit: Unit::Seconds,
        kind,
        scope: Scope::Container,
        labels,
        source: "test",
        kernel_floor: "5.8",
    }
}

static CPU: Descriptor = descriptor("cgscope_test_cpu_seconds_total", Kind::Counter, &["state"]);
static LOAD: Descriptor = descriptor("cgscope_test_load", Kind::Gauge, &[]);
static WAITS: Descriptor = descriptor("cgscope_test_wait_seconds", Kind::Distribution, &[]);

const START_NS: u64 = 1_700_000_000_000_000_000;

fn tick(second: u64, samples: Vec<Sample>) -> Arc<Tick> {
    let ns = second * 1_000_000_000;
    Arc::new(Tick::new(WallTimeNs(START_NS + ns), KtimeNs(7 + ns), samples))
}

fn sample(metric: &'static Descriptor, subject: Option<u8>, value: Value) -> Sample {
    let labels = metric.labels.iter().map(|_| Cow::Owned(format!("ä{}", subject.unwrap_or(0) % 3)));
    let subject =
        subject.map_or(Subject::Host, |id| Subject::Container(format!("container-{id}").into()));
    Sample { metric, subject, labels: labels.collect(), value }
}

/// A second of two containers and the host.
fn measured(second: u64) -> Arc<Tick> {
    let mut histogram = Histogram::default();
    (0..second * 3).for_each(|i| histogram.record(1_000 << (i % 20)));
    let mut samples = vec![sample(&LOAD, None, Value::Gauge(second as f64 / 3.0))];
    for id in [1, 2] {
        samples.push(sample(&CPU, Some(id), Value::Counter(second * 400_000_000)));
        samples.push(sample(&WAITS, Some(id), Value::Distribution(Arc::new(histogram.clone()))));
    }
    tick(second, samples)
}

/// Each section by itself, and the head before them: 5 blocks of 4 ticks, a window after each.
fn parts() -> Vec<Vec<u8>> {
    let mut writer = TapeWriter::default();
    let mut parts = vec![TapeWriter::head()];
    let mut part = |write: &mut dyn FnMut(&mut TapeWriter, &mut Vec<u8>)| {
        let mut section = vec![];
        write(&mut writer, &mut section);
        parts.push(section);
    };
    part(&mut |writer, out| writer.put(out, SectionKind::Facts, &"host"));
    part(&mut |writer, out| writer.put_metrics(out, &[&CPU, &LOAD, &WAITS]));
    for block in 0..5 {
        let ticks: Vec<_> = (block * 4..block * 4 + 4).map(measured).collect();
        part(&mut |writer, out| writer.put_ticks(out, &ticks));
        let kept = kept_window(block * 4_000, "web", &["a", "b", "c", "d"]);
        part(&mut |writer, out| writer.put_profile(out, ProfileKind::OnCpu, &kept));
    }
    part(&mut |writer, out| writer.put_metrics(out, &[]));
    part(&mut |writer, out| writer.put(out, SectionKind::End, &20));
    parts
}

fn parse(bytes: Vec<u8>) -> Result<Tape, TapeError> {
    Tape::parse(Path::new("test.cgscope"), bytes)
}

fn seconds(tape: &mut Tape) -> Vec<u64> {
    let mut seconds = vec![];
    tape.each_tick(0, |tick| {
        let second = (tick.at.0 - START_NS) / 1_000_000_000;
        assert!(tick.samples().eq(measured(second).samples()), "second {second}");
        seconds.push(second);
    });
    seconds
}

#[test]
fn what_was_recorded_comes_back() {
    let mut tape = parse(parts().concat()).unwrap();
    assert_eq!(seconds(&mut tape), (0..20).collect::<Vec<_>>());
    assert_eq!(tape.read::<String>(SectionKind::Facts), ["host"]);
    let windows = tape.profiles();
    assert_eq!(windows.len(), 5);
    assert_eq!(windows[2].1, kept_window(8_000, "web", &["a", "b", "c", "d"]));
    assert_eq!(tape.metrics(), [&CPU, &LOAD, &WAITS]);
    assert!(tape.lost().is_none(), "{:?}", tape.lost());
    assert_eq!(tape.lost().text(), "");
}

/// As who keeps the newest parts puts them together again.
#[test]
fn parts_of_a_longer_tape_are_one_without_a_gap() {
    let mut all = parts();
    // Two blocks and their windows are forgotten.
    all.drain(3..7);
    let mut file = all.concat();
    assert!(!parse(file.clone()).unwrap().lost().is_none());
    renumber(&mut file);
    let mut tape = parse(file).unwrap();
    assert!(tape.lost().is_none(), "{:?}", tape.lost());
    let mut count = 0;
    tape.each_tick(8, |_| count += 1);
    assert_eq!((count, tape.profiles().len()), (12, 3));
    assert!(tape.lost().is_none(), "{:?}", tape.lost());
}

/// Written once for each version and never again: what was recorded then is read by whatever comes later.
#[test]
fn files_of_every_version_are_read() {
    for version in 1..=VERSION {
        let name =
            format!("{}/src/store/tape/version_{version}.cgscope", env!("CARGO_MANIFEST_DIR"));
        let path = Path::new(&name);
        if std::env::var_os("CGSCOPE_BLESS").is_some() && !path.exists() {
            std::fs::write(path, parts().concat()).unwrap();
        }
        let mut tape = Tape::open(path).unwrap();
        assert_eq!(seconds(&mut tape), (0..20).collect::<Vec<_>>());
        assert_eq!(tape.profiles()[4].1, kept_window(16_000, "web", &["a", "b", "c", "d"]));
        assert_eq!(tape.metrics(), [&CPU, &LOAD, &WAITS]);
        assert!(tape.lost().is_none(), "{:?}", tape.lost());
    }
}

#[test]
fn wherever_it_is_cut_whole_sections_stay_and_the_cut_is_told() {
    let parts = parts();
    let text = parts.concat();
    let mut ends = vec![];
    for part in &parts {
        ends.push(ends.last().unwrap_or(&0) + part.len());
    }
    // Blocks of ticks are the 4th, 6th, ... part.
    let blocks: Vec<usize> = (3..parts.len() - 2).step_by(2).map(|part| ends[part]).collect();
    for length in 0..text.len() {
        let whole = blocks.iter().filter(|end| **end <= length).count() as u64;
        match parse(text[..length].to_vec()) {
            Ok(mut tape) => {
                assert_eq!(seconds(&mut tape), (0..whole * 4).collect::<Vec<_>>(), "at {length}");
                assert!(tape.lost().is_cut, "at {length}");
                assert!(tape.lost().text().contains("cut off"));
            }
            Err(TapeError::NoTape { .. }) => assert!(length < ends[1], "at {length}"),
            Err(TapeError::Empty { lost, .. }) => {
                assert_eq!(whole, 0, "at {length}");
                assert!(lost.contains("cut off"), "at {length}: {lost}");
            }
            Err(error) => panic!("at {length}: {error}"),
        }
    }
}

#[test]
fn a_flipped_bit_costs_its_section_and_no_other() {
    let parts = parts();
    let text = parts.concat();
    let mut at = 0;
    for (number, part) in parts.iter().enumerate() {
        for i in (at..at + part.len()).step_by(7) {
            let mut text = text.clone();
            text[i] ^= 1 << (i % 8);
            let mut tape = parse(text).unwrap_or_else(|error| panic!("bit at {i}: {error}"));
            let is_block = (3..parts.len() - 2).contains(&number) && number % 2 == 1;
            let gone = (number as u64).saturating_sub(3) / 2;
            let left = (0..20).filter(|second| !is_block || second / 4 != gone);
            assert_eq!(seconds(&mut tape), left.collect::<Vec<_>>(), "bit at {i}, part {number}");
            let is_window = (3..parts.len() - 2).contains(&number) && number % 2 == 0;
            assert_eq!(tape.profiles().len(), 5 - usize::from(is_window), "bit at {i}");
            assert!(!tape.lost().is_none(), "bit at {i}");
            assert!(!tape.lost().text().is_empty());
            // Of the last block nobody knows how many ticks it had, but the end section.
            assert!(!is_block || gone == 4 || tape.lost().ticks == 4, "{:?}", tape.lost());
        }
        at += part.len();
    }
}

#[test]
fn a_later_version_is_refused_and_a_later_section_left_out() {
    let mut text = parts().concat();
    text[..16].copy_from_slice(&file_head(VERSION + 1));
    let error = parse(text).unwrap_err();
    assert!(matches!(error, TapeError::Later { version, .. } if version == VERSION + 1), "{error}");
    assert!(error.to_string().contains("later version"), "{error}");

    let mut parts = parts();
    let end = parts.pop().unwrap();
    // The head of a section of kind 99, as a later version would write it.
    let mut later = end.clone();
    later[8..12].copy_from_slice(&99u32.to_le_bytes());
    let sum = crate::store::bytes::checksum(&later[..20]);
    later[20..24].copy_from_slice(&sum.to_le_bytes());
    let mut last = end;
    let number = u32::from_le_bytes([last[4], last[5], last[6], last[7]]) + 1;
    last[4..8].copy_from_slice(&number.to_le_bytes());
    let sum = crate::store::bytes::checksum(&last[..20]);
    last[20..24].copy_from_slice(&sum.to_le_bytes());
    parts.extend([later, last]);
    let mut tape = parse(parts.concat()).unwrap();
    assert_eq!(seconds(&mut tape).len(), 20);
    assert_eq!(tape.lost().unknown_sections, 1);
}

#[test]
fn descriptions_at_the_end_stand_in_for_those_at_the_begin() {
    let mut parts = parts();
    parts.remove(2);
    let mut tape = parse(parts.concat()).unwrap();
    assert_eq!(seconds(&mut tape).len(), 20);
    assert_eq!(tape.lost().missing_sections, 1);
    // Without either, samples are counted.
    let last = parts.len() - 2;
    parts.remove(last);
    let mut tape = parse(parts.concat()).unwrap();
    let mut samples = 0;
    tape.each_tick(0, |tick| samples += tick.len());
    assert_eq!((samples, tape.lost().undescribed_samples), (0, 100));
}

#[test]
fn windows_reach_back_to_the_first_tick() {
    let tape = parse(parts().concat()).unwrap();
    assert_eq!(
        tape.at(KtimeNs(9_500_000_000)).map(|tick| tick.taken),
        Some(KtimeNs(9_000_000_007))
    );
    assert_eq!(tape.at(KtimeNs(0)).map(|tick| tick.taken), Some(KtimeNs(7)));
    let live = Live::over(Arc::new(tape));
    live.add_shared(measured(18));
    live.add_shared(measured(19));
    let span = |seconds| {
        let (first, last) = live.window(Duration::from_secs(seconds)).unwrap();
        last.taken.since(first.taken).as_secs()
    };
    assert_eq!([span(0), span(1), span(2), span(7), span(19), span(500)], [1, 1, 2, 7, 19, 19]);
}

#[test]
fn history_is_that_of_its_ticks() {
    let mut tape = parse(parts().concat()).unwrap();
    let mut history = TapeHistory::new(None);
    tape.each_tick(0, |tick| history.record(&tick));
    let snapshot = history.snapshot();
    let series = snapshot.series(Some(CPU.name)).unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!((series[0].labels.len(), series[0].unit), (1, Unit::Seconds));
    assert_eq!(snapshot.series(None).unwrap().len(), 5);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::Counter),
        any::<u64>().prop_map(|bits| Value::Gauge(f64::from_bits(bits))),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(|values| {
            let mut histogram = Histogram::default();
            for value in values {
                histogram.change(|counts| counts[(value % 190) as usize] = value);
                histogram.sum_ns = value;
            }
            Value::Distribution(Arc::new(histogram))
        }),
    ]
}

/// By their bits: NaN is not equal to itself.
fn bits(tick: &Tick) -> String {
    let value = |value: &Value| match value {
        Value::Gauge(value) => format!("{:x}", value.to_bits()),
        other => format!("{other:?}"),
    };
    let samples = tick.samples().map(|sample| {
        let SampleRef { metric, subject, labels, value: of } = sample;
        format!("{} {subject:?} {labels:?} {}", metric.name, value(of))
    });
    format!("{} {} {:?}", tick.at.0, tick.taken.0, samples.collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_ticks_come_back_exactly(
        ticks in prop::collection::vec(
            (any::<u64>(), any::<u64>(),
             prop::collection::vec((0..3usize, prop::option::of(any::<u8>()), any_value()), 0..12)),
            0..6),
    ) {
        let ticks: Vec<Arc<Tick>> = ticks
            .into_iter()
            .map(|(at, taken, samples)| {
                let metrics = [&CPU, &LOAD, &WAITS];
                let samples = samples.into_iter().map(|(m, s, value)| sample(metrics[m], s, value));
                let (at, taken) = (WallTimeNs(at), KtimeNs(taken));
                Arc::new(Tick::new(at, taken, samples.collect()))
            })
            .collect();
        let mut numbers = Numbers::default();
        let bytes = ticks::encode(&ticks, 42, &mut numbers);
        let mut metrics = Metrics::default();
        metrics.add(numbers.rows(0));
        let block = ticks::decode(&bytes, &metrics).unwrap();
        prop_assert_eq!((block.first, block.undescribed), (42, 0));
        let before: Vec<_> = ticks.iter().map(|tick| bits(tick)).collect();
        let after: Vec<_> = block.ticks.iter().map(bits).collect();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn damage_is_told_or_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = parts().concat();
        let mut text = whole.clone();
        for (at, with) in flips {
            let at = at.index(text.len());
            text[at] ^= with;
        }
        text.truncate(cut.index(text.len()) + 1);
        let is_whole = text == whole;
        if let Ok(mut tape) = parse(text) {
            prop_assert_eq!(tape.lost().is_none(), is_whole);
            let mut seen = vec![];
            let mut undescribed = 0;
            tape.each_tick(0, |tick| {
                let second = (tick.at.0 - START_NS) / 1_000_000_000;
                let is_described = !tick.is_empty();
                let is_as_written = tick.samples().eq(measured(second).samples());
                assert!(!is_described || is_as_written);
                undescribed += u64::from(!is_described);
                seen.push(second);
            });
            prop_assert_eq!(tape.lost().undescribed_samples, undescribed * 5);
            prop_assert!(seen.is_sorted());
            let _ = (tape.profiles(), tape.read::<u64>(SectionKind::End));
        }
    }

    #[test]
    fn any_bytes_are_no_block_of_ticks_or_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let metrics = Metrics::default();
        let _ = ticks::decode(&super::section::pack(&bytes), &metrics);
        let _ = ticks::decode(&bytes, &metrics);
        let _ = ticks::span(&bytes);
    }
}
