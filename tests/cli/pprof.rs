//! A real recording as pprof: names, places and owners against what the compiler and the container say.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Folded, Pprof, cli, run_captured, scratch_dir};
use tempfile::TempDir;

#[test]
fn a_recording_as_pprof_agrees_with_the_binary_and_with_the_lines_made_of_it() -> Result<()> {
    let container = Container::run("pprof", &["burn", "--seconds", "60"])?;
    let directory = TempDir::with_prefix_in("pprof-", scratch_dir())?;
    let path = directory.path().join("a.pb.gz").display().to_string();
    let name = container.name();
    let arguments = ["flamegraph", "--container", name, "--duration", "2s", "-o", &path];
    let output = cli(&arguments)?;
    assert_eq!(output.status, Some(0), "{output:?}");
    let pprof = Pprof::parse(&fs::read(&path)?)?;
    let type_ = |name: &str, unit: &str| (name.to_owned(), unit.to_owned());
    assert_eq!(pprof.types, [type_("samples", "count"), type_("cpu", "nanoseconds")]);
    assert!(pprof.total(0) > 0);
    assert_eq!(pprof.total(1), pprof.total(0) * pprof.period, "a sample stands for its period");

    // The linker's word for where the function is, and which file it is: of the program that runs.
    let burn = format!("/proc/{}/exe", container.host_pid()?);
    let symbols = run_captured(Command::new("nm").arg("-S").arg(&burn))?.stdout;
    let symbol = symbols.lines().find(|line| line.ends_with(" burn_here")).context("burn_here")?;
    let mut words = symbol.split(' ').map(|word| u64::from_str_radix(word, 16));
    let (start, size) = (words.next().context("start")??, words.next().context("size")??);
    let notes = run_captured(Command::new("readelf").arg("-n").arg(&burn))?.stdout;
    let build_id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    let build_id = build_id.context("a build id")?;
    let mut seen = 0;
    for sample in &pprof.samples {
        for location in &sample.locations {
            if location.functions.last().is_some_and(|function| function == "burn_here") {
                let (file, id) = location.file.as_ref().context("its file")?;
                assert!(file.ends_with("/burn") && id == build_id, "{file} {id}, not {build_id}");
                let at = location.address;
                assert!((start..start + size).contains(&at), "{at:#x} is not in {symbol}");
                seen += sample.values[0];
            }
            let is_kernel =
                location.file.as_ref().is_some_and(|(file, _)| file.starts_with("[kernel"));
            assert!(location.address < 1 << 63 && (!is_kernel || location.address == 0));
        }
        if !sample.labels.contains_key("lost") {
            let label = |key: &str| sample.labels.get(key).map(String::as_str);
            assert_eq!(
                (label("container"), label("container_id")),
                (Some(name), Some(container.id()))
            );
            assert_eq!(label("pid"), Some(container.host_pid()?.to_string().as_str()));
            assert!(["running.user", "running.kernel"].map(Some).contains(&label("state")));
        }
    }
    assert!(seen * 10 > pprof.total(0) * 9, "{seen} of {} burn", pprof.total(0));
    assert!(pprof.comments.iter().any(|comment| comment.starts_with("confidence: ")));

    // The same file by our own reader.
    let lines = cli(&["diff", &path, &path, "--absolute", "-o", "-"])?;
    assert_eq!(lines.status, Some(0), "{lines:?}");
    let mut ours: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for stack in Folded::parse(&lines.stdout)?.0 {
        let mut frames = stack.frames;
        let leaf = frames.last_mut().context("a frame")?;
        // The first of the two weights stands before the last.
        let (name, first) = leaf.rsplit_once(' ').context("two weights")?;
        assert_eq!(first.parse::<u64>()?, stack.count);
        *leaf = name.to_owned();
        let plain = |name: &String| name.replace("_[k]", "").replace("_[i]", "");
        *ours.entry(frames.iter().map(plain).collect()).or_default() += stack.count;
    }
    let mut walked: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for sample in &pprof.samples {
        let mut frames: Vec<String> =
            sample.locations.iter().flat_map(|location| location.functions.clone()).collect();
        frames.extend(sample.labels.get("comm").cloned());
        frames.reverse();
        frames.dedup_by(|a, b| a == b && a.starts_with("[unknown"));
        *walked.entry(frames).or_default() += sample.values[0];
    }
    assert_eq!(ours, walked);
    Ok(())
}
