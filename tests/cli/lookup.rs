//! Containers and processes that are not there: exit code 4, with what there is instead.

use std::process::Command;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, cli};

use crate::assert_refused;

#[test]
fn an_unknown_container_is_told_with_the_nearest() -> Result<()> {
    let container = Container::run("lookup", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let misspelt = container.name().replace("lookup", "lokup");
    for command in ["top --once", "latency", "states", "flamegraph -o -", "outliers", "containers"]
    {
        let arguments: Vec<&str> = command.split(' ').chain(["--container", &misspelt]).collect();
        let output = daemon.cli(&arguments)?;
        assert_refused(&output, 4, &[&misspelt, container.name()]);
        let output = daemon.cli(
            &command.split(' ').chain(["--container", "zzzzzzzzzzzzzzzz"]).collect::<Vec<_>>(),
        )?;
        assert_refused(&output, 4, &["zzzzzzzzzzzzzzzz", "cgscope containers --all"]);
    }
    let output = cli(&["states", "--container", &misspelt])?;
    assert_refused(&output, 4, &[&misspelt, container.name()]);
    Ok(())
}

#[test]
fn a_container_is_found_by_name_id_and_beginning() -> Result<()> {
    let container = Container::run("found", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    for query in [container.name(), container.id(), &container.id()[..12]] {
        let states = daemon.cli_json(&["states", "--duration", "1s", "--container", query])?;
        assert_eq!(states["about"]["kind"], "container", "{states}");
        assert_eq!(states["about"]["id"], container.id(), "{states}");
    }
    Ok(())
}

#[test]
fn a_process_that_has_gone_is_told() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let mut child = Command::new("true").spawn()?;
    let pid = child.id().to_string();
    child.wait()?;
    for command in ["latency", "states", "flamegraph -o -"] {
        let arguments: Vec<&str> = command.split(' ').chain(["--pid", &pid]).collect();
        assert_refused(&daemon.cli(&arguments)?, 4, &[&pid, "gone"]);
        assert_refused(&cli(&arguments)?, 4, &[&pid, "gone"]);
    }
    Ok(())
}

#[test]
fn a_process_is_measured_by_itself() -> Result<()> {
    let container = Container::run("process", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let pid = container.host_pid()?;
    let states = daemon.cli_json(&["states", "--duration", "2s", "--pid", &pid.to_string()])?;
    assert_eq!(states["about"]["kind"], "process");
    assert_eq!(states["about"]["pid"], pid);
    assert_eq!(states["about"]["name"], "burn");
    let cores = states["activity"]["cpu_cores"].as_f64().context("cpu_cores")?;
    assert!(cores > 0.05, "it burns, and got {cores} CPUs");
    Ok(())
}
