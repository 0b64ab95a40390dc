//! Runs test scripts that others wrote against this program's own evaluator: `conformance promql DIR`.
#![allow(clippy::print_stdout, reason = "a program that prints its result")]

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use cgscope::promql::script::{Verdict, run};
use clap::{Parser, Subcommand};

/// Of the cases that apply, so many of a hundred must pass.
const LEAST_PERCENT: usize = 95;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    subcommand: What,
}

#[derive(Subcommand)]
enum What {
    /// Scripts in the format of Prometheus' promqltest
    Promql {
        /// Where they are, as files whose names end in .test
        directory: PathBuf,
        /// Name the cases that do not apply, too
        #[arg(long)]
        all: bool,
    },
}

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    not_applicable: usize,
}

fn main() -> Result<ExitCode> {
    let What::Promql { directory, all } = Arguments::parse().subcommand;
    let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no .test files in {}", directory.display());
    let mut sum = Counts::default();
    for file in files {
        let name = file.file_name().unwrap_or_default().display().to_string();
        let script = fs::read_to_string(&file).with_context(|| name.clone())?;
        let mut counts = Counts::default();
        for case in run(&script).with_context(|| name.clone())? {
            match case.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed(how) => {
                    counts.failed += 1;
                    println!("FAILED {name}:{}: {}\n       {how}", case.line, case.query);
                }
                Verdict::NotApplicable(why) => {
                    counts.not_applicable += 1;
                    if all {
                        println!("n/a    {name}:{}: {}\n       {why}", case.line, case.query);
                    }
                }
            }
        }
        println!("{name}: {}", counts.show());
        sum.passed += counts.passed;
        sum.failed += counts.failed;
        sum.not_applicable += counts.not_applicable;
    }
    println!("all: {}", sum.show());
    let applicable = sum.passed + sum.failed;
    let is_enough = applicable > 0 && sum.passed * 100 >= applicable * LEAST_PERCENT;
    Ok(if is_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Counts {
    fn show(&self) -> String {
        let Self { passed, failed, not_applicable } = *self;
        let applicable = passed + failed;
        let percent = passed as f64 * 100.0 / applicable.max(1) as f64;
        format!(
            "{passed} of {applicable} passed ({percent:.1} %), {not_applicable} do not apply (native histograms)"
        )
    }
}
