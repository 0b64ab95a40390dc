//! What the daemon says about itself: its programs, its losses, its cost, and what this kernel offers.
//!
//! Contract: what is not known is `None`, never 0.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::unwind::UnwindStats;

/// What the kernel half and the daemon cost and lose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbesReport {
    /// Each kernel program.
    pub programs: Vec<ProgramReport>,
    /// Each way to lose something.
    pub drops: Vec<DropReport>,
    /// Each kernel map.
    pub maps: Vec<MapReport>,
    /// Memory of the daemon.
    pub memory: MemoryReport,
    /// What walks of user stacks go by.
    #[serde(default)]
    pub unwind: Option<UnwindStats>,
    /// CPU time of the daemon since it started, without its kernel programs.
    pub cpu_seconds: Option<f64>,
}

/// One kernel program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgramReport {
    /// Its name, after its hook.
    pub name: String,
    /// The family of metrics it serves.
    pub family: String,
    /// How it is attached: `tp_btf`, `raw_tp`, `iter`, `perf_event`; `None` when it is not.
    pub attached: Option<String>,
    /// Why it is not attached.
    pub error: Option<String>,
    /// How often it ran; `None` while the kernel does not count (`kernel.bpf_stats_enabled`).
    pub calls: Option<u64>,
    /// Its mean run time; `None` while the kernel does not count.
    pub ns_per_call: Option<f64>,
    /// Calls the kernel refused because the program was running on that CPU.
    pub recursion_misses: Option<u64>,
}

/// One way to lose something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropReport {
    /// Which.
    pub reason: String,
    /// How often since the start.
    pub count: u64,
    /// What the user can do about it.
    pub remedy: String,
}

/// One kernel map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapReport {
    /// Its name, after its content.
    pub name: String,
    /// Kernel memory it takes.
    pub bytes: Option<u64>,
}

/// Memory of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryReport {
    /// Resident memory of its process.
    pub rss_bytes: Option<u64>,
    /// Kernel memory of its maps.
    pub maps_bytes: Option<u64>,
}

/// What this kernel offers and what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// The kernel's release.
    pub kernel: String,
    /// Each thing looked at.
    pub checks: Vec<Check>,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// What the user can do; empty when it is well.
    #[serde(default)]
    #[schema(required)]
    pub remedy: String,
    /// The metrics that are missing or less exact for it.
    #[serde(default)]
    #[schema(required)]
    pub metrics_affected: Vec<String>,
}

/// How a thing looked at is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It works in a lesser way.
    Degraded,
    /// It is not there.
    Missing,
}
