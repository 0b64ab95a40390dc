//! Questions to history: a metric, whom, when, in which steps, and what to make of it.
//!
//! Contract: a step's value is made of every measurement in it and of nothing else: rates by the time that was measured, means by
//! counts, quantiles by merged buckets. A step without measurements has no value. Limits are told before anything is read.

mod ask;
mod cell;
mod compare;
mod error;
mod evaluate;
mod heat;
mod labels;
mod running;
mod scrape;

pub use ask::{Aggregate, Function, Limits, Matcher, Query};
pub use compare::{Compared, compare};
pub use error::QueryError;
pub use evaluate::{Answer, AnswerSeries, evaluate};
pub use heat::{Heat, heat};
pub use labels::{Labels, label_values, list};
pub use scrape::{LabelOf, Scraped, Wanted, exposed, scrape};
