//! What a family that is off leaves behind: no series, no room in its maps, no program.

use anyhow::{Context, Result, ensure};

use crate::Daemon;

/// For all maps of a family together: each is there, with one entry.
const MOST_BYTES: u64 = 64 << 10;

/// Fails where a daemon has series that begin with one of `series`, programs of a family, or room in its `maps`.
///
/// # Errors
/// What is there, and what the daemon does not answer.
pub fn expect_off(daemon: &Daemon, family: &str, series: &[&str], maps: &[&str]) -> Result<()> {
    let exposed = daemon.text("/metrics")?;
    for start in series {
        ensure!(!exposed.contains(start), "{family} is off, and there are series of {start}");
    }
    let probes = daemon.get("/api/v1/probes")?;
    let told = probes["maps"].as_array().context("maps")?;
    let mut bytes = 0;
    for name in maps {
        let map = told.iter().find(|map| map["name"] == *name).context((*name).to_owned())?;
        bytes += map["bytes"].as_u64().with_context(|| map.to_string())?;
    }
    ensure!(bytes < MOST_BYTES, "{family} is off, and its maps take {bytes} B");
    let programs = probes["programs"].as_array().context("programs")?;
    let of_family: Vec<_> = programs.iter().filter(|p| p["family"] == family).collect();
    ensure!(of_family.is_empty(), "{family} is off, and has programs: {of_family:?}");
    Ok(())
}
