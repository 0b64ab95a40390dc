//! One run of `cargo test`: shown as it goes, its sums, and the names of what failed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{command, workspace};

/// Sums of `test result:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
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

/// What came of a `cargo test`.
pub struct Run {
    pub counts: Counts,
    /// The names of the tests that failed.
    pub failed: Vec<String>,
    /// Programs of tests that began, and those that came to their sum.
    begun: usize,
    ended: usize,
    pub succeeded: bool,
}

impl Run {
    /// Whether no program of tests ended before its sum, and each failure has a name.
    pub fn tells_all(&self) -> bool {
        self.begun == self.ended && self.failed.len() as u64 == self.counts.failed
    }
}

/// Reads the lists of names that end the output of each program of tests.
#[derive(Default)]
struct FailureList {
    is_open: bool,
    names: Vec<String>,
}

impl FailureList {
    fn line(&mut self, line: &str) {
        match line.strip_prefix("    ") {
            Some(name) if self.is_open => self.names.push(name.trim_end().to_owned()),
            // The list of what they printed has the same title, and a blank line after it.
            _ => self.is_open = line == "failures:",
        }
    }
}

/// Whether a line is `running 3 tests`.
fn is_beginning(line: &str) -> bool {
    let count = line.strip_prefix("running ").and_then(|rest| rest.split_once(" test"));
    count.is_some_and(|(count, _)| count.parse::<u64>().is_ok())
}

/// Runs `cargo test` and lets its output through to `terminal` as it comes.
pub fn run_tests(command: &mut Command, terminal: &mut dyn Write) -> Result<Run> {
    let shown = command::show(command);
    writeln!(terminal, "  $ {shown}")?;
    let mut child = command
        .current_dir(workspace::root())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` did not start"))?;
    let mut output = child.stdout.take().context("the output was asked for")?;
    let mut counts = Counts::default();
    let mut failures = FailureList::default();
    let (mut begun, mut ended) = (0, 0);
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
                let text = String::from_utf8_lossy(&line);
                begun += usize::from(is_beginning(&text));
                if let Some(sum) = Counts::of_line(&text) {
                    counts.add(sum);
                    ended += 1;
                }
                failures.line(&text);
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    Ok(Run { counts, failed: failures.names, begun, ended, succeeded: child.wait()?.success() })
}

#[cfg(test)]
mod tests {
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
        let run = run_tests(&mut shell(script), &mut shown).unwrap();
        assert_eq!(run.counts, Counts { passed: 3, failed: 0, skipped: 2 });
        assert!(run.succeeded && run.failed.is_empty());
        assert_eq!(shown.iter().filter(|&&byte| byte == b'\n').count(), 3, "all is let through");
    }
}
