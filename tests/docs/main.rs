//! What the help and the documents tell to run is run as it stands there, or its reason not to be is in a table here.

mod examples;
mod run;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cgscope_tests::{Container, cli};

use crate::examples::{COMMANDS, Example, of_documents, of_help};
use crate::run::{Stage, run};

/// Beginnings of commands in the documents that no test runs, with the reason. What is in neither place fails the test.
const NOT_RUN: [(&str, &str); 2] = [
    ("cargo xtask", "builds everything or runs these very tests"),
    ("cd web", "serves the dashboard to whoever works on it, until it is stopped"),
];

#[test]
fn the_examples_of_the_help_work() -> Result<()> {
    let examples = of_help()?;
    for command in COMMANDS {
        let is_there = examples.iter().any(|example| example.command() == Some(command));
        assert!(is_there, "no example of {command} in its help");
    }
    run_all(examples)
}

#[test]
fn the_examples_of_the_documents_work() -> Result<()> {
    let examples = of_documents()?;
    let from_readme = examples.iter().filter(|example| example.place.starts_with("README.md"));
    assert!(from_readme.count() >= 7, "README.md shows each command: {examples:?}");
    run_all(examples)
}

fn run_all(examples: Vec<Example>) -> Result<()> {
    let container = Container::run("example", &["burn", "--seconds", "300"])?;
    let mut stage = Stage::new(container)?;
    let mut seen = BTreeSet::new();
    for example in examples {
        let is_listed = NOT_RUN.iter().any(|(start, _)| example.line.starts_with(start));
        if is_listed || !seen.insert(example.line.clone()) {
            continue;
        }
        run(&mut stage, &example)
            .with_context(|| format!("{}: {}", example.place, example.line))?;
    }
    assert!(seen.len() >= 5, "only {seen:?} were run");
    Ok(())
}

#[test]
fn the_table_names_nothing_that_is_not_there() -> Result<()> {
    let examples = of_documents()?;
    for (start, reason) in NOT_RUN {
        assert!(!reason.is_empty());
        let is_there = examples.iter().any(|example| example.line.starts_with(start));
        assert!(is_there, "{start} is in no document any more");
    }
    Ok(())
}

#[test]
fn the_flags_the_documents_name_are_there() -> Result<()> {
    let mut help = String::new();
    for command in COMMANDS.into_iter().chain(["selftest"]) {
        help.push_str(&cli(&[command, "--help"])?.stdout);
    }
    // Of cargo, of xtask, of the benchmark, of tools that figures are compared with, and of what is profiled.
    let foreign = [
        "--quick",
        "--test",
        "--load",
        "--rounds",
        "--seconds",
        "--call-graph",
        "--debug-dump",
        "--no-web",
        "--doctor",
        "--tests",
        "--perf-basic-prof",
        "--perf-prof",
        "--profile",
        "--name",
        "--interpreted-frames-native-stack",
        "--unix-socket",
        "--data-binary",
        "--prefix",
    ];
    for (name, text) in examples::documents()? {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
            let is_flag = word.starts_with("--") && word.len() > 3 && !word.starts_with("---");
            if is_flag && !foreign.contains(&word) {
                assert!(help.contains(word), "{name} names {word}, which no command has");
            }
        }
    }
    Ok(())
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_document() -> Result<()> {
    let help = cli(&["--help"])?.stdout;
    let (_, codes) = help.split_once("Exit codes:").context("exit codes in the help")?;
    let of_help: Vec<u8> =
        codes.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let operations = examples::documents()?
        .into_iter()
        .find(|(name, _)| name == "docs/operations.md")
        .context("docs/operations.md")?
        .1;
    let (_, table) = operations.split_once("## Exit codes").context("a section")?;
    let of_document: Vec<u8> = table
        .split("\n## ")
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split('|').nth(1)?.trim().parse().ok())
        .collect();
    assert_eq!(of_help, of_document);
    assert_eq!(of_help, (0..=6).collect::<Vec<u8>>());
    Ok(())
}
