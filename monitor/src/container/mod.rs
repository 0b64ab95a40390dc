//! From cgroup to container, with names that survive the container.
//!
//! [`identify`] reads a cgroup path; [`Registry`] keeps the mapping as cgroups are born and die, asks the
//! runtimes' own state files for names on a thread of its own, and remembers the dead. No sockets, no
//! polling. Attach the `cgroup_mkdir` and `cgroup_rmdir` tracepoints first, then [`Registry::start`], then
//! drain their ring: a birth told twice counts once.

mod account;
mod culprit;
mod enrich;
mod find;
mod identity;
pub mod limits;
mod model;
mod readings;
mod registry;
pub(crate) mod rfc3339;
mod runtime;
mod state;
mod table;
mod unit;

pub use account::Accounts;
pub use culprit::Culprits;
pub use find::FindError;
pub use identity::{Identity, identify};
pub use model::{Container, ContainerId, Pod};
pub use readings::{Readings, switched_off};
pub use registry::{Options, Registry, Stats};
pub use runtime::Runtime;
