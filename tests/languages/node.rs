//! JavaScript, named by a perf map, by a jitdump, and by neither.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cgscope_tests::Daemon;

use crate::script::{Script, expect_callers, expect_complete, expect_shares};

const FUNCTIONS: [&str; 2] = ["burnThree", "burnOne"];

/// `hot.js` with the options of node that come before it and its own arguments.
fn start(name: &str, options: &[&str], arguments: &[&str]) -> Result<Script> {
    let command = [&["/usr/bin/node"], options, &["/shared/hot.js"], arguments].concat();
    Script::start(name, Path::new("/usr/bin"), &command)
}

/// `JS:*burnOne /shared/hot.js:4:17`.
fn is_function(frame: &str, name: &str) -> bool {
    frame.starts_with("JS:") && frame.contains(&format!("{name} /shared/hot.js:"))
}

/// The process is number 1 in its container, and the file lies where only the container sees it.
#[test]
fn a_perf_map_in_the_container_names_its_code() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let script = start("node-map", &["--perf-basic-prof"], &[])?;
    let (folded, spent) = script.record(&daemon, 10)?;
    expect_shares("perf map", &folded, spent, is_function, FUNCTIONS)?;
    // Between them functions that V8 interprets still have the name of its interpreter.
    let callers = ["node::Start", "Builtins_JSEntry", "burn"];
    expect_callers(&folded, &callers)
}

/// V8 writes through a buffer of 2 MB, so the program has ended when its last names are there.
#[test]
fn a_jitdump_names_the_code_of_a_program_that_ended() -> Result<()> {
    let script = start("node-dump", &["--perf-prof"], &["14000"])?;
    let daemon = Daemon::start(&[])?;
    let (folded, spent) = script.record(&daemon, 15)?;
    expect_shares("jitdump", &folded, spent, is_function, FUNCTIONS)
}

/// Garbage where names should be: the code has no name and says so, stacks are as whole as they were, and the container beside is named.
#[test]
fn a_perf_map_of_garbage_names_nothing_and_harms_nobody() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let honest = start("node-honest", &["--perf-basic-prof"], &[])?;
    let hostile = start("node-hostile", &[], &[])?;
    let noise = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    let mut garbage: Vec<u8> = noise.collect();
    garbage.extend(b"\nffffffffffffffff ffffffffffffffff all\n0 0 none\n-1 2 x\n 1 2\n");
    garbage.extend(b"1 ffffffffffffffff over the end\n");
    garbage.extend(vec![b'a'; 1_000_000]);
    let path = format!("/proc/{}/root/tmp/perf-1.map", hostile.0.host_pid()?);
    fs::write(&path, garbage).with_context(|| path.clone())?;
    let (folded, _) = hostile.record(&daemon, 3)?;
    let is_unnamed = |frame: &String| frame == "[unknown: anonymous memory]";
    let unnamed = folded.count(|stack| stack.frames.iter().any(is_unnamed));
    let all = folded.kept();
    eprintln!("garbage: {unnamed} of {all} have frames without a name");
    ensure!(all >= 100 && unnamed * 10 >= all * 9, "{unnamed} of {all} have no name: {folded:?}");
    expect_complete("garbage", &folded)?;
    let (folded, spent) = honest.record(&daemon, 8)?;
    expect_shares("beside it", &folded, spent, is_function, FUNCTIONS)
}
