//! `cargo xtask vm`: the program and its kernel tests on Debian's kernels, each booted in a virtual machine on this machine's files.
//!
//! Contract: installs no kernel. A family that a kernel cannot carry is shown as absent with
//! the kernel's reason; a test that fails, or a program that does not live there, is a failure.

mod archive;
mod boot;
mod report;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{build, command, setup, workspace};
use boot::{Accelerator, Work};
use report::Row;

/// Which kernels, and what to run on them.
#[derive(clap::Args)]
pub struct Arguments {
    /// Releases of Debian whose newest kernel is booted
    #[arg(default_values = ["bullseye", "bookworm", "trixie", "sid"])]
    suites: Vec<String>,
    /// Test areas to run in each, as named in tests/Cargo.toml
    #[arg(long, value_delimiter = ',', default_value = "kernel")]
    tests: Vec<String>,
    /// The most one of them may take, in seconds
    #[arg(long, default_value_t = 1200)]
    time: u64,
    /// Only `cgscope doctor`: which families each kernel carries
    #[arg(long)]
    doctor: bool,
    /// Take what is built already
    #[arg(long)]
    no_build: bool,
    /// Translate the guest's code even where the processor could run it
    #[arg(long)]
    tcg: bool,
}

/// Boots each kernel in turn and prints what it carries.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !command::is_root() {
        bail!("the guest's root user reads this machine's files through qemu: run this as root");
    }
    setup::for_vm()?;
    if !arguments.no_build {
        setup::for_build()?;
        setup::for_web()?;
        build::all()?;
    }
    let areas = if arguments.doctor { &[][..] } else { &arguments.tests[..] };
    let tests = test_programs(areas)?;
    let program = workspace::binary();
    let work =
        Work { program: &program, tests: &tests, test_time: Duration::from_secs(arguments.time) };
    let cache = workspace::cache()?.join("vm");
    let mut accelerator = Accelerator::Kvm;
    if arguments.tcg || !Path::new("/dev/kvm").exists() {
        println!("qemu translates: {}", if arguments.tcg { "asked for" } else { "no /dev/kvm" });
        accelerator = Accelerator::Tcg;
    }
    let mut rows = Vec::new();
    for suite in &arguments.suites {
        println!("\n== {suite}");
        let kernel = archive::kernel(suite, &cache)?;
        let place = workspace::root().join("target/vm").join(suite);
        let mut outcome = boot::run(&kernel, accelerator, &work, &place);
        if accelerator == Accelerator::Kvm
            && let Err(error) = &outcome
            && !place.join("started").exists()
        {
            println!("/dev/kvm does not run this kernel ({error:#}): qemu translates from here on");
            accelerator = Accelerator::Tcg;
            outcome = boot::run(&kernel, accelerator, &work, &place);
        }
        let row = outcome.and_then(|()| Row::read(&kernel.release, &place, tests.len()));
        let row = row.unwrap_or_else(|error| Row::broken(&kernel.release, format!("{error:#}")));
        println!("{}", row.show());
        rows.push(row);
    }
    println!("\n== result");
    for row in &rows {
        print!("{}", row.show());
    }
    if !rows.iter().all(Row::is_good) {
        bail!("not everything works on every kernel: logs are in target/vm");
    }
    Ok(())
}

/// Builds the test programs of these areas, and says where they are.
fn test_programs(areas: &[String]) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for area in areas {
        let mut cargo = command::cargo();
        cargo
            .args(["test", "--release", "--package", "cgscope-tests", "--no-run", "--test", area])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(workspace::root())
            .stderr(Stdio::inherit());
        println!("  $ {}", command::show(&cargo));
        let text = cargo.output().context("cargo did not start")?.stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        programs.push(executable(&text, area).with_context(|| format!("no program of {area}"))?);
    }
    Ok(programs)
}

/// The test program of an area, by cargo's messages, which tell of other programs that it built for that as well.
fn executable(messages: &str, area: &str) -> Option<PathBuf> {
    let message = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let is_it = |message: &serde_json::Value| {
        message["target"]["name"] == area && message["target"]["kind"][0] == "test"
    };
    let mut its = messages.lines().filter_map(message).filter(is_it);
    its.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_told_from_others_that_were_built_with_it() {
        let of = |kind: &str, name: &str| {
            let target = serde_json::json!({ "kind": [kind], "name": name });
            let path = format!("/{kind}/{name}");
            serde_json::json!({ "target": target, "executable": path }).to_string()
        };
        let messages = [of("test", "kernel"), of("bin", "bench"), of("bin", "kernel")].join("\n");
        assert_eq!(executable(&messages, "kernel"), Some("/test/kernel".into()));
        assert_eq!(executable(&messages, "bench"), None);
    }
}
