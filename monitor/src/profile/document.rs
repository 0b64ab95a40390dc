//! A profile: the named samples of one window, ready to be drawn.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

use super::format::Format;
use super::kind::{ProfileKind, Unit};
use super::label::{Label, LabelKind};
use super::stacks::Weight;
use super::tree::CallTree;
use super::waker::Waker;
use super::{firefox, folded, json, pprof, speedscope, svg};
use crate::symbol::{CodePlace, Frame, Tgid, Tid};

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
    /// What it waited in, if it waited: `blocked.lock`, as in the metrics. What an event was: `disk.read`.
    pub state: Option<&'static str>,
    /// Whose the frames are, if they are not the thread's own: of who ended its wait.
    pub waker: Option<Waker>,
    /// Root first: user frames, then kernel frames.
    pub frames: Arc<[Frame]>,
    /// Where the code of each frame lies; empty where nobody looked.
    pub places: Arc<[Option<CodePlace>]>,
    /// How often and how long.
    pub weight: Weight,
}

impl Sample {
    /// The labels of its stack, root first: the thread's name, what it waited in, then its frames. Of a waker, who was woken from what, who
    /// did it, then his frames. `name` is that of a container, by its id.
    pub(super) fn path<'a>(&'a self, name: impl Fn(&'a str) -> &'a str) -> Vec<Label> {
        let frames = self.frames.iter().map(Label::from);
        let state = self.state.map(Label::state);
        let (root, waker) = match &self.waker {
            None => (Label::thread(&self.comm), None),
            Some(waker) => {
                let container = self.container.as_deref().map(&name);
                (Label::woken(container, &self.comm), Some(Label::waker(waker, name)))
            }
        };
        let mut path: Vec<Label> =
            std::iter::once(root).chain(state).chain(waker).chain(frames).collect();
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
    /// What of that which arrived stands for others too, of which it was drawn.
    pub drawn: Weight,
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
            Unit::Nanoseconds | Unit::Bytes | Unit::Events => weight.amount,
        }
    }

    /// The name of a sample's container, or its id where the name is not known.
    pub fn container_name<'a>(&'a self, sample: &'a Sample) -> Option<&'a str> {
        sample.container.as_deref().map(|id| self.name_of(id))
    }

    /// The name of a container, or its id where the name is not known.
    pub(super) fn name_of<'a>(&'a self, id: &'a str) -> &'a str {
        self.containers.get(id).map_or(id, String::as_str)
    }

    /// The call tree: the thread's name at the root, what it waited in if it did, then user frames, then kernel frames, and a
    /// root of its own for each reason of loss.
    pub fn tree(&self) -> CallTree {
        let mut tree = CallTree::default();
        for sample in &self.samples {
            tree.add(sample.path(|id| self.name_of(id)), self.value(sample.weight));
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
            tree.add(sample.path(|id| self.name_of(id)), self.value(sample.weight));
        }
        trees.into_values().collect()
    }

    /// As pprof for those who keep profiles as series: the thread's name is the outermost frame, samples have no labels, and stacks
    /// that are alike are one.
    ///
    /// # Errors
    /// [`RenderError::Pprof`].
    pub fn as_series(&self) -> Result<Vec<u8>, RenderError> {
        pprof::write(self, pprof::Threads::Frames).map_err(RenderError::Pprof)
    }

    /// What a pprof file of it holds: samples with their labels.
    pub(crate) fn message(&self) -> pprof::PprofMessage {
        pprof::message(self, pprof::Threads::Labels)
    }

    /// Draws the profile.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, RenderError> {
        let tree = self.tree();
        match format {
            Format::Svg => Ok(svg::render(self, &tree)?),
            Format::Json => Ok(json::render(self, &tree)?),
            Format::Pprof => pprof::write(self, pprof::Threads::Labels).map_err(RenderError::Pprof),
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
