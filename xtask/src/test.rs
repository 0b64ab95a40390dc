//! `cargo xtask test`: everything that can fail, and one line that says how it went.
//!
//! Every step runs even when an earlier one failed, except where it stands on what did not build.
//! The last line counts the tests of all runs; a step that failed without counting (the format, a
//! lint, a compile error) is one failure more, so that line and exit code always agree.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{build, command, fmt, lint, node, setup, tidy, web, workspace};

/// What to run.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only tests whose name contains this; leaves out format, lints and layout
    filter: Option<String>,
    /// Leave out the end-to-end tests, and with them the need for root
    #[arg(long)]
    quick: bool,
}

/// Runs the steps and closes with the sum.
///
/// # Errors
/// When the machine cannot run the tests, and when anything failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.quick {
        can_run_end_to_end(Path::new("/"))?;
    }
    setup::for_build()?;
    setup::for_web()?;
    setup::for_checks()?;
    if !arguments.quick {
        setup::for_test()?;
    }

    let mut tally = Tally::default();
    if arguments.filter.is_none() {
        tally.step("format", fmt::check);
        tally.step("lint", lint::run);
        tally.step("tidy", tidy::run);
    } else {
        heading("format, lint, tidy: left out, because a filter is given");
    }
    if tally.step("build", build::all) {
        if arguments.filter.is_none() {
            tally.step("tests of the dashboard", web::test);
        }
        tally.tests("unit tests", &mut unit_tests(arguments));
        if arguments.quick {
            heading("end-to-end tests: left out, because of --quick");
        } else {
            // Those in a browser are steered by Node.
            let mut tests = end_to_end_tests(arguments);
            tally.step("node", || node::provide(&mut tests));
            tally.tests("end-to-end tests", &mut tests);
        }
    }
    tally.close()
}

fn unit_tests(arguments: &Arguments) -> Command {
    let mut cargo = command::cargo();
    cargo
        .args(["test", "--release", "--no-fail-fast", "--workspace"])
        .args(["--exclude", "monitor-ebpf", "--exclude", "cgscope-tests", "--"])
        .args(&arguments.filter);
    cargo
}

fn end_to_end_tests(arguments: &Arguments) -> Command {
    let mut cargo = command::cargo();
    cargo
        .env("CGSCOPE_BIN", workspace::binary())
        .args(["test", "--release", "--no-fail-fast", "--package", "cgscope-tests", "--"])
        // They load the machine and measure it: one at a time.
        .arg("--test-threads=1")
        .args(&arguments.filter);
    cargo
}

/// Fails, with everything that is missing, where the end-to-end tests could only be skipped.
/// `root` is the file system's root.
fn can_run_end_to_end(root: &Path) -> Result<()> {
    const REMEDY: &str = "`cargo xtask test --quick` runs what works without";
    if !command::is_root() {
        bail!("the end-to-end tests load eBPF programs: run this as root; {REMEDY}");
    }
    let mut missing = Vec::new();
    for (path, what) in [
        ("sys/kernel/btf/vmlinux", "BTF of the kernel (CONFIG_DEBUG_INFO_BTF)"),
        ("sys/kernel/tracing", "tracefs (CONFIG_TRACING)"),
        ("sys/fs/bpf", "the BPF file system (CONFIG_BPF_SYSCALL)"),
    ] {
        if !root.join(path).exists() {
            missing.push(format!("{what}: /{path} is missing"));
        }
    }
    let mounts = fs::read_to_string(root.join("proc/self/mounts")).unwrap_or_default();
    if !mounts.lines().any(|mount| mount.split(' ').nth(2) == Some("cgroup2")) {
        missing.push("a mounted cgroup v2 hierarchy".to_owned());
    }
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    missing.extend(missing_capabilities(&status).map(|name| format!("{name} (CapEff)")));
    if !missing.is_empty() {
        bail!("the end-to-end tests cannot run here without {}; {REMEDY}", missing.join(", "));
    }
    Ok(())
}

/// The capabilities that `/proc/self/status` does not show as effective.
fn missing_capabilities(status: &str) -> impl Iterator<Item = &'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    [("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)]
        .into_iter()
        .filter(move |(_, bit)| effective & (1u64 << bit) == 0)
        .map(|(name, _)| name)
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// What passed and failed so far.
#[derive(Default)]
struct Tally {
    counts: Counts,
    failures: Vec<String>,
}

impl Tally {
    /// Runs a step that counts no tests of its own; whether it succeeded.
    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        heading(name);
        let outcome = step();
        if let Err(error) = &outcome {
            self.counts.failed += 1;
            self.failures.push(format!("{name}: {error:#}"));
        }
        outcome.is_ok()
    }

    /// Runs a `cargo test` and adds up what it reports.
    fn tests(&mut self, name: &str, command: &mut Command) {
        heading(name);
        self.tests_shown_on(&mut std::io::stdout(), name, command);
    }

    fn tests_shown_on(&mut self, terminal: &mut dyn Write, name: &str, command: &mut Command) {
        let (counts, outcome) = match count_tests(command, terminal) {
            Ok((counts, succeeded)) => {
                (counts, if succeeded { Ok(()) } else { Err("see above".to_owned()) })
            }
            Err(error) => (Counts::default(), Err(format!("{error:#}"))),
        };
        self.counts.add(counts);
        if let Err(reason) = outcome {
            self.counts.failed += u64::from(counts.failed == 0);
            self.failures.push(format!("{name}: {reason}"));
        }
    }

    /// A mistyped filter must not look like success.
    fn expect_tests(&mut self) {
        if self.counts == Counts::default() {
            self.counts.failed += 1;
            self.failures.push("no test ran: does any test's name contain the filter?".to_owned());
        }
    }

    /// Prints what failed and the sum; nothing may be printed to standard output after it.
    fn close(mut self) -> Result<()> {
        heading("result");
        self.expect_tests();
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        let Counts { passed, failed, skipped } = self.counts;
        std::io::stderr().flush()?;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            // Not an error with a message: that would come after the line that closes.
            std::io::stdout().flush()?;
            std::process::exit(1);
        }
        Ok(())
    }
}

/// Sums of `test result:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

/// Runs `cargo test`, lets its output through to `terminal` as it comes and returns its sums and
/// whether it succeeded.
fn count_tests(command: &mut Command, terminal: &mut dyn Write) -> Result<(Counts, bool)> {
    let shown = command::show(command);
    writeln!(terminal, "  $ {shown}")?;
    let mut child = command
        .current_dir(workspace::root())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` did not start"))?;
    let mut output = child.stdout.take().context("the output was asked for")?;
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = output.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        terminal.write_all(&chunk[..read])?;
        terminal.flush()?;
        for &byte in &chunk[..read] {
            if byte == b'\n' {
                counts.add(Counts::of_line(&String::from_utf8_lossy(&line)).unwrap_or_default());
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    Ok((counts, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    // What these tests let through must not reach the real standard output: an outer run would
    // count its result lines.
    use std::io::sink;

    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out";
        assert_eq!(Counts::of_line(line), Some(Counts { passed: 3, failed: 2, skipped: 1 }));
        assert_eq!(Counts::of_line("test result of mine: ok"), None);
        assert_eq!(Counts::of_line("running 3 tests"), None);
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_runs_of_a_command_are_added_up() {
        let script = "for n in 1 2; do \
                      echo \"test result: ok. $n passed; 0 failed; 1 ignored; 0 measured\"; done";
        let mut shown = Vec::new();
        let (counts, succeeded) = count_tests(&mut shell(script), &mut shown).unwrap();
        assert_eq!(counts, Counts { passed: 3, failed: 0, skipped: 2 });
        assert!(succeeded);
        assert_eq!(shown.iter().filter(|&&byte| byte == b'\n').count(), 3, "all is let through");
    }

    #[test]
    fn a_run_that_fails_without_counting_is_one_failure() {
        let mut tally = Tally::default();
        tally.tests_shown_on(&mut sink(), "compile error", &mut shell("exit 101"));
        let mut no_such_program = Command::new("/no/such/program");
        tally.tests_shown_on(&mut sink(), "no such program", &mut no_such_program);
        assert!(!tally.step("lint", || bail!("a warning")));
        assert_eq!(tally.counts, Counts { passed: 0, failed: 3, skipped: 0 });
        assert_eq!(tally.failures.len(), 3);
    }

    #[test]
    fn a_failed_test_is_not_counted_twice() {
        let mut tally = Tally::default();
        let script = "echo 'test result: FAILED. 5 passed; 1 failed; 0 ignored'; exit 101";
        tally.tests_shown_on(&mut sink(), "tests", &mut shell(script));
        assert_eq!(tally.counts, Counts { passed: 5, failed: 1, skipped: 0 });
    }

    #[test]
    fn running_no_test_is_a_failure() {
        let mut tally = Tally::default();
        let script = "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 37 filtered out'";
        tally.tests_shown_on(&mut sink(), "tests", &mut shell(script));
        assert_eq!(tally.counts, Counts::default());
        tally.expect_tests();
        assert_eq!(tally.counts, Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn capabilities_are_told_by_name() {
        let all = missing_capabilities("CapEff:\t000001ffffffffff\n");
        assert_eq!(all.count(), 0);
        let no_bpf: Vec<_> = missing_capabilities("CapEff:\t0000004000200000\n").collect();
        assert_eq!(no_bpf, ["CAP_BPF"]);
        assert_eq!(missing_capabilities("").count(), 3);
    }
}
