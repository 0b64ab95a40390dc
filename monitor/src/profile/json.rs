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
use utoipa::ToSchema;

use super::confidence::Confidence;
use super::document::Profile;
use super::kind::{ProfileKind, Unit};
use super::label::{Label, LabelKind};
use super::tree::{CallTree, NodeId};

/// A profile as the dashboard reads it: a call tree in preorder.
#[derive(Serialize, ToSchema)]
#[schema(as = ProfileDocument)]
pub struct ProfileDocument<'a> {
    /// What was recorded.
    kind: ProfileKind,
    /// What the widths count.
    unit: Unit,
    /// Of whom, for people.
    scope: &'a str,
    /// When it began, ns since 1970.
    started_at_ns: u64,
    /// Its length, ns.
    duration_ns: u64,
    /// Samples per second and CPU; `null` of what was measured.
    frequency_hz: Option<u32>,
    /// The sum of all widths, what was lost included.
    total: u64,
    /// What did not arrive, by its reason.
    lost: BTreeMap<&'a str, u64>,
    /// How far to trust it.
    confidence: Confidence,
    /// What the nodes are called.
    frames: Vec<Frame<'a>>,
    /// The call tree in preorder.
    nodes: Vec<Node>,
}

/// What a node of the call tree is called.
#[derive(Serialize, ToSchema)]
#[schema(as = ProfileFrame)]
pub struct Frame<'a> {
    /// The name without a mark of its kind.
    name: &'a str,
    /// What it stands for.
    kind: LabelKind,
    /// The file it lies in, where known.
    module: Option<&'a str>,
}

/// A node of the call tree.
#[derive(Serialize, ToSchema)]
#[schema(as = ProfileNode)]
pub struct Node {
    /// A place in `frames`.
    frame: u32,
    /// A place in `nodes`, before its own; `null` of a root.
    parent: Option<usize>,
    /// The node and all above it.
    value: u64,
    /// The node alone.
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
    serde_json::to_vec(&ProfileDocument {
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
