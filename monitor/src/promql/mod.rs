//! PromQL: queries in Prometheus' language over whatever a [`Source`] holds.
//!
//! Contract: pure. It reads nothing but what the source hands over, each selector once a query, and knows neither HTTP nor
//! history. What Prometheus' own test scripts say holds here; [`script`] runs them. Native histograms do not exist here.

mod aggregate;
mod binary;
mod calendar;
mod call;
mod engine;
mod error;
mod histogram;
mod limits;
mod matching;
mod math;
mod memory;
mod note;
mod order;
mod parse;
mod plan;
mod ranges;
mod rename;
pub mod script;
mod source;
mod span;
mod value;
mod window;

pub use engine::{Answer, Outcome, instant, range};
pub use error::{ErrorKind, PromqlError};
pub use limits::{Limits, Options};
pub use memory::Memory;
pub use note::Notes;
pub use parse::selector;
pub use source::{Condition, Selection, Source};
pub use span::span_ms;
pub use value::{Labels, NAME, STALE, Sample, Series, format_number};
