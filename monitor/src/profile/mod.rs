//! Stacks to call tree to formats.
//!
//! [`Samples`] gathers raw stacks while they arrive; with the frames of the symbol stage they become a
//! [`Profile`], which is written in any [`Format`]. What was lost is part of the picture, and how far
//! to trust it is said beside it. [`Recording`] reads profiles back, ours and those of others, and
//! [`Diff`] compares two of them. This is the only folder that names inferno and prost.

mod confidence;
mod diff;
mod document;
mod facts;
mod firefox;
pub mod folded;
mod format;
mod json;
mod kept;
mod kind;
mod label;
mod moments;
mod perf_script;
mod pprof;
mod reading;
mod speedscope;
mod stacks;
mod states;
mod svg;
mod tree;
mod waker;

#[cfg(test)]
mod formats_tests;
#[cfg(test)]
mod reading_tests;
#[cfg(test)]
mod tests;
// The reader of the end-to-end tests: it shares nothing with the writer.
#[cfg(test)]
#[path = "../../../tests/harness/protobuf.rs"]
mod wire;

pub use confidence::{Confidence, Level};
pub use diff::{Diff, DiffDocument, DiffError, DiffFormat, Scale};
pub use document::{Profile, RenderError, Sample};
pub use format::Format;
pub use json::ProfileDocument;
#[cfg(test)]
pub use kept::tests::window as kept_window;
pub use kept::{Kept, KeptStack, KeptThread, KeptWindow, Moment};
pub use kind::{ProfileKind, Unit};
pub use label::{Label, LabelKind};
pub use moments::Moments;
pub(crate) use pprof::{KERNEL_FILE, PprofMapping, PprofMessage, key as pprof_key};
pub use reading::{ReadError, Recording};
pub use stacks::{SampleKey, Samples, StackId, StackTable, Weight, Whose};
pub use states::{wait_state_names, wait_states};
pub use tree::{CallTree, NodeId};
pub use waker::Waker;
