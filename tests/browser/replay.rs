//! The dashboard over a recording, served by a user without rights.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, scratch_dir};
use serde_json::json;
use tempfile::TempDir;

use crate::script::Script;

#[test]
fn a_recording_says_that_it_is_one() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    {
        let daemon = Daemon::start(&["--no-history"])?;
        sleep(Duration::from_secs(2));
        let name = file.to_str().context("a path in UTF-8")?;
        let output = daemon.cli(&["record", "-o", name, "--duration", "6s"])?;
        ensure!(output.success(), "{output:?}");
    }
    let replay = Daemon::replay(&file)?;
    let host = replay.get("/api/v1/recording")?["recording"]["host"].clone();
    let knows = json!({
        "url": replay.url(), "host": host, "name": container.name(), "id": container.id(),
    });
    Script::run("replay", &knows)?;
    Ok(())
}
