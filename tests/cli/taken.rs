//! One daemon in a place and one listener at a port: the second is told who the first is, with exit code 6.

use std::net::TcpListener;

use anyhow::Result;
use cgscope_tests::{Daemon, cli, scratch_dir};
use tempfile::TempDir;

use crate::assert_refused;

#[test]
fn a_second_daemon_is_told_of_the_first() -> Result<()> {
    let mut first = Daemon::start(&[])?;
    let state = first.directory().display().to_string();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--state-dir", &state];
    let pid = format!("pid {} ", first.pid());
    assert_refused(&cli(&arguments)?, 6, &[&pid, &first.address(), "--state-dir"]);
    // The first is none the worse for it.
    assert!(first.get("/api/v1/containers").is_ok());
    // A daemon that was killed is in nobody's way.
    first.kill9()?;
    let output = cli(&[&arguments[..], &["--btf", "/no/such/file"]].concat())?;
    assert_refused(&output, 5, &["/no/such/file"]);
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?.to_string();
    let directory = TempDir::with_prefix_in("taken-", scratch_dir())?;
    let state = directory.path().display().to_string();
    let output = cli(&["run", "--listen", &address, "--state-dir", &state])?;
    assert_refused(&output, 6, &[&address, "in use", "--listen"]);
    Ok(())
}

#[test]
fn an_address_of_another_machine_is_refused() -> Result<()> {
    let directory = TempDir::with_prefix_in("taken-", scratch_dir())?;
    let state = directory.path().display().to_string();
    // TEST-NET-1: nobody's.
    let output = cli(&["run", "--listen", "192.0.2.1:7070", "--state-dir", &state])?;
    assert_refused(&output, 1, &["192.0.2.1:7070", "--listen"]);
    Ok(())
}
