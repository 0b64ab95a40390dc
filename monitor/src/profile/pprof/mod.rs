//! The profile as pprof: protobuf in gzip, read by `go tool pprof`, Pyroscope and Parca.
//!
//! Schema: <https://github.com/google/pprof/blob/main/proto/profile.proto>. The thread's name is a label
//! (`comm`) and no frame; `go tool pprof -tagroot comm` puts it back at the root.

mod read;
mod schema;
mod write;

pub(super) use read::{PprofError, is_gzip, read};
pub use schema::{Mapping as PprofMapping, Profile as PprofMessage};
pub(super) use write::{Threads, message, write};

/// The file of kernel frames, as perf names it.
pub const KERNEL_FILE: &str = "[kernel.kallsyms]";
/// What the labels of a sample are called.
pub mod key {
    pub const COMM: &str = "comm";
    pub const CONTAINER: &str = "container";
    pub const CONTAINER_ID: &str = "container_id";
    pub const PID: &str = "pid";
    pub const TID: &str = "tid";
    pub const STATE: &str = "state";
    pub const WAKER: &str = "waker";
    pub const LOST: &str = "lost";
}
