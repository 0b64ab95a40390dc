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

use super::{Diff, Side};
use crate::profile::confidence::Level;
use crate::profile::kind::Unit;
use crate::profile::label::LabelKind;
use crate::profile::tree::NodeId;

#[derive(Serialize)]
struct Document<'a> {
    unit: Unit,
    factor: f64,
    confidence: Level,
    gone_share: f64,
    a: SideOut<'a>,
    b: SideOut<'a>,
    frames: Vec<Frame<'a>>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct SideOut<'a> {
    name: &'a str,
    total: u64,
    lost: u64,
    unknown: u64,
    missing: u64,
    confidence: Level,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    kind: LabelKind,
}

#[derive(Serialize)]
struct Node {
    frame: u32,
    parent: Option<usize>,
    a: u64,
    b: u64,
    self_a: u64,
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
    serde_json::to_vec(&Document {
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
