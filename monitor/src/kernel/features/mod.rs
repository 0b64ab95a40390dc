//! What this kernel offers and this process may use, for `doctor`.
//!
//! Contract: never fails and needs no privilege to answer; what cannot be told is `None` with the reason in `detail`.

mod capability;
mod list;
mod machine;
mod perf;
mod tracefs;

pub use list::{Feature, features};
pub use tracefs::{TracefsError, mount_tracefs};
