//! Interrupts of the host against `/proc/softirqs` and `/proc/interrupts`, and those in the time of a container against the
//! kernel's event trace of its thread.

mod counts;
mod load;
mod stolen;

use anyhow::{Context, Result};
use cgscope_tests::Daemon;

fn daemon(flags: &[&str]) -> Result<Daemon> {
    let fixed = ["--interval", "100ms", "--enable", "irq", "--disable", "memory,profile,limits"];
    Daemon::start(&[&fixed, flags].concat())
}

/// Who does not ask for it has no programs, no series and no room taken.
#[test]
fn who_does_not_ask_for_it_pays_nothing() -> Result<()> {
    let daemon = Daemon::start(&["--interval", "100ms"])?;
    daemon.next_tick()?;
    let metrics = daemon.text("/metrics")?;
    assert!(!metrics.contains("cgscope_irq_") && !metrics.contains("cgscope_host_softirq_runs"));
    let probes = daemon.get("/api/v1/probes")?;
    let maps = probes["maps"].as_array().context("maps")?;
    for name in ["SLOT_IRQ", "IRQ_VECTORS", "IRQ_CPUS"] {
        let map = maps.iter().find(|map| map["name"] == name).context(name)?;
        assert!(map["bytes"].as_u64().context("bytes")? < 64 << 10, "{map}");
    }
    let programs = probes["programs"].as_array().context("programs")?;
    assert!(!programs.iter().any(|program| program["family"] == "irq"), "{programs:?}");
    Ok(())
}
