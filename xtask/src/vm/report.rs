//! What a guest left, as a row of the table: which families the kernel carries, which not and why, and what the tests say.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The verifier's word on a program that may do what it should not; of helpers and hooks that it does not know, it says other things.
const REFUSED: &str = "os error 13";

/// One family on one kernel.
struct Family {
    name: String,
    attached: usize,
    /// Programs that are not, each with its reason.
    absent: Vec<(String, String)>,
}

/// One kernel.
pub struct Row {
    release: String,
    families: Vec<Family>,
    passed: u64,
    /// Tests by name, each with what became of it.
    failed: Vec<String>,
    /// Why there is less than there should be.
    trouble: Option<String>,
}

impl Row {
    /// Of a guest that did not come to its end.
    pub fn broken(release: &str, reason: String) -> Self {
        let release = release.to_owned();
        Self { release, families: vec![], passed: 0, failed: vec![], trouble: Some(reason) }
    }

    /// From the files in `place`.
    ///
    /// # Errors
    /// When doctor gave no answer: then the program did not live on this kernel.
    pub fn read(release: &str, place: &Path, programs: usize) -> Result<Self> {
        let answer = fs::read_to_string(place.join("doctor.json"))?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| {
            let error = fs::read_to_string(place.join("doctor.err")).unwrap_or_default();
            format!("`cgscope doctor --json` gave no answer: {error}")
        })?;
        let tests = fs::read_to_string(place.join("tests")).unwrap_or_default();
        let (passed, failed, ended) = outcomes(&tests);
        let trouble = (ended < programs)
            .then(|| format!("{} of {programs} test programs did not end", programs - ended));
        let families = families(&answer["probes"]["programs"]);
        Ok(Self { release: release.to_owned(), families, passed, failed, trouble })
    }

    /// Whether everything that ran passed, and all that is missing is missing in the kernel: what its verifier refuses is ours to mend.
    pub fn is_good(&self) -> bool {
        let mut reasons = self.families.iter().flat_map(|family| &family.absent);
        let is_refused = reasons.any(|(_, reason)| reason.contains(REFUSED));
        self.failed.is_empty() && self.trouble.is_none() && !is_refused
    }

    /// For the terminal.
    pub fn show(&self) -> String {
        let mut text = format!("\n{}\n", self.release);
        for Family { name, attached, absent } in &self.families {
            let all = attached + absent.len();
            let word = if absent.is_empty() {
                "present".to_owned()
            } else if *attached == 0 {
                "absent".to_owned()
            } else {
                format!("{attached} of {all} programs")
            };
            let _ = writeln!(text, "  {name:<9} {word}");
            for (program, reason) in absent {
                let _ = writeln!(text, "            without {program}: {reason}");
            }
        }
        let _ = writeln!(text, "  tests     {} passed, {} failed", self.passed, self.failed.len());
        for test in &self.failed {
            let _ = writeln!(text, "            failed: {test}");
        }
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "  {trouble}");
        }
        text
    }
}

fn families(programs: &Value) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for program in programs.as_array().into_iter().flatten() {
        let text = |key: &str| program[key].as_str().unwrap_or_default().to_owned();
        let name = text("family");
        let index = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            families.push(Family { name, attached: 0, absent: vec![] });
            families.len() - 1
        });
        if program["attached"].is_null() {
            families[index].absent.push((text("name"), short(&text("error"))));
        } else {
            families[index].attached += 1;
        }
    }
    families
}

/// A verifier's words without its statistics.
fn short(reason: &str) -> String {
    let first = reason.split(" | ").next().unwrap_or_default();
    first.chars().take(160).collect()
}

/// How many tests passed, which failed, and how many programs came to their end.
fn outcomes(log: &str) -> (u64, Vec<String>, usize) {
    let (mut passed, mut failed, mut ended) = (0, Vec::new(), 0);
    for line in log.lines() {
        if line.starts_with("== passed ") {
            passed += 1;
        } else if let Some(test) = line.strip_prefix("== failed ") {
            failed.push(test.to_owned());
        } else if line == "== end" {
            ended += 1;
        }
    }
    (passed, failed, ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_by_test_and_by_program() {
        let log = "== one\ntest a::b ... what it says\nok\n\n== passed a::b\ntest c ... \n\
                   == failed c: not over after 60 s\n== end\n== next\n\n== passed d\n";
        let failed = vec!["c: not over after 60 s".to_owned()];
        assert_eq!(outcomes(log), (2, failed, 1));
    }

    #[test]
    fn a_program_that_is_not_attached_is_told_with_its_reason() {
        let programs = serde_json::json!([
            {"name": "a", "family": "sched", "attached": "tp_btf"},
            {"name": "b", "family": "sched", "attached": null, "error": "no such | stack depth 0"},
        ]);
        let families = families(&programs);
        assert_eq!((families.len(), families[0].attached), (1, 1));
        assert_eq!(families[0].absent, [("b".to_owned(), "no such".to_owned())]);
    }
}
