//! What changed between two profiles.
//!
//! Contract: a stack is the same in both by the names of its frames and their kinds; files are not compared,
//! since not every format names them. By default A is scaled so that what arrived of it weighs as much as
//! what arrived of B: then a window of another length, or a busier one, does not look like a change.
//! What was lost is no part of that total, and is scaled along with it.

mod json;
mod lines;
mod svg;

use std::io;

pub use json::DiffDocument;

use thiserror::Error;

use super::confidence::Level;
use super::kind::{ProfileKind, Unit};
use super::reading::{Doubt, Recording};
use super::tree::{CallTree, NodeId};

/// How A is made comparable to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// To the same total.
    Total,
    /// Not at all: weights are compared as they are.
    Absolute,
}

/// How a difference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffFormat {
    /// A flame graph of B, coloured by what changed, with what is only in A beside it.
    Svg,
    /// Folded lines with two weights, A's and B's.
    Folded,
    /// The call tree with both weights of each node.
    Json,
}

/// Why two profiles cannot be compared, or their difference cannot be written.
#[derive(Debug, Error)]
pub enum DiffError {
    /// One counts samples, the other time.
    #[error("{a} counts {a_unit}, {b} counts {b_unit}")]
    Units {
        /// The first.
        a: String,
        /// What it counts.
        a_unit: &'static str,
        /// The second.
        b: String,
        /// What it counts.
        b_unit: &'static str,
    },
    /// One has no samples: everything would be new, or everything gone.
    #[error("{0} has no samples")]
    Empty(String),
    /// The drawing could not be laid out.
    #[error("cannot draw the difference: {0}")]
    Svg(#[from] io::Error),
    /// The JSON could not be written.
    #[error("cannot write the difference as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The weights of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    a: u64,
    b: u64,
}

/// One side, as it is told.
#[derive(Clone, Debug)]
struct Side {
    name: String,
    doubt: Doubt,
}

/// Two profiles in one call tree.
#[derive(Debug)]
pub struct Diff {
    a: Side,
    b: Side,
    unit: Unit,
    scale: Scale,
    /// The shape alone; weights are in `totals` and `own`, by node.
    tree: CallTree,
    totals: Vec<Pair>,
    own: Vec<Pair>,
}

impl Diff {
    /// Compares two profiles.
    pub fn between(a: &Recording, b: &Recording, scale: Scale) -> Result<Self, DiffError> {
        let differ = a.unit != b.unit || matches!((a.kind, b.kind), (Some(a), Some(b)) if a != b);
        if differ {
            return Err(DiffError::Units {
                a: a.name.clone(),
                a_unit: what(a),
                b: b.name.clone(),
                b_unit: what(b),
            });
        }
        if let Some(empty) = [a, b].into_iter().find(|r| r.doubt().kept() == 0) {
            return Err(DiffError::Empty(empty.name.clone()));
        }
        let side = |r: &Recording| Side { name: r.name.clone(), doubt: r.doubt() };
        let mut diff = Self {
            a: side(a),
            b: side(b),
            unit: a.unit,
            scale,
            tree: CallTree::default(),
            totals: vec![],
            own: vec![],
        };
        diff.add(&a.tree, |pair| &mut pair.a);
        diff.add(&b.tree, |pair| &mut pair.b);
        Ok(diff)
    }

    fn add(&mut self, from: &CallTree, side: fn(&mut Pair) -> &mut u64) {
        let mut placed: Vec<NodeId> = Vec::new();
        for node in from.nodes() {
            let parent = from.parent(node).map(|parent| placed[parent.index()]);
            let here = self.tree.child(parent, from.label(node).clone());
            placed.push(here);
            let count = self.totals.len().max(here.index() + 1);
            self.totals.resize(count, Pair::default());
            self.own.resize(count, Pair::default());
            *side(&mut self.totals[here.index()]) += from.node_total(node);
            *side(&mut self.own[here.index()]) += from.node_own(node);
        }
    }

    /// What A's weights are multiplied by.
    pub fn factor(&self) -> f64 {
        match self.scale {
            Scale::Absolute => 1.0,
            Scale::Total => self.b.doubt.kept() as f64 / self.a.doubt.kept() as f64,
        }
    }

    /// The lower confidence of the two: a difference is no better than either.
    pub fn confidence(&self) -> Level {
        self.a.doubt.level(self.unit).min(self.b.doubt.level(self.unit))
    }

    /// Writes it.
    pub fn render(&self, format: DiffFormat) -> Result<Vec<u8>, DiffError> {
        match format {
            DiffFormat::Svg => Ok(svg::render(self)?),
            DiffFormat::Folded => Ok(lines::render(self).into_bytes()),
            DiffFormat::Json => Ok(json::render(self)?),
        }
    }

    /// Whether the frame is nowhere in B.
    fn is_gone(&self, node: NodeId) -> bool {
        let pair = self.totals[node.index()];
        pair.b == 0 && pair.a > 0
    }

    /// The share of A, 0 to 1, that lies in frames that B does not have at all.
    fn gone_share(&self) -> f64 {
        let is_first = |node: &NodeId| {
            self.is_gone(*node) && self.tree.parent(*node).is_none_or(|above| !self.is_gone(above))
        };
        let gone: u64 = self.tree.nodes().filter(is_first).map(|n| self.totals[n.index()].a).sum();
        gone as f64 / self.a.doubt.total as f64
    }
}

fn what(recording: &Recording) -> &'static str {
    match (recording.unit, recording.kind) {
        (_, Some(ProfileKind::OffCpu)) => "off-CPU nanoseconds",
        (_, Some(ProfileKind::Wakeup)) => "nanoseconds of waits that were ended",
        (_, Some(ProfileKind::Lock)) => "nanoseconds at locks",
        (_, Some(ProfileKind::Block)) => "bytes of block I/O",
        (_, Some(ProfileKind::Fault)) => "page faults",
        (_, Some(ProfileKind::Memory)) => "bytes of growth",
        (_, Some(ProfileKind::Network)) => "bytes sent",
        (Unit::Nanoseconds, _) => "nanoseconds",
        (unit, _) => unit.name(),
    }
}

#[cfg(test)]
mod tests;
