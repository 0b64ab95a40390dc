//! Births, deaths and order of series.

use super::*;
use crate::metric::Sample;
use crate::store::fixture::{Did, EVENTS, Host};

fn sort(dictionary: &mut Dictionary, tick: &Tick) -> Sorted {
    dictionary.sort(tick, None, &mut |_| None)
}

fn growth(dictionary: &Dictionary, sorted: &Sorted) -> Vec<(usize, u64)> {
    let counters = sorted.measured.iter().filter_map(|(id, measured)| match measured {
        Measured::Counter(n) => Some((*id, *n)),
        _ => None,
    });
    let of = |id| {
        let entry = dictionary.entries.iter().find(|entry| entry.id == id).expect("known");
        let Subject::Container(subject) = &entry.subject else { panic!("a container") };
        usize::from_str_radix(subject, 16).expect("a number")
    };
    let mut growth: Vec<_> = counters.map(|(id, n)| (of(id), n)).collect();
    growth.sort_unstable();
    growth
}

fn did(events: u64) -> Did {
    Did { events, ..Did::default() }
}

#[test]
fn the_born_count_from_zero_and_the_first_tick_has_no_growth() {
    let mut dictionary = Dictionary::new(100, &[], 0);
    let mut host = Host::new(2);
    let first = sort(&mut dictionary, &host.tick(0, 1_000, &[did(5), did(6)]));
    assert_eq!((growth(&dictionary, &first), first.new.len()), (vec![], 6));
    host.add();
    let second = sort(&mut dictionary, &host.tick(1, 1_000, &[did(1), did(2), did(3)]));
    assert_eq!(growth(&dictionary, &second), [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(second.new.len(), 3);
    assert!(second.measured.is_sorted_by_key(|(id, _)| *id));
    host.restart();
    let third = sort(&mut dictionary, &host.tick(2, 1_000, &[did(2), did(0), did(1)]));
    assert_eq!(growth(&dictionary, &third), [(0, 2), (1, 0), (2, 1)], "totals that began anew");
}

#[test]
fn the_order_of_a_tick_does_not_matter() {
    let mut dictionary = Dictionary::new(100, &[], 0);
    let mut host = Host::new(5);
    sort(&mut dictionary, &host.tick(0, 1_000, &[]));
    let all: Vec<Did> = (1..=5).map(did).collect();
    let change = |tick: Tick, change: fn(&mut Vec<Sample>)| {
        let mut samples = tick.samples().map(SampleRef::to_sample).collect();
        change(&mut samples);
        Tick::new(tick.at, tick.taken, samples)
    };
    let tick = change(host.tick(1, 1_000, &all), |samples| {
        samples.reverse();
        samples.remove(3);
    });
    let sorted = sort(&mut dictionary, &tick);
    assert!(sorted.measured.is_sorted_by_key(|(id, _)| *id));
    assert_eq!(growth(&dictionary, &sorted), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    // One that comes twice counts once.
    let tick = change(host.tick(2, 1_000, &all), |samples| samples.push(samples[0].clone()));
    assert_eq!(sort(&mut dictionary, &tick).measured.len(), 15);
}

#[test]
fn numbers_go_on_where_they_ended_and_kinds_do_not_mix() {
    let mut dictionary = Dictionary::new(100, &[], 0);
    let mut host = Host::new(15);
    let sorted = sort(&mut dictionary, &host.tick(0, 1_000, &[]));
    let mut ids: Vec<SeriesId> = sorted.new.iter().map(|row| row.id).collect();
    assert!(sorted.new.iter().all(|row| row.kind() == Kind::Counter || row.metric != EVENTS.name));
    let mut highest: HashMap<GroupId, SeriesId> = HashMap::new();
    ids.sort_unstable();
    highest.extend(ids.iter().map(|id| (id.group(), *id)));
    let mut stored: Vec<_> = highest.into_values().collect();
    stored.sort_unstable();
    let mut again = Dictionary::new(100, &stored, 45);
    let mut other = Host::new(20);
    other.containers.drain(..15);
    let sorted = sort(&mut again, &other.tick(0, 1_000, &[]));
    assert!(sorted.new.iter().all(|row| !ids.contains(&row.id)), "no number is given twice");
}

#[test]
fn the_gone_are_forgotten_and_found_again() {
    let mut dictionary = Dictionary::new(100, &[], 0);
    let mut host = Host::new(2);
    let first = sort(&mut dictionary, &host.tick(0, 1_000, &[did(1), did(1)]));
    let gone = host.containers.pop().expect("two");
    (1..5).for_each(|i| drop(sort(&mut dictionary, &host.tick(i, 1_000, &[did(1)]))));
    dictionary.forget_older_than(3);
    assert_eq!(dictionary.len(), 3);
    host.containers.push(gone);
    let mut find = |sample: SampleRef<'_>| {
        let is = |row: &&SeriesRow| {
            row.metric == sample.metric.name && row.subject == subject_text(sample.subject)
        };
        first.new.iter().find(is).map(|row| row.id)
    };
    let sorted = dictionary.sort(&host.tick(6, 1_000, &[did(1), did(1)]), None, &mut find);
    assert!(sorted.new.is_empty());
    assert_eq!(growth(&dictionary, &sorted), [(0, 1)], "what came meanwhile is not known");
}
