//! Java, named by the perf map that the virtual machine writes when it is asked, or as it ends.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, run_checked, wait_until};

use crate::script::{Script, expect_callers, expect_shares};

const FUNCTIONS: [&str; 2] = ["burnThree", "burnOne"];
/// Else they are part of their caller, which is all that a perf map knows of.
const APART: [&str; 2] = ["-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,Hot::*"];

/// Where the machine's Java lives, beside its `jcmd`.
fn home() -> Result<PathBuf> {
    let path = run_checked(Command::new("sh").args(["-c", "readlink -f \"$(command -v jcmd)\""]))?;
    let jcmd = PathBuf::from(path.trim());
    let home = jcmd.parent().and_then(|bin| bin.parent());
    Ok(home.context("no jcmd: apt install openjdk-17-jdk-headless")?.to_owned())
}

/// `Hot.java` with the options of `java` that come before it and its own arguments.
fn start(name: &str, options: &[&str], arguments: &[&str]) -> Result<Script> {
    let home = home()?;
    let java = home.join("bin/java").display().to_string();
    let command = [&[&*java], &APART[..], options, &["/shared/Hot.java"], arguments].concat();
    Script::start(name, &home, &command)
}

/// `double Hot.burnOne(int)`.
fn is_function(frame: &str, name: &str) -> bool {
    frame.contains(&format!("Hot.{name}("))
}

#[test]
fn a_perf_map_that_was_asked_for_names_a_virtual_machine() -> Result<()> {
    let daemon = Daemon::start(&["--unwind-table-size", "64M"])?;
    let script = start("java-map", &["-XX:+PreserveFramePointer"], &[])?;
    // What is compiled by then is in the map.
    wait_until("the program to be compiled", Duration::from_secs(60), || {
        Ok((script.spent()?.1 > 1e6).then_some(()))
    })?;
    let jcmd = home()?.join("bin/jcmd").display().to_string();
    let asked = script.0.exec(&[&jcmd, "1", "Compiler.perfmap"])?;
    ensure!(asked.success(), "{asked:?}");
    let (folded, spent) = script.record(&daemon, 8)?;
    expect_shares("java", &folded, spent, is_function, FUNCTIONS)?;
    // What starts a method is interpreted, and shown as that.
    expect_callers(&folded, &["JavaMain", "Interpreter", "Hot.burn"])
}

/// The map is written as it ends, within the recording, where only the container sees it.
#[test]
fn a_virtual_machine_that_ended_is_named() -> Result<()> {
    let daemon = Daemon::start(&["--unwind-table-size", "64M"])?;
    let at_exit = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+DumpPerfMapAtExit"];
    let options = [&["-XX:+PreserveFramePointer"], &at_exit[..]].concat();
    let script = start("java-end", &options, &["9000"])?;
    let (folded, spent) = script.record(&daemon, 12)?;
    expect_shares("java at its end", &folded, spent, is_function, FUNCTIONS)
}

/// Without frame pointers callers are missing, and the stacks say so.
#[test]
fn without_frame_pointers_callers_are_missing_and_said_to_be() -> Result<()> {
    let daemon = Daemon::start(&["--unwind-table-size", "64M"])?;
    let script = start("java-bare", &["-XX:-PreserveFramePointer"], &[])?;
    let (mut folded, _) = script.record(&daemon, 4)?;
    // The program, and not what compiles it.
    folded.0.retain(|stack| stack.frames[0] == "java");
    let from_start = folded.count(|stack| stack.has("JavaMain"));
    let is_marked = |frame: &String| frame.starts_with("[truncated: ");
    let marked = folded.count(|stack| stack.frames.iter().any(is_marked));
    eprintln!("{from_start} whole, {marked} marked of {}", folded.kept());
    ensure!(folded.kept() > 300, "{} samples", folded.kept());
    ensure!((from_start + marked) * 100 >= folded.kept() * 95, "{folded:?}");
    Ok(())
}
