//! `cargo xtask lint`: clippy on the user half, and the dashboard's types where there is Node. The kernel half needs another
//! compiler and is held to no warnings by `cargo xtask build`.

use anyhow::Result;

use crate::{command, web};

/// Runs both with warnings denied.
pub fn run() -> Result<()> {
    command::run(
        command::cargo()
            // The profile of the build, whose build scripts and macros are then there already.
            .args(["clippy", "--release", "--all-targets"])
            .args(["--workspace", "--exclude", "monitor-ebpf"])
            .args(["--", "-D", "warnings"]),
    )?;
    if command::find("npm").is_none() {
        println!("dashboard: not checked, there is no npm");
        return Ok(());
    }
    web::check()
}
