//! What the end-to-end tests need so that they are short and nothing in them is a mock: real containers running
//! workloads that measure themselves, the kernel's own counters, the real daemon, the real command line.
//!
//! Contract: every test runs as root, one at a time (`cargo test --release -p cgscope-tests -- --test-threads=1`).
//! A machine that lacks something fails the test with the remedy in its message; nothing is skipped.
//!
//! ```no_run
//! use cgscope_tests::{Container, Daemon};
//! # fn main() -> anyhow::Result<()> {
//! let burner = Container::run("burner", &["burn", "--seconds", "5"])?;
//! let daemon = Daemon::start(&[])?;
//! let truth = burner.wait_truth(std::time::Duration::from_secs(10))?;
//! let seen = daemon.get("/api/v1/containers")?;
//! # let _ = (truth, seen);
//! # Ok(())
//! # }
//! ```

pub mod bpf;
pub mod churn;
pub mod cli;
pub mod clock;
mod command;
pub mod container;
pub mod daemon;
pub mod disk;
mod family;
mod fixture;
mod folded;
mod image;
mod json_lines;
pub mod mounts;
mod paths;
mod pause;
pub mod peer;
mod plain_cgroup;
mod pprof;
pub mod protobuf;
mod replay;
mod scrape;
mod trace;
mod tracepoint_count;
pub mod truth;

pub use cli::{Output, as_nobody, cli, cli_command, cli_json};
pub use command::{Captured, run_captured, run_checked, wait_until};
pub use container::{Container, ContainerOptions};
pub use daemon::{Answer, Daemon};
pub use family::expect_off;
pub use fixture::{FixtureProcess, fixture_path};
pub use folded::{Folded, Stack};
pub use image::image_name;
pub use json_lines::JsonLines;
pub use paths::{cgscope_binary, scratch_dir, workspace_root};
pub use pause::{Span, Still, between_stops, while_stopped};
pub use plain_cgroup::PlainCgroup;
pub use pprof::{Pprof, PprofLocation, PprofSample};
pub use scrape::{Scrape, Series, Subject};
pub use trace::{Pairs, Trace, TraceEvent};
pub use tracepoint_count::TracepointCount;

/// Panics unless the process may load programs and start containers. Called by everything that needs it.
pub fn require_root() {
    // SAFETY: geteuid reads the caller's credentials and cannot fail.
    let effective_uid = unsafe { libc::geteuid() };
    assert!(
        effective_uid == 0,
        "these tests start containers and load eBPF: run them as root \
         (sudo -E cargo test --release -p cgscope-tests -- --test-threads=1)"
    );
}
