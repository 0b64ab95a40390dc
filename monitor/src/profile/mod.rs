//! Stacks to call tree to formats.
//!
//! [`Samples`] gathers raw stacks while they arrive; with the frames of the symbol stage they become a
//! [`Profile`], which is drawn as SVG, folded lines or JSON. What was lost is part of the
//! picture, and how far to trust it is said beside it. This is the only folder that names inferno.

mod confidence;
mod document;
pub mod folded;
mod json;
mod label;
mod stacks;
mod svg;
mod tree;

#[cfg(test)]
mod tests;

pub use confidence::{Confidence, Level};
pub use document::{Format, Profile, ProfileKind, RenderError, Sample, Unit};
pub use label::{Label, LabelKind};
pub use stacks::{SampleKey, Samples, StackId, StackTable, Weight};
pub use tree::{CallTree, NodeId};
