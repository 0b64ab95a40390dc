//! Without a daemon the command records by itself.

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, Folded, as_nobody, cli, scratch_dir};
use tempfile::TempDir;

use crate::common::{number, told};

#[test]
fn without_a_daemon_it_records_by_itself() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let name = file.to_str().context("a path in UTF-8")?;
    let shares = Container::run("shares", &["shares", "--seconds", "60"])?;
    let output = cli(&["record", "-o", name, "--duration", "5s"])?;
    ensure!(output.success(), "{output:?}");
    let replay = Daemon::replay(&file)?;
    let told = told(&replay)?;
    ensure!((5..=7).contains(&number(&told, "ticks")?), "{told}");
    ensure!(told["lost_text"] == "", "{told}");
    let states = replay.get(&format!("/api/v1/containers/{}/states", shares.name()))?;
    ensure!(states["about"]["id"] == shares.id(), "{states}");
    let path = format!("/api/v1/flamegraph?container={}&start=-5s&format=folded", shares.name());
    let drawn = Folded::parse(&replay.text(&path)?)?;
    ensure!(drawn.count(|stack| stack.has("hot_sixty")) >= 20, "{drawn:?}");
    Ok(())
}

#[test]
fn without_rights_and_a_daemon_it_says_what_it_needs() -> Result<()> {
    let output = as_nobody(&["record", "-o", "a.cgscope", "--duration", "1s"])?;
    ensure!(output.status == Some(3), "{output:?}");
    ensure!(output.stderr.contains("CAP_BPF") && output.stderr.contains("sudo"), "{output:?}");
    Ok(())
}
