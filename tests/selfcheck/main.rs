//! The harness held against `/proc` and against the containers' own truth: what all other areas stand on.

mod containers;
mod fixtures;
mod readers;

use std::time::Duration;

/// For a fixture's last line: longer than any of them is asked to run here.
const PATIENCE: Duration = Duration::from_secs(30);
