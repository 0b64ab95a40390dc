//! Nothing is spent unless somebody records.

use anyhow::Result;
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::{ContainerOptions, Daemon};

use crate::daemon;
use crate::recording::{Worker, record};

fn calls(daemon: &Daemon) -> Result<Vec<(String, u64)>> {
    let programs = programs_of(daemon.pid())?;
    let ours = programs.iter().filter(|program| program.name.starts_with("weight_"));
    Ok(ours.map(|program| (program.name.clone(), program.run_cnt)).collect())
}

#[test]
fn they_run_only_while_somebody_records() -> Result<()> {
    let daemon = daemon()?;
    let worker = Worker::start(ContainerOptions::new(), "faults", &["--what", "fault"])?;
    let _stats = StatsGuard::enable()?;
    let before = calls(&daemon)?;
    assert!(before.len() >= 7 && before.iter().all(|(_, calls)| *calls == 0), "{before:?}");
    record(&daemon, "fault", &worker.target(), 3, &[&worker])?;
    let after = calls(&daemon)?;
    let ran: Vec<_> = after.iter().filter(|(_, calls)| *calls > 0).map(|(name, _)| name).collect();
    assert!(ran.iter().all(|name| name.starts_with("weight_fault")), "{ran:?}");
    assert!(after.iter().any(|(_, calls)| *calls > 1000), "{after:?}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(calls(&daemon)?, after, "after the recording");
    Ok(())
}
