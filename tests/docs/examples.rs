//! Finds the commands that the help, README.md and docs/*.md tell to run.

use std::fs;

use anyhow::{Context, Result};
use cgscope_tests::{cli, workspace_root};

/// One command as it is written, without prompt, `sudo` and comment.
#[derive(Debug, Clone)]
pub struct Example {
    /// The file or help text it stands in, with the line.
    pub place: String,
    /// The command.
    pub line: String,
}

impl Example {
    fn new(place: String, text: &str) -> Self {
        let text = text.split(" #").next().unwrap_or(text).trim();
        let text = text.strip_prefix("$ ").unwrap_or(text);
        let line = text.strip_prefix("sudo ").unwrap_or(text).trim().to_owned();
        Self { place, line }
    }

    /// The subcommand of ours that it runs.
    pub fn command(&self) -> Option<&str> {
        self.line.strip_prefix("cgscope ")?.split(' ').next()
    }
}

fn is_ours(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("$ ").unwrap_or(text);
    text.strip_prefix("sudo ").unwrap_or(text).starts_with("cgscope ")
}

/// The commands whose help has examples that are run; `selftest` takes longer than all of them.
pub const COMMANDS: [&str; 11] = [
    "run",
    "top",
    "latency",
    "states",
    "flamegraph",
    "diff",
    "outliers",
    "containers",
    "record",
    "replay",
    "doctor",
];

/// Those in the `--help` of each command.
pub fn of_help() -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    for command in COMMANDS {
        let help = cli(&[command, "--help"])?.stdout;
        let (_, shown) = help.split_once("Example").context("every help has an example")?;
        let lines = shown.lines().filter(|line| is_ours(line));
        examples.extend(lines.map(|line| Example::new(format!("{command} --help"), line)));
    }
    Ok(examples)
}

/// README.md and docs/*.md, with their names.
pub fn documents() -> Result<Vec<(String, String)>> {
    let root = workspace_root();
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root.join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| Ok((name.clone(), fs::read_to_string(root.join(&name))?)))
        .collect()
}

/// Every line of a shell block, and every code span that is a command of ours.
pub fn of_documents() -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    for (name, text) in documents()? {
        let mut block: Option<&str> = None;
        for (at, line) in text.lines().enumerate() {
            let place = || format!("{name}:{}", at + 1);
            if let Some(language) = line.trim_start().strip_prefix("```") {
                block = if block.is_some() { None } else { Some(language.trim()) };
                continue;
            }
            match block {
                Some("sh") if !line.trim().is_empty() && !line.starts_with('#') => {
                    examples.push(Example::new(place(), line));
                }
                // Between prompts stands what the command prints.
                Some("console") if line.starts_with("$ ") => {
                    examples.push(Example::new(place(), line));
                }
                Some(_) => {}
                None => {
                    let spans = line.split('`').skip(1).step_by(2).filter(|span| is_ours(span));
                    examples.extend(spans.map(|span| Example::new(place(), span)));
                }
            }
        }
    }
    Ok(examples)
}
