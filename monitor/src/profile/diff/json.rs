//! A difference as JSON.
//!
//! ```json
//! {"unit": "samples", "factor": 0.5, "confidence": "high", "gone_share": 0.1,
//!  "a": {"name": "before", "total": 200, "lost": 0, "unknown": 0, "missing": 0, "confidence": "high"}, "b": {...},
//!  "frames": [{"name": "main", "kind": "user"}],
//!  "nodes": [{"frame": 0, "parent": null, "a": 100, "b": 50, "self_a": 10, "self_b": 5}]}
//! ```
//!
//! `nodes` is in preorder, flat as in a single profile. Weights are as they were recorded: A's times `factor`
//! compare with B's. A frame that is gone has 0 in `b`, a new one 0 in `a`.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Diff, Side};
use crate::profile::confidence::Level;
use crate::profile::kind::Unit;
use crate::profile::label::LabelKind;
use crate::profile::tree::NodeId;

/// A difference as the dashboard reads it: a call tree in preorder.
#[derive(Serialize, ToSchema)]
#[schema(as = DiffDocument)]
pub struct DiffDocument<'a> {
    /// What the widths count.
    unit: Unit,
    /// What weights of A are multiplied by to compare with those of B.
    factor: f64,
    /// How far to trust it.
    confidence: Level,
    /// The share of A (0..=1) in frames that B does not have.
    gone_share: f64,
    /// The earlier side.
    a: SideOut<'a>,
    /// The later side.
    b: SideOut<'a>,
    /// What the nodes are called.
    frames: Vec<Frame<'a>>,
    /// The call tree in preorder.
    nodes: Vec<Node>,
}

/// One side of a difference.
#[derive(Serialize, ToSchema)]
#[schema(as = DiffSide)]
pub struct SideOut<'a> {
    /// What it is called.
    name: &'a str,
    /// The sum of its weights that arrived.
    total: u64,
    /// Of what was lost.
    lost: u64,
    /// Of stacks with nameless frames.
    unknown: u64,
    /// Of stacks with callers missing.
    missing: u64,
    /// How far to trust it.
    confidence: Level,
}

/// What a node of the call tree is called.
#[derive(Serialize, ToSchema)]
#[schema(as = DiffFrame)]
pub struct Frame<'a> {
    /// The name without a mark of its kind.
    name: &'a str,
    /// What it stands for.
    kind: LabelKind,
}

/// A node of the call tree; weights are as they were recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = DiffNode)]
pub struct Node {
    /// A place in `frames`.
    frame: u32,
    /// A place in `nodes`, before its own; `null` of a root.
    parent: Option<usize>,
    /// The node and all above it, in A.
    a: u64,
    /// The same in B.
    b: u64,
    /// The node alone, in A.
    self_a: u64,
    /// The same in B.
    self_b: u64,
}

pub(super) fn render(diff: &Diff) -> Result<Vec<u8>, serde_json::Error> {
    let order = diff.tree.preorder();
    let places: HashMap<NodeId, usize> =
        order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let node = |&node: &NodeId| {
        let (total, own) = (diff.totals[node.index()], diff.own[node.index()]);
        Node {
            frame: diff.tree.label_index(node),
            parent: diff.tree.parent(node).and_then(|parent| places.get(&parent).copied()),
            a: total.a,
            b: total.b,
            self_a: own.a,
            self_b: own.b,
        }
    };
    let labels = diff.tree.labels().iter();
    serde_json::to_vec(&DiffDocument {
        unit: diff.unit,
        factor: diff.factor(),
        confidence: diff.confidence(),
        gone_share: diff.gone_share(),
        a: side(&diff.a, diff.unit),
        b: side(&diff.b, diff.unit),
        frames: labels.map(|label| Frame { name: &label.name, kind: label.kind }).collect(),
        nodes: order.iter().map(node).collect(),
    })
}

fn side(side: &Side, unit: Unit) -> SideOut<'_> {
    let Side { name, doubt } = side;
    SideOut {
        name,
        total: doubt.total,
        lost: doubt.lost,
        unknown: doubt.unknown,
        missing: doubt.missing,
        confidence: doubt.level(unit),
    }
}
