//! What is read again and again: each source at its own interval, in the API and in `doctor`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, wait_until};
use serde_json::Value;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn sources(daemon: &Daemon) -> Result<BTreeMap<String, Value>> {
    let list = daemon.get("/api/v1/sources")?;
    let list = list["sources"].as_array().context("sources")?;
    let named = list.iter().map(|one| Some((one["name"].as_str()?.to_owned(), one.clone())));
    named.collect::<Option<_>>().context("a source without a name")
}

#[test]
fn each_source_is_read_at_its_own_interval() -> Result<()> {
    // Somebody has to have files of a cgroup.
    let _container = Container::run("sources", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&["--interval", "100ms"])?;
    wait_until("every source to be read", PATIENCE, || {
        Ok(sources(&daemon)?.values().all(|one| one["age_ns"].is_u64()).then_some(()))
    })?;
    for _ in 0..20 {
        for (name, source) in sources(&daemon)? {
            assert_eq!((&source["enabled"], &source["health"]), (&true.into(), &"ok".into()));
            assert_eq!(source["last_error"], Value::Null, "{name}");
            let (age_ns, interval_ns) = (source["age_ns"].as_u64(), source["interval_ns"].as_u64());
            let (age_ns, interval_ns) = (age_ns.context("age")?, interval_ns.context("interval")?);
            // A turn later than due, on a machine that is busy.
            assert!(age_ns <= interval_ns + 3_000_000_000, "{name}: {age_ns} ns old, {source}");
        }
        daemon.next_tick()?;
    }
    let all = sources(&daemon)?;
    assert_eq!(all["stat"]["interval_ns"], 0, "each tick");
    assert_eq!(all["meminfo"]["interval_ns"], 1_000_000_000);
    assert!(all["stat"]["priority"].as_u64() < all["meminfo"]["priority"].as_u64());
    assert!(all.contains_key("cgroup.limits") && all.contains_key("cgroup.memory"));
    Ok(())
}

#[test]
fn a_single_source_is_read_as_often_as_was_asked_for() -> Result<()> {
    let daemon = Daemon::start(&["--source-interval", "disks=1h,meminfo=0"])?;
    let read = |name: &str| -> Result<Value> { sources(&daemon)?.remove(name).context("a source") };
    wait_until("disks to be read", PATIENCE, || {
        Ok(read("disks")?["age_ns"].is_u64().then_some(()))
    })?;
    assert_eq!(read("disks")?["interval_ns"], 3_600_000_000_000_u64);
    assert_eq!(read("meminfo")?["interval_ns"], 0);
    assert_eq!(read("vmstat")?["interval_ns"], 1_000_000_000, "as it is by itself");
    let before = read("disks")?["age_ns"].as_u64();
    daemon.next_tick()?;
    daemon.next_tick()?;
    assert!(read("disks")?["age_ns"].as_u64() > before, "it was read again");
    let scrape = daemon.scrape()?;
    for name in [
        "cgscope_host_interface_bytes_total",
        "cgscope_host_disk_busy_seconds_total",
        "cgscope_host_living_processes",
    ] {
        assert!(scrape.sum(name, &[]) > 0.0, "{name}");
    }
    Ok(())
}

/// Ten ticks a second, and what is read in each of them is new each time.
#[test]
fn ten_ticks_a_second() -> Result<()> {
    let daemon = Daemon::start(&["--interval", "100ms"])?;
    daemon.next_tick()?;
    let report = daemon.get("/api/v1/host?duration=5s")?;
    let span_ns = report["span_ns"].as_u64().context("span_ns")?;
    // A tick that comes a moment early ends it too.
    assert!((4_950_000_000..5_300_000_000).contains(&span_ns), "{span_ns}: not to a tick");
    let mut instants = std::collections::BTreeSet::new();
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(3) {
        instants.insert(daemon.get("/api/v1/host")?["at"].as_u64().context("at")?);
    }
    // Late ticks are left out, not made up for: a busy machine has some less.
    assert!((20..=32).contains(&instants.len()), "{} ticks in 3 s", instants.len());
    Ok(())
}

#[test]
fn what_is_off_and_what_is_there_is_told_by_doctor() -> Result<()> {
    let daemon = Daemon::start(&["--disable", "limits"])?;
    let off = &sources(&daemon)?["cgroup.limits"];
    assert_eq!((&off["enabled"], &off["health"]), (&false.into(), &"disabled".into()));
    assert_eq!(off["age_ns"], Value::Null);
    let doctor = daemon.get("/api/v1/doctor")?;
    let checks = doctor["checks"].as_array().context("checks")?;
    for name in sources(&daemon)?.keys() {
        let name = format!("source {name}");
        let check = checks.iter().find(|check| check["name"] == name).context(name.clone())?;
        assert_eq!(check["status"], "ok", "{check}");
    }
    Ok(())
}
