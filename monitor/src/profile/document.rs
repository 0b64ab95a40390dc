//! A profile: the named samples of one window, ready to be drawn.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::format::Format;
use super::label::{Label, LabelKind};
use super::stacks::Weight;
use super::tree::CallTree;
use super::{firefox, folded, json, pprof, speedscope, svg};
use crate::symbol::{CodePlace, Frame, Tgid, Tid};

/// What the samples stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileKind {
    /// Running on a CPU.
    OnCpu,
    /// Blocked or waiting.
    OffCpu,
}

/// What the widths of a profile count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Samples.
    Samples,
    /// Nanoseconds.
    Nanoseconds,
}

impl ProfileKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OnCpu, Self::OffCpu];

    /// What widths count: samples taken at a frequency, or time that was measured.
    pub fn unit(self) -> Unit {
        match self {
            Self::OnCpu => Unit::Samples,
            Self::OffCpu => Unit::Nanoseconds,
        }
    }

    /// The name in titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::OnCpu => "On-CPU",
            Self::OffCpu => "Off-CPU",
        }
    }

    /// The name in `--type` and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnCpu => "cpu",
            Self::OffCpu => "offcpu",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Samples with the same stack, thread and container.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The process.
    pub tgid: Tgid,
    /// The thread, where it matters.
    pub tid: Option<Tid>,
    /// The name of the thread.
    pub comm: Arc<str>,
    /// The id of the container; `None` for what runs in none.
    pub container: Option<Arc<str>>,
    /// What it waited in, if it waited: `blocked.lock`, as in the metrics.
    pub state: Option<&'static str>,
    /// Root first: user frames, then kernel frames.
    pub frames: Arc<[Frame]>,
    /// Where the code of each frame lies; empty where nobody looked.
    pub places: Arc<[Option<CodePlace>]>,
    /// How often and how long.
    pub weight: Weight,
}

impl Sample {
    /// The labels of its stack, root first: the thread's name, what it waited in, then its frames.
    pub(super) fn path(&self) -> Vec<Label> {
        let frames = self.frames.iter().map(Label::from);
        let state = self.state.map(Label::state);
        let mut path: Vec<Label> =
            std::iter::once(Label::thread(&self.comm)).chain(state).chain(frames).collect();
        merge_unknown(&mut path);
        path
    }
}

/// Nameless callers of nameless callers say no more than one does.
pub(super) fn merge_unknown(path: &mut Vec<Label>) {
    path.dedup_by(|a, b| a.kind == LabelKind::Unknown && a == b);
}

/// A profile of one scope over one window.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What the samples stand for.
    pub kind: ProfileKind,
    /// Wall time of the first moment.
    pub started_at: SystemTime,
    /// Length of the window.
    pub duration_ns: u64,
    /// Samples a second and CPU; `None` where each event is taken.
    pub frequency_hz: Option<u32>,
    /// What was looked at, for people: `host`, `container web`.
    pub scope: String,
    /// The names of the containers in `samples`, by id, where known.
    pub containers: BTreeMap<Arc<str>, String>,
    /// What arrived.
    pub samples: Vec<Sample>,
    /// What did not, by reason.
    pub lost: BTreeMap<String, Weight>,
}

/// Why a profile could not be drawn.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The flame graph could not be laid out.
    #[error("cannot draw the flame graph: {0}; fetch the profile as JSON or folded lines instead")]
    Svg(#[from] io::Error),
    /// The JSON could not be written.
    #[error("cannot write the profile as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The pprof file could not be compressed.
    #[error("cannot write the profile as pprof: {0}")]
    Pprof(io::Error),
}

impl Profile {
    /// A weight in the unit of this profile.
    pub fn value(&self, weight: Weight) -> u64 {
        match self.kind.unit() {
            Unit::Samples => weight.count,
            Unit::Nanoseconds => weight.weight_ns,
        }
    }

    /// The name of a sample's container, or its id where the name is not known.
    pub fn container_name<'a>(&'a self, sample: &'a Sample) -> Option<&'a str> {
        let id = sample.container.as_ref()?;
        Some(self.containers.get(id).map_or(&**id, String::as_str))
    }

    /// The call tree: the thread's name at the root, what it waited in if it did, then user frames, then kernel frames, and a
    /// root of its own for each reason of loss.
    pub fn tree(&self) -> CallTree {
        let mut tree = CallTree::default();
        for sample in &self.samples {
            tree.add(sample.path(), self.value(sample.weight));
        }
        for (reason, weight) in &self.lost {
            tree.add([Label::lost(reason)], self.value(*weight));
        }
        tree
    }

    /// The call tree of each container that was sampled, by name.
    pub(super) fn by_container(&self) -> Vec<(String, CallTree)> {
        let mut trees: BTreeMap<&str, (String, CallTree)> = BTreeMap::new();
        for sample in &self.samples {
            let id = sample.container.as_deref().unwrap_or_default();
            let (_, tree) = trees.entry(id).or_insert_with(|| {
                let name = self.container_name(sample).unwrap_or("no container");
                (name.to_owned(), CallTree::default())
            });
            tree.add(sample.path(), self.value(sample.weight));
        }
        trees.into_values().collect()
    }

    /// Draws the profile.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, RenderError> {
        let tree = self.tree();
        match format {
            Format::Svg => Ok(svg::render(self, &tree)?),
            Format::Json => Ok(json::render(self, &tree)?),
            Format::Pprof => pprof::write(self).map_err(RenderError::Pprof),
            Format::Firefox => Ok(firefox::render(self)?),
            Format::Speedscope => Ok(speedscope::render(self, &tree)?),
            Format::Folded => {
                let paths = tree.paths().map(|(path, weight)| {
                    (path.iter().map(|label| label.marked()).collect::<Vec<_>>(), weight)
                });
                // Labels that differ in their file alone have one name here.
                let mut lines: BTreeMap<Vec<String>, u64> = BTreeMap::new();
                for (names, weight) in paths {
                    *lines.entry(names).or_default() += weight;
                }
                let lines = lines.iter().map(|(n, w)| (n.iter().map(String::as_str), *w));
                Ok(folded::write(lines).into_bytes())
            }
        }
    }
}
