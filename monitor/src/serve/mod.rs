//! HTTP: the API, the live stream, the exposition and the page. Only here is HTTP.
//!
//! [`Backend`] is what the server needs from the engine; [`router`] answers requests over it, in the daemon behind a socket and
//! in the command line without one; [`api`] is what it answers, and [`openapi`] describes
//! that. [`runtime_file`] is how the command line finds the daemon.

pub mod api;
mod assets;
mod audit;
mod backend;
mod batch;
pub mod brief;
mod buckets;
pub mod changes;
mod containers;
pub mod duration;
mod error;
mod exposition;
mod flamegraph;
mod guard;
mod host;
mod in_process;
pub mod intake;
mod kept;
pub mod openapi;
pub mod options;
pub mod outliers;
mod params;
mod past;
mod profiles;
mod prometheus;
mod prometheus_api;
mod prometheus_params;
mod prometheus_source;
pub mod push;
mod query;
mod query_api;
mod query_params;
pub mod report;
mod routes;
pub mod runtime_file;
mod server;
pub mod sources;
mod stream;
mod subject;
pub mod tape;
mod window;

#[cfg(test)]
mod tests;

pub use backend::{
    Backend, BackendError, BoxFuture, ErrorKind, Following, PROCESS_PREFIX, ProfileRequest, Target,
    Watch, process_subject,
};
pub use in_process::{InProcess, NoAnswer};
pub use options::EngineOptions;
pub use params::{DEFAULT_DURATION, MAX_DURATION, MAX_FREQUENCY_HZ};
pub use routes::{Ending, Serving, ending, router};
pub use server::{ServeError, bind, serve};
pub use subject::names;
