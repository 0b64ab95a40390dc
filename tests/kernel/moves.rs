//! Processes that are moved to another cgroup while they run: each cgroup has what was done in it, to the instant.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use cgscope_tests::{PlainCgroup, fixture_path, truth};

use crate::common::daemon;
use crate::slots::assert_usage;

/// Two threads that burn until they are killed. What a thread has used since the last tick, of 4 ms here, the kernel charges to where it
/// was moved to: they have themselves charged.
fn burner() -> Result<Child> {
    let arguments = ["--threads", "2", "--seconds", "60", "--charged", "1"];
    Ok(Command::new(fixture_path("burn")?).args(arguments).stdout(Stdio::null()).spawn()?)
}

fn usage_ns(cgroup: &PlainCgroup) -> Result<u64> {
    Ok(truth::cpu_stat(cgroup.path())?["usage_usec"] * 1000)
}

#[test]
fn a_process_moved_while_it_runs_takes_nothing_with_it() -> Result<()> {
    let daemon = daemon(&[])?;
    let way = [
        PlainCgroup::new("moved-from")?,
        PlainCgroup::new("moved-through")?,
        PlainCgroup::new("moved-to")?,
    ];
    // Always the same way, so that errors add up. Nothing makes them leave their CPU but others: slices are of any length, and reach
    // over more than one move.
    for _ in 0..20 {
        let mut child = burner()?;
        for cgroup in &way {
            cgroup.add(child.id())?;
            sleep(Duration::from_millis(37));
        }
        child.kill()?;
        child.wait()?;
    }
    let usages = way.iter().map(usage_ns).collect::<Result<Vec<_>>>()?;
    ensure!(usages.iter().all(|&usage| usage > 200_000_000), "they hardly ran: {usages:?}");
    let (scrape, _) = daemon.next_tick()?;
    for (cgroup, usage_ns) in way.iter().zip(usages) {
        let id = cgroup.id();
        assert_usage(&id, scrape.of(&id).cpu_ns(), usage_ns);
    }
    Ok(())
}
