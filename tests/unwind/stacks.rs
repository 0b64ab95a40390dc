//! A recording, judged.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use cgscope_tests::{Daemon, Folded, Stack};

/// Enough samples for one in a thousand to show.
const FREQUENCY_HZ: u32 = 499;

/// Records one process.
pub fn record(daemon: &Daemon, pid: u32, seconds: u32) -> Result<Folded> {
    let path = format!(
        "/api/v1/flamegraph?pid={pid}&duration={seconds}s&frequency={FREQUENCY_HZ}&format=folded"
    );
    Folded::parse(&daemon.text(&path)?)
}

/// Whether a frame says that callers are missing or in doubt.
pub fn is_doubt(frame: &str) -> bool {
    frame.starts_with("[truncated: ") || frame.starts_with("[by frame pointers: ")
}

/// Samples by the frame of doubt they have.
pub fn doubts(folded: &Folded) -> BTreeMap<&str, u64> {
    let mut doubts = BTreeMap::new();
    for stack in &folded.0 {
        for frame in stack.frames.iter().filter(|frame| is_doubt(frame)) {
            *doubts.entry(frame.as_str()).or_default() += stack.count;
        }
    }
    doubts
}

/// Fails unless so many per thousand of the samples have whole stacks.
pub fn expect_complete(name: &str, folded: &Folded, per_mille: u64) -> Result<()> {
    let all = folded.kept();
    let doubts = doubts(folded);
    let doubtful: u64 = doubts.values().sum();
    eprintln!("{name}: {} of {all} complete, {doubts:?}", all - doubtful);
    ensure!(all >= 50, "{name}: {all} samples of a process that never sleeps");
    ensure!(
        (all - doubtful) * 1000 >= all * per_mille,
        "{name}: {doubtful} of {all} samples in doubt: {doubts:?}"
    );
    Ok(())
}

/// The functions of the program in a stack, from `main` on; nothing of the kernel, of doubt, or of the C library.
pub fn own<'a>(stack: &'a Stack, functions: &[&str]) -> Vec<&'a str> {
    let frames = stack.frames.iter().map(String::as_str);
    frames.filter(|frame| functions.contains(frame)).collect()
}
