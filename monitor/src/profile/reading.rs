//! Profiles read back: folded lines, the text of `perf script`, pprof, and JSON of ours.
//!
//! Contract: what a file is follows from its content, not from its name. Whatever it holds, the answer is a
//! call tree or an error that says where it is wrong and how.

use serde::Deserialize;
use thiserror::Error;

use super::confidence::Level;
use super::folded::{self, FoldedError};
use super::kind::{ProfileKind, Unit};
use super::label::{Label, LabelKind};
use super::perf_script::{self, PerfScriptError};
use super::pprof::{self, PprofError};
use super::tree::CallTree;

/// Why a file could not be read as a profile.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// Text that is neither of the two kinds.
    #[error(
        "line {line} is neither a folded line (`STACK COUNT`) nor the beginning of an event of perf script"
    )]
    NoProfile {
        /// Counted from 1.
        line: usize,
    },
    /// A bad folded line.
    #[error(transparent)]
    Folded(#[from] FoldedError),
    /// A bad line of perf script.
    #[error(transparent)]
    PerfScript(#[from] PerfScriptError),
    /// A bad pprof file.
    #[error(transparent)]
    Pprof(#[from] PprofError),
    /// Bad JSON, or that of something else.
    #[error("it is no profile in JSON of ours: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON whose places lead nowhere.
    #[error("node {node} names a frame or a parent that is not there")]
    Node {
        /// Counted from 0, as in the file.
        node: usize,
    },
}

/// A profile that was read.
#[derive(Debug)]
pub struct Recording {
    /// What it is called, for people.
    pub name: String,
    /// Its stacks; labels carry no modules, which not every format keeps.
    pub tree: CallTree,
    /// What it counts.
    pub unit: Unit,
    /// What the samples stand for, where the format says so.
    pub kind: Option<ProfileKind>,
    /// What was left out, as sentences.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    kind: ProfileKind,
    unit: Unit,
    frames: Vec<JsonFrame>,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct JsonFrame {
    name: String,
    kind: LabelKind,
}

#[derive(Deserialize)]
struct Node {
    frame: usize,
    parent: Option<usize>,
    #[serde(rename = "self")]
    own: u64,
}

impl Recording {
    /// Reads the content of a file.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, ReadError> {
        let name = name.to_owned();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ReadError::Empty);
        }
        if pprof::is_gzip(bytes) || is_protobuf(bytes) {
            let read = pprof::read(bytes)?;
            let name = read.scope.map_or(name.clone(), |scope| format!("{name} ({scope})"));
            return Ok(Self {
                name,
                tree: read.tree,
                unit: read.unit,
                kind: read.kind,
                notes: vec![],
            });
        }
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Self::json(name, bytes);
        }
        // Names of threads may be any bytes.
        let text = String::from_utf8_lossy(bytes);
        let is_said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        let Some(first) = text.lines().find(is_said) else { return Err(ReadError::Empty) };
        if folded::read(first).is_ok() {
            Self::folded(name, &text)
        } else {
            Self::perf(name, &text)
        }
    }

    fn folded(name: String, text: &str) -> Result<Self, ReadError> {
        let mut tree = CallTree::default();
        for stack in folded::read(text)? {
            let labels = stack.frames.iter().enumerate();
            tree.add(labels.map(|(depth, f)| Label::from_marked(f, depth == 0)), stack.weight);
        }
        Ok(Self { name, tree, unit: Unit::Samples, kind: None, notes: vec![] })
    }

    fn perf(name: String, text: &str) -> Result<Self, ReadError> {
        let script = match perf_script::read(text) {
            // It never was of perf: say so, instead of what is missing to an event.
            Err(PerfScriptError::NoEvent { line, .. }) if is_first(text, line) => {
                return Err(ReadError::NoProfile { line });
            }
            script => script?,
        };
        let mut tree = CallTree::default();
        for stack in script.stacks {
            tree.add(stack.into_iter().map(without_module), 1);
        }
        let mut notes = vec![];
        if script.skipped > 0 {
            notes.push(format!(
                "{name}: {} samples of other events than {} were left out",
                script.skipped,
                script.event.escape_debug()
            ));
        }
        Ok(Self { name, tree, unit: Unit::Samples, kind: None, notes })
    }

    fn json(name: String, bytes: &[u8]) -> Result<Self, ReadError> {
        let document: Document = serde_json::from_slice(bytes)?;
        for (place, node) in document.nodes.iter().enumerate() {
            let is_sound =
                node.frame < document.frames.len() && node.parent.is_none_or(|p| p < place);
            if !is_sound {
                return Err(ReadError::Node { node: place });
            }
        }
        let labels: Vec<Label> = document
            .frames
            .into_iter()
            .map(|frame| Label { name: frame.name.into(), kind: frame.kind, module: None })
            .collect();
        let nodes = document.nodes.iter().map(|n| (n.parent, labels[n.frame].clone(), n.own));
        let tree = CallTree::from_nodes(nodes).ok_or(ReadError::Node { node: 0 })?;
        Ok(Self { name, tree, unit: document.unit, kind: Some(document.kind), notes: vec![] })
    }

    /// How much of it can be trusted.
    pub fn doubt(&self) -> Doubt {
        let mut doubt = Doubt { total: self.tree.total(), ..Doubt::default() };
        // A stack counts once, however many nameless frames it has.
        let (mut is_unknown, mut is_missing) = (Vec::new(), Vec::new());
        for node in self.tree.nodes() {
            let parent = self.tree.parent(node);
            let kind = self.tree.label(node).kind;
            let is_in = |seen: &[bool]| parent.is_some_and(|parent| seen[parent.index()]);
            let (above, above_missing) = (is_in(&is_unknown), is_in(&is_missing));
            is_unknown.push(above || kind == LabelKind::Unknown);
            is_missing.push(above_missing || kind == LabelKind::Missing);
            if parent.is_none() && kind == LabelKind::Lost {
                doubt.lost += self.tree.node_total(node);
            } else if kind == LabelKind::Unknown && !above {
                doubt.unknown += self.tree.node_total(node);
            } else if kind == LabelKind::Missing && !above_missing {
                doubt.missing += self.tree.node_total(node);
            }
        }
        doubt
    }
}

/// What of a recording is in doubt, in its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// All of it.
    pub total: u64,
    /// What was lost.
    pub lost: u64,
    /// What has nameless frames.
    pub unknown: u64,
    /// What lacks callers, or may.
    pub missing: u64,
}

impl Doubt {
    /// What arrived.
    pub fn kept(self) -> u64 {
        self.total - self.lost
    }

    /// Of a profile of `unit`, by the same bounds as a single profile's confidence.
    pub fn level(self, unit: Unit) -> Level {
        let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        let (lost, unknown) =
            (share(self.lost, self.total), share(self.unknown.max(self.missing), self.kept()));
        // Of what was measured it is not known how many samples it is made of.
        let count = match unit {
            Unit::Samples => self.kept(),
            Unit::Nanoseconds | Unit::Bytes | Unit::Events => {
                if self.kept() > 0 {
                    u64::MAX
                } else {
                    0
                }
            }
        };
        Level::judge(count, lost, unknown)
    }
}

fn without_module(label: Label) -> Label {
    Label { module: None, ..label }
}

fn is_first(text: &str, line: usize) -> bool {
    text.lines().take(line - 1).all(|line| line.trim().is_empty() || line.starts_with('#'))
}

/// An uncompressed pprof begins with a message `sample_type` of a few bytes.
fn is_protobuf(bytes: &[u8]) -> bool {
    matches!(bytes, [0x0a, 2..=8, 0x08, ..])
}
