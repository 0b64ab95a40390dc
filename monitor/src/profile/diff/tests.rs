//! Two small profiles compared in each format.

use serde_json::Value;

use super::*;

const BEFORE: &str = "web;main;old 30\nweb;main;both 60\nweb;main 10\n[lost: ring full] 20\n";
const AFTER: &str = "web;main;both 20\nweb;main;new;deep 20\nweb;main 10\n";

fn read(name: &str, text: &str) -> Recording {
    Recording::read(name, text.as_bytes()).unwrap()
}

fn diff(scale: Scale) -> Diff {
    Diff::between(&read("before", BEFORE), &read("after", AFTER), scale).unwrap()
}

#[test]
fn weights_are_scaled_to_what_arrived() {
    let lines = String::from_utf8(diff(Scale::Total).render(DiffFormat::Folded).unwrap()).unwrap();
    assert_eq!(
        lines,
        "[lost: ring full] 10 0\nweb;main 5 10\nweb;main;both 30 20\nweb;main;new;deep 0 20\n\
         web;main;old 15 0\n"
    );
    let lines = diff(Scale::Absolute).render(DiffFormat::Folded).unwrap();
    assert!(String::from_utf8(lines).unwrap().contains("web;main;both 60 20\n"));
}

#[test]
fn json_has_both_weights_of_each_node() {
    let diff = diff(Scale::Total);
    let document: Value = serde_json::from_slice(&diff.render(DiffFormat::Json).unwrap()).unwrap();
    assert_eq!(document["factor"], 0.5);
    assert_eq!(document["a"]["total"], 120);
    assert_eq!(document["a"]["lost"], 20);
    // Of A, 30 of `old` and the 20 that were lost are not in B.
    assert_eq!(document["gone_share"], 50.0 / 120.0);
    assert_eq!((&document["b"]["name"], &document["confidence"]), (&"after".into(), &"low".into()));
    let nodes = document["nodes"].as_array().unwrap();
    let sum = |side: &str| nodes.iter().map(|node| node[side].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("self_a"), sum("self_b")), (120, 50));
    let name =
        |node: &Value| document["frames"][node["frame"].as_u64().unwrap() as usize]["name"].clone();
    let both = nodes.iter().find(|node| name(node) == "both").unwrap();
    assert_eq!((&both["a"], &both["b"]), (&60.into(), &20.into()));
    for (place, node) in nodes.iter().enumerate() {
        assert!(node["parent"].as_u64().is_none_or(|parent| parent < place as u64));
    }
}

#[test]
fn svg_shows_growth_and_what_is_gone() {
    let image = String::from_utf8(diff(Scale::Total).render(DiffFormat::Svg).unwrap()).unwrap();
    for part in [
        "after against before",
        "A: 100 samples, 16.7 % lost, 0.0 % nameless; B: 50 samples",
        "A times 0.500",
        "41.7 % of A gone",
        "[gone: only in A] (25 samples",
        // Of 75: the 50 of B, and the 25 that are gone.
        "deep (20 samples, 26.67%; +26.67%)",
        "both (20 samples, 26.67%; -13.33%)",
        "old (15 samples, 20.00%; -20.00%)",
        "[lost: ring full] (10 samples, 13.33%; -13.33%)",
    ] {
        assert!(image.contains(part), "{part} is missing in {image}");
    }
}

#[test]
fn what_differs_in_kind_or_is_empty_is_refused() {
    let mut time = read("time", AFTER);
    time.unit = Unit::Nanoseconds;
    let error = Diff::between(&read("before", BEFORE), &time, Scale::Total).unwrap_err();
    assert!(error.to_string().contains("before counts samples, time counts nano"), "{error}");
    let empty = read("lossy", "[lost: ring full] 9\n");
    let error = Diff::between(&read("before", BEFORE), &empty, Scale::Total).unwrap_err();
    assert_eq!(error.to_string(), "lossy has no samples");
}

#[test]
fn a_profile_does_not_differ_from_itself() {
    let same = Diff::between(&read("a", BEFORE), &read("b", BEFORE), Scale::Total).unwrap();
    assert_eq!(same.gone_share(), 0.0);
    let lines = String::from_utf8(same.render(DiffFormat::Folded).unwrap()).unwrap();
    for line in lines.lines() {
        let mut words = line.rsplit(' ');
        assert_eq!(words.next(), words.next(), "{line}");
    }
    let image = String::from_utf8(same.render(DiffFormat::Svg).unwrap()).unwrap();
    assert!(!image.contains("[gone") && !image.contains("%; +"), "{image}");
}
