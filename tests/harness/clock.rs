//! Between two clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

/// What is to be added to an instant of `CLOCK_MONOTONIC` for the time of day, ns.
///
/// # Errors
/// When there is no such clock.
pub fn wall_distance_ns() -> Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this frame.
    ensure!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } == 0, "no clock");
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(wall.as_nanos() as u64 - (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64))
}
