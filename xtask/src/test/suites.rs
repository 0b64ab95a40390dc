//! The end-to-end tests, as runs of `cargo test`: those that ask a daemon, and those that measure the machine.
//!
//! Contract: each program of tests is in one of the two runs.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{command, workspace};

/// They ask a daemon of their own and wait for most of their time: two at once disturb each other little. All other programs load the
/// machine and compare what they measure with its accounts.
const ASKING: [&str; 3] = ["cli", "docs", "push"];

/// Those that ask.
pub fn asking(filter: &[String]) -> Command {
    let mut cargo = of_package();
    for suite in ASKING {
        cargo.args(["--test", suite]);
    }
    cargo.args(["--", "--test-threads=2"]).args(filter);
    cargo
}

/// Those that measure, and the tests of what all of them use.
///
/// # Errors
/// When cargo does not tell which programs there are.
pub fn measuring(filter: &[String]) -> Result<Command> {
    let mut cargo = of_package();
    cargo.args(["--lib", "--bins"]);
    for suite in all()?.iter().filter(|suite| !ASKING.contains(&suite.as_str())) {
        cargo.args(["--test", suite]);
    }
    cargo.args(["--", "--test-threads=1"]).args(filter);
    Ok(cargo)
}

/// Some tests of any program, by their names.
pub fn exactly() -> Command {
    let mut cargo = of_package();
    cargo.args(["--", "--test-threads=1", "--exact"]);
    cargo
}

fn of_package() -> Command {
    let mut cargo = command::cargo();
    cargo.env("CGSCOPE_BIN", workspace::binary()).args([
        "test",
        "--release",
        "--no-fail-fast",
        "--package",
        "cgscope-tests",
    ]);
    cargo
}

/// The names of all programs of tests.
fn all() -> Result<Vec<String>> {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root()).args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata = command::output(&mut cargo).context("`cargo metadata` failed")?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata`")?;
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let is_ours = |package: &Value| package["name"] == "cgscope-tests";
    let packages = list(&metadata, "packages").into_iter().filter(is_ours);
    let targets = packages.flat_map(|package| list(&package, "targets"));
    let tests = targets.filter(|target| target["kind"][0] == "test");
    let names: Vec<String> =
        tests.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect();
    anyhow::ensure!(!names.is_empty(), "cargo knows of no programs of end-to-end tests");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_in_one_run() {
        let all = all().unwrap();
        let (asking, measuring) = (asking(&[]), measuring(&[]).unwrap());
        let has = |run: &Command, suite: &str| run.get_args().any(|word| word == suite);
        for suite in &all {
            assert_ne!(has(&asking, suite), has(&measuring, suite), "{suite}");
        }
        assert!(ASKING.iter().all(|suite| all.iter().any(|known| known == suite)));
    }
}
