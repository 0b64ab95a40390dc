//! The profile as JSON, for the dashboard.
//!
//! ```json
//! {"kind": "on-cpu", "unit": "samples", "scope": "host", "started_at_ns": 0, "duration_ns": 0,
//!  "frequency_hz": 99, "total": 12, "lost": {"ring full": 2}, "confidence": {"level": "high", ...},
//!  "frames": [{"name": "main", "kind": "user", "module": "/bin/a"}],
//!  "nodes": [{"frame": 0, "parent": null, "value": 10, "self": 4}]}
//! ```
//!
//! `nodes` is the call tree in preorder: `frame` is a place in `frames`, `parent` a place in `nodes`
//! that is always smaller, so one pass builds the tree. It is flat because stacks are deeper than
//! what JSON parsers let nest. `value` counts the node and all above it, `self` the node alone;
//! lost weight is a root of kind `lost` and part of `total`.

use std::collections::{BTreeMap, HashMap};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::confidence::Confidence;
use super::document::Profile;
use super::kind::{ProfileKind, Unit};
use super::label::{Label, LabelKind};
use super::tree::{CallTree, NodeId};

#[derive(Serialize)]
struct Document<'a> {
    kind: ProfileKind,
    unit: Unit,
    scope: &'a str,
    started_at_ns: u64,
    duration_ns: u64,
    frequency_hz: Option<u32>,
    total: u64,
    lost: BTreeMap<&'a str, u64>,
    confidence: Confidence,
    frames: Vec<Frame<'a>>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    kind: LabelKind,
    module: Option<&'a str>,
}

#[derive(Serialize)]
struct Node {
    frame: u32,
    parent: Option<usize>,
    value: u64,
    #[serde(rename = "self")]
    own: u64,
}

impl<'a> From<&'a Label> for Frame<'a> {
    fn from(label: &'a Label) -> Self {
        Self { name: &label.name, kind: label.kind, module: label.module.as_deref() }
    }
}

/// Writes the document.
pub(super) fn render(profile: &Profile, tree: &CallTree) -> Result<Vec<u8>, serde_json::Error> {
    let order = tree.preorder();
    let places: HashMap<NodeId, usize> =
        order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let node = |&node: &NodeId| Node {
        frame: tree.label_index(node),
        parent: tree.parent(node).and_then(|parent| places.get(&parent).copied()),
        value: tree.node_total(node),
        own: tree.node_own(node),
    };
    let since_epoch = profile.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    serde_json::to_vec(&Document {
        kind: profile.kind,
        unit: profile.kind.unit(),
        scope: &profile.scope,
        started_at_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        duration_ns: profile.duration_ns,
        frequency_hz: profile.frequency_hz,
        total: tree.total(),
        lost: profile.lost.iter().map(|(r, w)| (r.as_str(), profile.value(*w))).collect(),
        confidence: Confidence::of(profile),
        frames: tree.labels().iter().map(Frame::from).collect(),
        nodes: order.iter().map(node).collect(),
    })
}
