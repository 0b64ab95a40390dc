//! Findings from data handed in. Pure: no I/O, no clock, cannot fail.

pub mod audit;
mod interference;
mod overview;
mod window;

pub use interference::{Culprit, culprits};
pub use overview::{Activity, Quantiles, StateShare, overview, together};
pub use window::{Change, Series, SubjectWindow, Window};
