//! Limits of containers and how they met them, held against the files of their cgroups, on v1, v2 and hybrid machines.

mod changes;
mod file;
mod quota;
mod sizes;

use std::time::Duration;

use anyhow::Result;
use cgscope_tests::{Daemon, Scrape, wait_until};

/// Limits of a container that does something are read every five seconds, when it is its turn.
const PATIENCE: Duration = Duration::from_secs(15);

fn daemon() -> Result<Daemon> {
    Daemon::start(&["--interval", "100ms", "--disable", "memory,profile,tcp,block"])
}

/// Reads until `is_there` holds of the newest tick, or for [`PATIENCE`]; then whatever there is, for the assertion to say what is
/// wrong.
fn read_until(daemon: &Daemon, is_there: impl Fn(&Scrape) -> bool) -> Result<Scrape> {
    let mut last = daemon.scrape()?;
    let found = wait_until("the series", PATIENCE, || {
        last = daemon.scrape()?;
        Ok(is_there(&last).then_some(()))
    });
    found.or_else(|error| if last.is_empty() { Err(error) } else { Ok(()) })?;
    Ok(last)
}
