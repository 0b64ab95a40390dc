//! With a daemon, commands ask it and load nothing; without one, they attach by themselves. Both print the same things.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::{Objects, owned_program_ids};
use cgscope_tests::{
    Captured, Container, Daemon, as_nobody, cli_command, run_captured, wait_until,
};
use serde_json::Value;

use crate::running::Running;

/// Commands that answer in JSON, with the members they must have.
const COMMANDS: [(&[&str], &[&str]); 6] = [
    (&["top", "--once"], &["at", "span_ns", "containers"]),
    (&["latency", "--duration", "2s"], &["about", "at", "span_ns", "distributions"]),
    (&["states", "--duration", "2s"], &["about", "at", "span_ns", "activity"]),
    (&["containers"], &["at", "span_ns", "containers"]),
    (&["outliers", "--duration", "2s"], &["at", "span_ns", "total", "outliers"]),
    (&["doctor"], &["doctor", "probes"]),
];

fn members(output: &Captured) -> Result<(Value, Vec<String>)> {
    let json = output.json()?;
    let members = json.as_object().context("an object")?.keys().cloned().collect();
    Ok((json, members))
}

#[test]
fn with_a_daemon_nothing_is_loaded() -> Result<()> {
    let burner = Container::run("asked", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let held = Objects::of(daemon.pid())?;
    for (arguments, expected) in COMMANDS {
        // Found by its directory, not named.
        let arguments = [arguments, &["--json"]].concat();
        let mut command = cli_command(&arguments);
        let mut running = Running::start(command.env("CGSCOPE_RUNTIME_DIR", daemon.directory()))?;
        // Looked at until it has ended: its descriptors are gone then.
        let ended = wait_until("the command to end", Duration::from_secs(15), || {
            if let Ok(owned) = owned_program_ids(running.pid()) {
                ensure!(owned.is_empty(), "{arguments:?} loaded {owned:?}");
            }
            let ended = running.wait(Duration::ZERO).ok();
            Ok(ended)
        })?;
        let (json, members) = members(&ended.0)?;
        for member in expected {
            assert!(members.iter().any(|m| m == member), "{arguments:?}: {member} in {members:?}");
        }
        if members.iter().any(|member| member == "containers") {
            let rows = json["containers"].as_array().context("rows")?;
            let row = rows.iter().find(|row| row["name"] == burner.name()).context("our row")?;
            assert_eq!(row["id"], burner.id());
            assert_eq!(row["runtime"], "podman");
        }
    }
    assert_eq!(Objects::of(daemon.pid())?.programs, held.programs, "the daemon's are the same");
    Ok(())
}

#[test]
fn without_a_daemon_commands_attach_and_print_the_same_members() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for (arguments, _) in COMMANDS {
        let arguments = [arguments, &["--json"]].concat();
        let asked = daemon.cli(&arguments)?;
        let mut running = Running::start(&mut cli_command(&arguments))?;
        let own = running.attached()?;
        assert!(own.programs.is_disjoint(&Objects::of(daemon.pid())?.programs));
        let (attached, _) = running.wait(Duration::from_secs(15))?;
        assert_eq!(members(&asked)?.1, members(&attached)?.1, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn standalone_leaves_the_daemon_alone() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let mut command = cli_command(&["states", "--duration", "2s", "--standalone"]);
    let mut running = Running::start(command.env("CGSCOPE_RUNTIME_DIR", daemon.directory()))?;
    running.attached()?;
    assert_eq!(running.wait(Duration::from_secs(15))?.0.status, Some(0));
    Ok(())
}

#[test]
fn anyone_may_ask_the_daemon() -> Result<()> {
    let burner = Container::run("anyone", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let address = daemon.address();
    for line in [
        "top --once",
        "containers",
        "latency --duration 1s",
        "states --duration 1s",
        "outliers --duration 1s",
        "doctor",
    ] {
        let arguments: Vec<&str> = line.split(' ').chain(["--address", &address]).collect();
        let output = as_nobody(&arguments)?;
        assert_eq!(output.status, Some(0), "{line}: {output:?}");
        if line.starts_with("top") || line == "containers" {
            assert!(output.stdout.contains(burner.name()), "{}", output.stdout);
        }
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_gone_is_said_so() -> Result<()> {
    let mut daemon = Daemon::start(&[])?;
    daemon.terminate()?;
    let output = daemon.cli(&["containers"])?;
    crate::assert_refused(&output, 1, &[&daemon.address(), "cgscope run", "--standalone"]);
    Ok(())
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let binary = cgscope_tests::cgscope_binary();
    for line in ["top --once --all", "containers --all --json", "doctor --json", "--help", "doctor"]
    {
        let address = if line == "--help" {
            String::new()
        } else {
            format!("--address {}", daemon.address())
        };
        // The reader is gone before the first byte is written.
        let script = format!(
            "set -o pipefail; (sleep 0.1; exec {} {line} {address}) | true; echo \"${{PIPESTATUS[0]}}\"",
            binary.display()
        );
        let output = run_captured(std::process::Command::new("bash").args(["-c", &script]))?;
        assert_eq!(output.stdout.trim(), "0", "{line}: {output:?}");
        assert_eq!(output.stderr, "", "{line}");
    }
    Ok(())
}
