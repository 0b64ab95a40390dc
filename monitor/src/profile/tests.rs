//! Whole profiles, drawn in each format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::Value;

use super::folded::read;
use super::*;
use crate::symbol::{Frame, Reason};
use crate::symbol::{Tgid, Tid};

pub(super) fn user(name: &str) -> Frame {
    Frame::User { name: name.into(), module: Some("/bin/a".into()) }
}

pub(super) fn unknown(reason: Reason, address: u64) -> Frame {
    Frame::Unresolved { reason, address, module: None }
}

pub(super) fn sample(comm: &str, frames: Vec<Frame>, count: u64) -> Sample {
    Sample {
        tgid: Tgid(1),
        tid: Some(Tid(2)),
        comm: comm.into(),
        container: None,
        state: None,
        waker: None,
        frames: frames.into(),
        places: Arc::from([]),
        weight: Weight { count, amount: count * 1_000_000 },
    }
}

pub(super) fn profile(samples: Vec<Sample>, lost: &[(&str, u64)]) -> Profile {
    let lost = lost.iter().map(|(r, count)| ((*r).to_owned(), Weight { count: *count, amount: 0 }));
    Profile {
        kind: ProfileKind::OnCpu,
        started_at: UNIX_EPOCH + Duration::from_secs(10),
        duration_ns: 5_000_000_000,
        frequency_hz: Some(99),
        scope: "container web".into(),
        containers: BTreeMap::new(),
        samples,
        lost: lost.collect::<BTreeMap<_, _>>(),
        drawn: Weight::default(),
    }
}

pub(super) fn example() -> Profile {
    let inlined = Frame::Inlined { name: "get".into(), module: None };
    let kernel = Frame::Kernel { name: "do_syscall_64".into() };
    profile(
        vec![
            sample("web", vec![user("_start"), user("main"), inlined, kernel], 70),
            sample("web", vec![user("_start"), user("main")], 20),
            sample(
                "web",
                vec![unknown(Reason::ProcessGone, 5), unknown(Reason::ProcessGone, 6)],
                10,
            ),
        ],
        &[("ring full", 25)],
    )
}

#[test]
fn folded_lines_have_thread_user_and_kernel_in_order() {
    let lines = String::from_utf8(example().render(Format::Folded).unwrap()).unwrap();
    assert_eq!(
        lines,
        "[lost: ring full] 25\n\
         web;[unknown: process gone] 10\n\
         web;_start;main 20\n\
         web;_start;main;get_[i];do_syscall_64_[k] 70\n"
    );
}

#[test]
fn json_is_a_tree_whose_sums_agree() {
    let document: Value = serde_json::from_slice(&example().render(Format::Json).unwrap()).unwrap();
    assert_eq!(document["unit"], "samples");
    assert_eq!(document["kind"], "on-cpu");
    assert_eq!(document["total"], 125);
    assert_eq!(document["lost"]["ring full"], 25);
    assert_eq!(document["started_at_ns"], 10_000_000_000_u64);
    assert_eq!(document["confidence"]["lost_share"], 0.2);
    assert_eq!(document["confidence"]["unresolved_share"], 0.1);
    assert_eq!(document["confidence"]["level"], "low");
    let nodes = document["nodes"].as_array().unwrap();
    let roots: u64 =
        nodes.iter().filter(|n| n["parent"].is_null()).map(|n| n["value"].as_u64().unwrap()).sum();
    let own: u64 = nodes.iter().map(|n| n["self"].as_u64().unwrap()).sum();
    assert_eq!((roots, own), (125, 125));
    for (place, node) in nodes.iter().enumerate() {
        assert!(node["parent"].as_u64().is_none_or(|parent| parent < place as u64));
    }
    let kinds: Vec<_> = nodes
        .iter()
        .map(|node| &document["frames"][node["frame"].as_u64().unwrap() as usize]["kind"])
        .collect();
    assert!(kinds.contains(&&Value::from("lost")) && kinds.contains(&&Value::from("unknown")));
}

#[test]
fn svg_names_totals_loss_and_doubt() {
    let image = String::from_utf8(example().render(Format::Svg).unwrap()).unwrap();
    for part in [
        "On-CPU flame graph: container web",
        "100 samples in 5.0 s at 99 Hz, 20.0 % lost, 10.0 % with nameless frames, confidence low",
        "do_syscall_64 (70 samples, 56.00%)",
        "[lost: ring full] (25 samples, 20.00%)",
        "[unknown: process gone] (10 samples, 8.00%)",
        "rgb(190,190,190)",
        "rgb(150,150,210)",
    ] {
        assert!(image.contains(part), "{part} is missing");
    }
    let again = String::from_utf8(example().render(Format::Svg).unwrap()).unwrap();
    assert_eq!(image, again, "the same profile has the same picture");
}

#[test]
fn the_subtitle_fits_into_the_drawing_and_is_whole_under_the_pointer() {
    let mut profile = example();
    profile.scope = "container ".to_owned() + &"very-long-name/".repeat(30);
    for reason in ["one", "two", "three", "four"] {
        let weight = Weight { count: 10, amount: 0 };
        profile.lost.insert(format!("the {reason} ring was full for quite a while"), weight);
    }
    let image = String::from_utf8(profile.render(Format::Svg).unwrap()).unwrap();
    let (_, subtitle) = image.split_once("id=\"subtitle\"").unwrap();
    let (shown, whole) = subtitle[subtitle.find('>').unwrap() + 1..].split_once("<title>").unwrap();
    // Inferno draws on 1,200 pixels, monospaced, 12 high: a letter takes 7.3.
    assert!(shown.chars().count() <= 163 && shown.ends_with('\u{2026}'), "{shown}");
    let whole = &whole[..whole.find("</title>").unwrap()];
    assert!(whole.starts_with(shown.trim_end_matches('\u{2026}')), "{whole}");
    assert!(whole.contains("four ring was full"), "{whole}");
    let (_, title) = image.split_once("id=\"title\"").unwrap();
    let title = &title[title.find('>').unwrap() + 1..title.find("</text>").unwrap()];
    assert!(title.chars().count() <= 114, "{title}");
}

#[test]
fn off_cpu_widths_are_time() {
    let mut profile = example();
    profile.kind = ProfileKind::OffCpu;
    profile.frequency_hz = None;
    let tree = profile.tree();
    assert_eq!(tree.total(), 100_000_000);
    let image = String::from_utf8(profile.render(Format::Svg).unwrap()).unwrap();
    assert!(image.contains("0.100 s in 5.0 s, 20.0 % lost"), "{image}");
    assert!(image.contains("main (90,000,000 ns"), "{image}");
}

#[test]
fn an_empty_profile_says_so() {
    let profile = profile(vec![], &[]);
    let image = String::from_utf8(profile.render(Format::Svg).unwrap()).unwrap();
    assert!(image.contains("No sample arrived"), "{image}");
    assert_eq!(profile.render(Format::Folded).unwrap(), b"");
    let document: Value = serde_json::from_slice(&profile.render(Format::Json).unwrap()).unwrap();
    assert_eq!(document["confidence"]["level"], "low");
}

#[test]
fn a_sound_profile_is_trusted() {
    let confidence = Confidence::of(&profile(vec![sample("a", vec![user("f")], 500)], &[]));
    assert_eq!(confidence.level, Level::High);
    assert!(confidence.doubts.is_empty(), "{:?}", confidence.doubts);
}

#[test]
fn a_very_deep_stack_is_drawn() {
    let frames: Vec<_> = (0..5000).map(|depth| user(&format!("f{depth}"))).collect();
    let profile = profile(vec![sample("a", frames, 1)], &[]);
    for format in Format::ALL {
        assert!(profile.render(format).unwrap().len() > 4000, "{format:?}");
    }
    let document: Value = serde_json::from_slice(&profile.render(Format::Json).unwrap()).unwrap();
    assert_eq!(document["nodes"].as_array().unwrap().len(), 5001);
}

/// Counts the weights inferno understood: a name that passed for a weight or a comment changes it.
fn total_in(image: &str) -> u64 {
    let at = image.find("total_samples=\"").unwrap() + "total_samples=\"".len();
    image[at..].split('"').next().unwrap().parse().unwrap()
}

proptest! {
    #[test]
    fn hostile_names_neither_break_the_picture_nor_its_sums(
        names in proptest::collection::vec(
            prop_oneof![
                Just("f 12".to_owned()), Just("# f".to_owned()), Just(" ".to_owned()),
                Just("a;b 3".to_owned()), Just("</svg>&\"'\u{0}\u{ffff}".to_owned()),
                Just("x 1.5".to_owned()), Just("y 3 4".to_owned()), Just(String::new()), Just(".".to_owned()),
                ".{0,12}",
            ],
            1..6,
        ),
        weight in 1_u64..1000,
    ) {
        let frames: Vec<_> = names[1..].iter().map(|name| user(name)).collect();
        let profile = profile(vec![sample(&names[0], frames.clone(), weight)], &[(&names[0], 3)]);
        let image = String::from_utf8(profile.render(Format::Svg).unwrap()).unwrap();
        prop_assert_eq!(total_in(&image), weight + 3, "{}", image);
        prop_assert!(!image.contains(|c: char| c < ' ' && !c.is_ascii_whitespace()));
        prop_assert!(!image.contains("%; "), "a name was read as a second weight");
        let text = String::from_utf8(profile.render(Format::Folded).unwrap()).unwrap();
        let stacks = read(&text).unwrap();
        prop_assert!(stacks.iter().any(|stack| stack.weight == weight
            && stack.frames[0] == names[0] && stack.frames.len() == names.len()));
    }
}

#[test]
fn samples_become_a_profile() {
    let mut samples = Samples::default();
    let one = Weight { count: 1, amount: 10_101_010 };
    let comm: Arc<str> = "web".into();
    for address in [7, 7, 8] {
        let stack = crate::symbol::RawStack {
            program: crate::symbol::Program::LATEST,
            tgid: Tgid(1),
            kernel: vec![],
            user: vec![address],
            end: crate::symbol::WalkEnd::Complete,
        };
        let comm = Arc::clone(&comm);
        let whose = Whose {
            process: None,
            tid: None,
            comm,
            container: Some("c1".into()),
            state: None,
            waker: None,
        };
        samples.record(stack, whose, one);
    }
    samples.lose("ring full", Weight { count: 2, amount: 0 });
    let frames = vec![vec![user("f")], vec![user("g")]];
    let mut profile = profile(samples.named(frames, vec![], |_, _| true), &[]);
    profile.lost = samples.lost().clone();
    let lines = String::from_utf8(profile.render(Format::Folded).unwrap()).unwrap();
    assert_eq!(lines, "[lost: ring full] 2\nweb;f 2\nweb;g 1\n");
}
