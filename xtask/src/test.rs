//! `cargo xtask test`: everything that can fail, and one line that says how it went.
//!
//! Every step runs even when an earlier one failed, except where it stands on what did not build.
//! The end-to-end tests measure a machine that others may share, against accounts that are read at
//! other instants: one that fails is run once more, and is named in the closing lines if it passes then.
//! The last line counts the tests of all runs; a step that failed without counting (the format, a
//! lint, a compile error) is one failure more, so that line and exit code always agree.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use self::cargo_test::{Counts, Run, run_tests};
use crate::{build, command, fmt, lint, node, setup, tidy, web};

mod cargo_test;
mod suites;

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
            let filter: Vec<String> = arguments.filter.iter().cloned().collect();
            tally.end_to_end("end-to-end tests that ask", Ok(suites::asking(&filter)));
            tally.end_to_end("end-to-end tests that measure", suites::measuring(&filter));
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
    /// Tests that passed only the second time.
    unsteady: Vec<String>,
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
        let outcome = run_tests(command, terminal);
        self.take(name, outcome);
    }

    /// Runs end-to-end tests, and what failed in them once more.
    fn end_to_end(&mut self, name: &str, tests: Result<Command>) {
        let commands = tests.and_then(|mut tests| {
            let mut again = suites::exactly();
            // Those in a browser are steered by Node.
            node::provide(&mut tests)?;
            node::provide(&mut again)?;
            Ok((tests, again))
        });
        match commands {
            Ok((mut tests, mut again)) => self.measured_tests(name, &mut tests, &mut again),
            Err(error) => self.take(name, Err(error)),
        }
    }

    /// Runs a `cargo test`, and what failed in it once more: `again` is given the names.
    fn measured_tests(&mut self, name: &str, command: &mut Command, again: &mut Command) {
        heading(name);
        self.measured_tests_shown_on(&mut std::io::stdout(), name, command, again);
    }

    fn measured_tests_shown_on(
        &mut self,
        terminal: &mut dyn Write,
        name: &str,
        command: &mut Command,
        again: &mut Command,
    ) {
        let first = match run_tests(command, terminal) {
            // What failed without a name, or ended a whole run, is not undone by a test that passes.
            Ok(run) if run.tells_all() && !run.failed.is_empty() => run,
            outcome => return self.take(name, outcome),
        };
        let _ = writeln!(terminal, "\n== {name}: what failed, once more");
        let second = run_tests(again.args(&first.failed), terminal);
        let is_steady =
            |test: &&String| second.as_ref().is_ok_and(|run| !run.failed.contains(*test));
        let all_counted = second.as_ref().is_ok_and(|run| {
            run.tells_all() && run.counts.passed + run.counts.failed >= first.counts.failed
        });
        let unsteady: Vec<String> = match all_counted {
            true => first.failed.iter().filter(is_steady).cloned().collect(),
            false => vec![],
        };
        let passed = unsteady.len() as u64;
        self.counts.add(Counts {
            passed: first.counts.passed + passed,
            failed: first.counts.failed - passed,
            skipped: first.counts.skipped,
        });
        let still = first.failed.iter().filter(|test| !unsteady.contains(test));
        self.failures.extend(still.map(|test| format!("{name}: {test}, see above")));
        self.unsteady.extend(unsteady);
    }

    fn take(&mut self, name: &str, outcome: Result<Run>) {
        let reason = match outcome {
            Ok(run) => {
                self.counts.add(run.counts);
                if run.succeeded {
                    return;
                }
                self.counts.failed += u64::from(run.counts.failed == 0);
                "see above".to_owned()
            }
            Err(error) => {
                self.counts.failed += 1;
                format!("{error:#}")
            }
        };
        self.failures.push(format!("{name}: {reason}"));
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
        for test in &self.unsteady {
            println!("unsteady: {test} failed, and passed when it was run once more");
        }
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

#[cfg(test)]
mod tests {
    // What these tests let through must not reach the real standard output: an outer run would
    // count its result lines.
    use std::io::sink;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
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

    /// As two programs of tests print it.
    const TWO_FAIL: &str = "echo 'running 7 tests'; printf 'failures:\\n\\n---- a::x stdout ----\\nError: b\\n\\n\\nfailures:\\n    a::x\\n\\n';
        echo 'test result: FAILED. 5 passed; 1 failed; 1 ignored';
        echo 'running 3 tests'; printf 'failures:\\n    b::y\\n\\n'; echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101";

    fn after_two_failed(again: &str) -> Tally {
        let mut tally = Tally::default();
        // The shell has the names as its parameters from $0 on.
        tally.measured_tests_shown_on(
            &mut sink(),
            "tests",
            &mut shell(TWO_FAIL),
            &mut shell(again),
        );
        tally
    }

    #[test]
    fn what_fails_once_is_named_and_what_fails_twice_failed() {
        let tally = after_two_failed(
            "test $0,$1 = a::x,b::y || exit 1; echo 'running 2 tests'; printf 'failures:\\n    b::y\\n\\n';
             echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 101",
        );
        assert_eq!(tally.counts, Counts { passed: 8, failed: 1, skipped: 1 });
        assert_eq!(tally.unsteady, ["a::x"]);
        assert!(matches!(&tally.failures[..], [one] if one.contains("b::y")));
    }

    #[test]
    fn a_second_run_that_does_not_tell_undoes_nothing() {
        for again in [
            "exit 101",
            "echo 'running 1 test'; echo 'test result: ok. 1 passed; 0 failed; 0 ignored'",
        ] {
            let tally = after_two_failed(again);
            assert_eq!(tally.counts, Counts { passed: 7, failed: 2, skipped: 1 }, "{again}");
            assert_eq!((tally.unsteady.len(), tally.failures.len()), (0, 2), "{again}");
        }
    }

    #[test]
    fn a_program_that_ends_before_its_sum_is_a_failure() {
        let mut tally = Tally::default();
        let script = format!("echo 'running 9 tests'; {TWO_FAIL}");
        let second =
            "echo 'running 2 tests'; echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        tally.measured_tests_shown_on(
            &mut sink(),
            "tests",
            &mut shell(&script),
            &mut shell(second),
        );
        assert_eq!(tally.counts, Counts { passed: 7, failed: 2, skipped: 1 });
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
