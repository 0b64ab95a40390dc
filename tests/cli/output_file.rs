//! Where a flame graph goes: known to be writable before the recording, whole or not there after it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cgscope_tests::{Captured, Container, cgscope_binary, cli, run_captured, scratch_dir};
use serde_json::Value;
use tempfile::TempDir;

use crate::assert_refused;

#[test]
fn what_cannot_be_written_is_refused_before_the_recording() -> Result<()> {
    let directory = TempDir::with_prefix_in("output-", scratch_dir())?;
    let taken = directory.path().join("directory.svg");
    fs::create_dir(&taken)?;
    for path in [Path::new("/no/such/directory/x.svg"), Path::new("/proc/x.svg"), taken.as_path()] {
        let path = path.display().to_string();
        let started = Instant::now();
        let output = cli(&["flamegraph", "--duration", "30s", "-o", &path])?;
        assert_refused(&output, 1, &[&path, "-o"]);
        assert!(started.elapsed() < Duration::from_secs(2), "it recorded first");
    }
    Ok(())
}

#[test]
fn each_ending_is_its_format() -> Result<()> {
    let container = Container::run("formats", &["burn", "--seconds", "60"])?;
    let directory = TempDir::with_prefix_in("output-", scratch_dir())?;
    let record = |name: &str| -> Result<String> {
        let path = directory.path().join(name).display().to_string();
        let arguments =
            ["flamegraph", "--container", container.name(), "--duration", "1s", "-o", &path];
        let output = cli(&arguments)?;
        assert_eq!(output.status, Some(0), "{output:?}");
        Ok(fs::read_to_string(path)?)
    };
    let svg = record("a.svg")?;
    assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("burn"), "the burner's own function is in it");
    let folded = record("a.folded")?;
    let line = folded.lines().next().context("a stack")?;
    let (stack, count) = line.rsplit_once(' ').context("STACK COUNT")?;
    assert!(stack.contains(';') && count.parse::<u64>().is_ok(), "{line}");
    let json = |name: &str| -> Result<Value> { Ok(serde_json::from_str(&record(name)?)?) };
    assert!(json("a.json")?["nodes"].is_array());
    assert!(json("a.speedscope.json")?["shared"]["frames"].is_array());
    assert!(json("a.firefox.json")?["shared"]["stackTable"].is_object());
    assert_eq!(fs::read_dir(directory.path())?.count(), 5, "and nothing beside them");
    Ok(())
}

#[test]
fn an_old_drawing_stays_when_there_is_no_room() -> Result<()> {
    // A file system of 64 KiB of which 60 are taken, in mounts of its own: it goes with the command.
    let script = r#"
        set -e
        mount -t tmpfs -o size=64k tmpfs "$1"
        echo old > "$1/full.json"
        head -c 57344 /dev/zero > "$1/filler"
        code=0
        "$2" flamegraph --all --duration 2s --frequency 999 -o "$1/full.json" || code=$?
        ls -A "$1"; cat "$1/full.json"
        exit $code
    "#;
    let output = on_full_disk(script)?;
    assert_refused(&output, 1, &["full.json", "No space left", "free some space"]);
    assert_eq!(output.stdout, "filler\nfull.json\nold\n", "{output:?}");
    Ok(())
}

#[test]
fn no_half_file_is_left_on_a_full_disk() -> Result<()> {
    let script = r#"
        set -e
        mount -t tmpfs -o size=64k tmpfs "$1"
        head -c 57344 /dev/zero > "$1/filler"
        code=0
        "$2" flamegraph --all --duration 2s --frequency 999 -o "$1/full.svg" || code=$?
        ls -A "$1"
        exit $code
    "#;
    let output = on_full_disk(script)?;
    assert_refused(&output, 1, &["full.svg", "No space left"]);
    assert_eq!(output.stdout, "filler\n", "{output:?}");
    Ok(())
}

fn on_full_disk(script: &str) -> Result<Captured> {
    let busy = Container::run("full-disk", &["burn", "--seconds", "60"])?;
    let directory = TempDir::with_prefix_in("full-", scratch_dir())?;
    let output = run_captured(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(directory.path())
            .arg(cgscope_binary())
            .env("CGSCOPE_RUNTIME_DIR", "/dev/null/none"),
    )?;
    drop(busy);
    Ok(output)
}
