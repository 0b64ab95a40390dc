//! `cgscope diff`: files and recordings, and what cannot be compared.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, cli, scratch_dir};
use serde_json::Value;
use tempfile::TempDir;

use crate::assert_refused;

const PERF: &str =
    "web 7/8 [001] 12.5: 10101010 cpu-clock:pppH: \n\t55d000000010 both+0x1 (/bin/web)\n\n";

fn write(directory: &Path, name: &str, content: &str) -> Result<String> {
    let path = directory.join(name);
    fs::write(&path, content)?;
    Ok(path.display().to_string())
}

#[test]
fn files_of_two_kinds_are_compared_without_privileges_or_a_daemon() -> Result<()> {
    let directory = TempDir::with_prefix_in("diff-", scratch_dir())?;
    let a = write(directory.path(), "a", "web;both 20\nweb;gone 20\n")?;
    let b = write(directory.path(), "b", &PERF.repeat(10))?;
    let lines = cli(&["diff", &a, &b, "-o", "-"])?;
    assert_eq!(lines.status, Some(0), "{lines:?}");
    assert_eq!(lines.stdout, "web;both 5 10\nweb;gone 5 0\n");
    let lines = cli(&["diff", &a, &b, "-o", "-", "--absolute"])?;
    assert_eq!(lines.stdout, "web;both 20 10\nweb;gone 20 0\n");
    let svg = directory.path().join("d.svg").display().to_string();
    assert_eq!(cli(&["diff", &a, &b, "-o", &svg])?.status, Some(0));
    let image = fs::read_to_string(&svg)?;
    assert!(image.contains("gone (5 samples") && image.contains("[gone: only in A]"), "{image}");
    Ok(())
}

#[test]
fn two_recordings_one_after_the_other() -> Result<()> {
    let container = Container::run("diff", &["burn", "--seconds", "60"])?;
    let daemon = Daemon::start(&[])?;
    let live = format!("container:{}", container.name());
    let output =
        daemon.cli(&["diff", &live, &live, "--duration", "1s", "-o", "-", "--format", "json"])?;
    let diff: Value = output.json()?;
    assert_eq!(diff["unit"], "samples");
    for side in ["a", "b"] {
        assert!(diff[side]["total"].as_u64().context("a total")? > 0, "{diff}");
        let name = diff[side]["name"].as_str().context("a name")?;
        assert!(name.contains(container.name()), "{name}");
    }
    // The same loop ran in both windows, on a CPU all the time.
    let nodes = diff["nodes"].as_array().context("nodes")?;
    let frames = diff["frames"].as_array().context("frames")?;
    let burn = nodes.iter().find(|node| {
        node["frame"].as_u64().is_some_and(|frame| frames[frame as usize]["name"] == "burn_here")
    });
    let burn = burn.context("burn_here")?;
    for (node, side) in [("a", "a"), ("b", "b")] {
        let (part, total) =
            (burn[node].as_u64().context("a")?, diff[side]["total"].as_u64().context("b")?);
        assert!(part * 10 > total * 9, "{part} of {total}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_file_is_told_by_line() -> Result<()> {
    let directory = TempDir::with_prefix_in("diff-", scratch_dir())?;
    let good = write(directory.path(), "good", "web;both 20\n")?;
    let broken = PERF.replace("\t55d000000010 both", "\tboth");
    let time = r#"{"kind":"off-cpu","unit":"nanoseconds","frames":[{"name":"f","kind":"user"}],
        "nodes":[{"frame":0,"parent":null,"self":1}]}"#;
    for (name, content, code, words) in [
        ("empty", "", 1, &["it is empty"][..]),
        ("words", "some words\n", 1, &["line 1", "perf script"]),
        ("folded", "web;both 1\nweb;both x\n", 1, &["line 2", "no weight"]),
        ("perf", &format!("{PERF}{broken}"), 1, &["line 5", "is no frame", "both+0x1"]),
        ("json", "{}", 1, &["no profile in JSON of ours"]),
        ("gzip", "\u{1f}nothing", 1, &["line 1"]),
        ("lost", "[lost: full] 5\n", 1, &["has no samples", "record for longer"]),
        ("time", time, 2, &["counts samples", "off-CPU nanoseconds"]),
    ] {
        let path = write(directory.path(), name, content)?;
        for sides in [[&good, &path], [&path, &good]] {
            let output = cli(&["diff", sides[0], sides[1], "-o", "-"])?;
            assert_refused(&output, code, &[&[path.as_str()][..], words].concat());
            assert!(output.stdout.is_empty());
        }
    }
    let output = cli(&["diff", "/no/such/file", &good, "-o", "-"])?;
    assert_refused(&output, 1, &["/no/such/file", "No such file"]);
    let output = cli(&["diff", &good, "container:zzzzzzzzzzzz", "-o", "-"])?;
    assert_refused(&output, 4, &["zzzzzzzzzzzz", "cgscope containers --all"]);
    Ok(())
}
