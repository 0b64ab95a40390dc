//! `cargo xtask tidy`: the layout rules of the source, read by people and held by a machine.
//!
//! Contract: pure reading of the Rust files, no compiler and no network; each finding names its
//! place, what is wrong and what to do. The rules about imports are data in `table`.

mod family;
mod form;
mod imports;
mod source;
mod table;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;
use source::Source;

/// The folders whose Rust files are held to the rules.
const FOLDERS: [&str; 5] = ["monitor", "monitor-common", "monitor-ebpf", "tests", "xtask"];

/// A rule broken at a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the workspace.
    path: PathBuf,
    /// Counted from 1.
    line: usize,
    /// What is wrong, and what to do.
    what: String,
}

impl Finding {
    fn new(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Checks every file and prints what it finds.
///
/// # Errors
/// When a file cannot be read, and when there is a finding.
pub fn run() -> Result<()> {
    let sources = read(workspace::root())?;
    let findings = check(&sources);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} of the layout rules broken, see above", findings.len());
    }
    println!("tidy: {} files, nothing found", sources.len());
    Ok(())
}

fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = sources
        .iter()
        .flat_map(|source| [form::check(source), imports::check(source)])
        .flatten()
        .collect();
    findings.extend(family::check(sources));
    findings.sort();
    findings
}

/// All Rust files in the folders below `root`.
fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.map(PathBuf::from).into();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder))
            .with_context(|| format!("{} cannot be listed", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root.join(&path))
                    .with_context(|| format!("{} cannot be read as text", path.display()))?;
                sources.push(Source::new(path, text));
            }
        }
    }
    Ok(sources)
}
