//! Nothing is spent unless somebody records.

use anyhow::{Context, Result};
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::{Container, Daemon};

use crate::daemon;
use crate::recording::record;

fn calls(daemon: &Daemon) -> Result<u64> {
    let programs = programs_of(daemon.pid())?;
    let program = programs.iter().find(|program| program.is_named("offcpu_switch"));
    Ok(program.context("no program offcpu_switch")?.run_cnt)
}

#[test]
fn it_runs_only_while_somebody_records() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--short", "1", "--seconds", "60"])?;
    let _stats = StatsGuard::enable()?;
    let pause = || std::thread::sleep(std::time::Duration::from_millis(500));
    pause();
    assert_eq!(calls(&daemon)?, 0, "before the first recording");
    record(&daemon, &format!("container={}", container.id()), 1, &[])?;
    let after = calls(&daemon)?;
    assert!(after > 1000, "{after} calls in a second of many switches");
    pause();
    assert_eq!(calls(&daemon)?, after, "after the recording");
    Ok(())
}
