//! The dashboard: built by Node into `target/web`, from where `monitor/build.rs` embeds it; checked and tested there too.
//!
//! Contract: nothing runs when nothing has changed. What is installed is what `web/package-lock.json` says, no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::{command, node, workspace};

/// Builds it unless it is newer than its sources.
pub fn build() -> Result<()> {
    install()?;
    let page = workspace::root().join("target/web/index.html.gz");
    if let (Some(built), Some(source)) = (modified(&page), newest(&web()))
        && built > source
    {
        println!("dashboard: up to date");
        return Ok(());
    }
    npm(&["run", "build"]).context("the dashboard was not built")
}

/// Types as the document of the API has them, components, format.
pub fn check() -> Result<()> {
    install()?;
    npm(&["run", "check"]).context(
        "in web/, `npm run types` makes src/api/types.ts of docs/openapi.json, and `npm run format` puts the format right",
    )
}

/// The tests of its logic.
pub fn test() -> Result<()> {
    install()?;
    npm(&["run", "test"]).context("the tests of the dashboard failed")
}

/// Installs what the lock file says, unless it is there.
fn install() -> Result<()> {
    let lock = web().join("package-lock.json");
    // npm writes it last.
    let installed = web().join("node_modules/.package-lock.json");
    if let (Some(installed), Some(lock)) = (modified(&installed), modified(&lock))
        && installed >= lock
    {
        return Ok(());
    }
    // Scripts of packages are not run: none of ours needs one, and browsers come from the distribution.
    npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .context("is the npm registry reachable?")
}

fn npm(arguments: &[&str]) -> Result<()> {
    let mut npm = Command::new("npm");
    node::provide(&mut npm)?;
    command::run(npm.arg("--prefix").arg(web()).args(arguments))
}

fn web() -> PathBuf {
    workspace::root().join("web")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// When the newest file below `folder` was changed, without what npm installed and what only tests read.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let is_source = |name: &std::ffi::OsStr| name != "node_modules" && name != "test";
    let ours = entries.filter(|entry| is_source(&entry.file_name())).map(|entry| entry.path());
    ours.filter_map(|path| if path.is_dir() { newest(&path) } else { modified(&path) }).max()
}
