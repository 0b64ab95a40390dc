//! The profile as JSON for speedscope: <https://www.speedscope.app/file-format-schema.json>.
//!
//! One profile of type `sampled` for everything, then one for each container if there are several. The
//! member `cgscope` carries totals and confidence; speedscope passes over members it does not know.

use std::collections::BTreeMap;

use serde::Serialize;

use super::confidence::Confidence;
use super::document::Profile;
use super::facts::PROGRAM;
use super::kind::Unit;
use super::label::Label;
use super::tree::CallTree;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";
/// More containers than this are shown together only: the file repeats each stack for its container.
const CONTAINERS_MAX: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    exporter: String,
    active_profile_index: u32,
    shared: Shared<'a>,
    profiles: Vec<Sampled>,
    cgscope: Header<'a>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

#[derive(Serialize)]
struct Header<'a> {
    total: u64,
    unit: Unit,
    lost: BTreeMap<&'a str, u64>,
    confidence: Confidence,
}

/// Writes the file.
pub(super) fn render(profile: &Profile, tree: &CallTree) -> Result<Vec<u8>, serde_json::Error> {
    let places: BTreeMap<&Label, usize> =
        tree.labels().iter().enumerate().map(|(place, label)| (label, place)).collect();
    let name = format!("{} {}", profile.kind.title(), profile.scope);
    let mut profiles = vec![sampled(profile, name.clone(), tree, &places)];
    let containers = profile.by_container();
    if (2..=CONTAINERS_MAX).contains(&containers.len()) {
        let of_container =
            |(name, tree): (String, CallTree)| sampled(profile, name, &tree, &places);
        profiles.extend(containers.into_iter().map(of_container));
    }
    let frame = |label: &'_ Label| label.marked();
    serde_json::to_vec(&File {
        schema: SCHEMA,
        name,
        exporter: PROGRAM.replace(' ', "@"),
        active_profile_index: 0,
        shared: Shared {
            frames: tree
                .labels()
                .iter()
                .map(|label| Frame { name: frame(label), file: label.module.as_deref() })
                .collect(),
        },
        profiles,
        cgscope: Header {
            total: tree.total(),
            unit: profile.kind.unit(),
            lost: profile.lost.iter().map(|(r, w)| (r.as_str(), profile.value(*w))).collect(),
            confidence: Confidence::of(profile),
        },
    })
}

fn sampled(
    profile: &Profile,
    name: String,
    tree: &CallTree,
    places: &BTreeMap<&Label, usize>,
) -> Sampled {
    let (samples, weights) = tree
        .paths()
        .map(|(path, weight)| {
            let stack: Vec<_> =
                path.iter().filter_map(|label| places.get(label).copied()).collect();
            (stack, weight)
        })
        .unzip();
    Sampled {
        kind: "sampled",
        name,
        unit: match profile.kind.unit() {
            Unit::Samples | Unit::Events => "none",
            Unit::Bytes => "bytes",
            Unit::Nanoseconds => "nanoseconds",
        },
        start_value: 0,
        end_value: tree.total(),
        samples,
        weights,
    }
}
