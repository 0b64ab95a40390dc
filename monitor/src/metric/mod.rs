//! The vocabulary every later stage speaks: what a metric is, and one measurement of it.
//!
//! Contract: values are cumulative and exact (integer nanoseconds, counts); rates, quantiles and seconds are made by those who
//! show them. Unknown is the absence of a sample, never 0.

mod bounds;
mod descriptor;
mod histogram;
pub mod lanes;
pub mod reference;
mod sample;
mod tick;
mod time;

pub use bounds::{EXPOSED_BOUNDS, exposed_bound_of, exposed_bounds_ns};
pub(crate) use descriptor::descriptor;
pub use descriptor::{Descriptor, Kind, Scope, Unit};
pub use histogram::{Histogram, add_lane};
pub use sample::{LabelValues, Sample, SampleRef, Subject, Value};
pub use tick::Tick;
pub use time::{KtimeNs, WallTimeNs};
