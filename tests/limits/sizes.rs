//! Weights, cpusets and limits of processes.

use std::process::Command;

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Daemon, Scrape, run_captured};

use crate::{daemon, file, read_until};

fn value(container: &Container, scrape: &Scrape, name: &str) -> f64 {
    scrape.of(container.id()).sum(&format!("cgscope_limits_{name}"), &[])
}

#[test]
fn weight_cpuset_and_processes_are_those_of_the_cgroup() -> Result<()> {
    let limited = ContainerOptions::new()
        .cpuset("0")
        .argument("--cpu-shares=512")
        .argument("--pids-limit=50")
        .run("limited", &["contend", "--threads", "4", "--seconds", "300"])?;
    let free = ContainerOptions::new()
        .argument("--pids-limit=-1")
        .run("free", &["burn", "--seconds", "300"])?;
    let daemon = daemon()?;
    let pids = || file::number(&limited, "pids", "pids.current");
    let scrape = read_until(&daemon, |scrape| {
        pids().is_ok_and(|pids| value(&limited, scrape, "pids_use") == pids as f64)
            && scrape.of(free.id()).has("cgscope_limits_pids_use")
    })?;
    assert_eq!(value(&limited, &scrape, "pids_use"), pids()? as f64);
    assert!(pids()? >= 4);
    assert_eq!(value(&limited, &scrape, "pids_limit"), 50.0);
    assert_eq!(value(&limited, &scrape, "cpuset_cpus"), 1.0);
    assert_eq!(value(&limited, &scrape, "cpu_weight"), 50.0, "half of the usual shares");
    assert_eq!(value(&free, &scrape, "cpu_weight"), 100.0);
    for name in ["cgscope_limits_cpuset_cpus", "cgscope_limits_pids_limit"] {
        assert!(!scrape.of(free.id()).has(name), "{name} of one without a limit");
    }
    Ok(())
}

#[test]
fn a_fork_that_the_limit_refuses_is_counted() -> Result<()> {
    let limited = ContainerOptions::new()
        .argument("--pids-limit=50")
        .run("limited", &["burn", "--seconds", "300"])?;
    let daemon = daemon()?;
    let there = |scrape: &Scrape| scrape.of(limited.id()).has("cgscope_limits_refused_forks_total");
    let scrape = read_until(&daemon, there)?;
    assert!(there(&scrape) && value(&limited, &scrape, "refused_forks_total") == 0.0);
    // Room for the shell and one child more; it gives up at the second.
    let now = file::number(&limited, "pids", "pids.current")?;
    file::write(&limited, "pids", "pids.max", "pids.max", &(now + 2).to_string())?;
    let directory = file::directory(&limited, "pids")?.0;
    let script = format!(
        "echo $$ > {}/cgroup.procs && (sleep 1 & sleep 1 & sleep 1 & wait)",
        directory.display()
    );
    let shell = run_captured(Command::new("sh").args(["-c", &script]))?;
    let events = std::fs::read_to_string(directory.join("pids.events"))?;
    let refused: u64 = events.trim().strip_prefix("max ").context(events.clone())?.parse()?;
    assert!(refused > 0, "{shell:?}");
    let seen = |scrape: &Scrape| value(&limited, scrape, "refused_forks_total") as u64;
    let scrape = read_until(&daemon, |scrape| seen(scrape) == refused)?;
    assert_eq!(seen(&scrape), refused);
    Ok(())
}

#[test]
fn who_switches_it_off_is_shown_nothing() -> Result<()> {
    let daemon = Daemon::start(&["--disable", "limits"])?;
    let container = Container::run("off", &["burn", "--seconds", "60"])?;
    let known = |scrape: &Scrape| scrape.of(container.id()).is_known();
    assert!(known(&read_until(&daemon, known)?));
    daemon.next_tick()?;
    daemon.next_tick()?;
    assert!(!daemon.text("/metrics")?.contains("cgscope_limits_"));
    Ok(())
}
