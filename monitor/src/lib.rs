//! cgscope: where does each container's time go, and who took it?
//!
//! A folder is a stage, and data flows one way:
//!
//! ```text
//! kernel programs -> probe -> collect -> metric -> store -> analyze -> serve | show -> web
//!                      \-> symbol -> profile --/          promql -/
//! ```
//!
//! `cargo xtask tidy` holds each stage to what it may import.

pub mod analyze;
pub mod collect;
pub mod container;
pub mod daemon;
pub mod kernel;
pub mod metric;
pub mod probe;
pub mod profile;
pub mod promql;
pub mod serve;
pub mod show;
pub mod store;
pub mod symbol;
pub mod unwind;
