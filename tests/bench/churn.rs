//! What the daemon holds while processes, programs and libraries come and go for a long time.

use std::time::Duration;

use anyhow::{Result, ensure};
use cgscope_tests::Daemon;
use cgscope_tests::churn::{Churn, SETTLING, ends, watch};

/// What may be between the medians of the first and of the last quarter, percent: those of anonymous memory, which goes up and down by a
/// fifth with what is parsed just then, were 5 and 10 apart in two runs, of 8 and of 15 minutes, that ended below their highest.
const FLAT_PERCENT: u64 = 15;

/// Profiles the host for so many minutes, prints what is held, and fails where that grows.
pub fn bench(minutes: u64) -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let _churn = Churn::start()?;
    let duration = Duration::from_secs(minutes * 60).max(SETTLING * 2);
    println!("second  anonymous  file-backed  eBPF maps KiB  mappings  descriptors");
    let mut due = Duration::ZERO;
    let holdings = watch(&daemon, duration, |at, held| {
        if at >= due {
            due += Duration::from_secs(30);
            println!(
                "{:>6}  {:>9}  {:>11}  {:>13}  {:>8}  {:>11}",
                at.as_secs(),
                held.anonymous_kib,
                held.file_kib,
                held.maps_kib,
                held.mappings,
                held.descriptors
            );
        }
    })?;
    println!("\nafter the first {} s: first quarter, last quarter (median)", SETTLING.as_secs());
    let mut grown = vec![];
    for (name, first, last) in ends(&holdings) {
        println!("{name:<16} {first:>8} {last:>8}  {:+}", last as i64 - first as i64);
        if last > first + first * FLAT_PERCENT / 100 {
            grown.push(name);
        }
    }
    ensure!(grown.is_empty(), "not flat: {}", grown.join(", "));
    println!("flat: none grew by {FLAT_PERCENT} %");
    Ok(())
}
