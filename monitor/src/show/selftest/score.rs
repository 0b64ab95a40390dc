//! What was compared with what, and how it came out. Pure.

use serde::Serialize;

use crate::show::table::{self, Side};

/// How a comparison came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within bounds.
    Passed,
    /// Not within bounds.
    Failed,
    /// There was nothing to compare.
    Unchecked,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Which recording: a type of `cgscope flamegraph`.
    pub recording: String,
    /// Of what.
    pub what: String,
    /// By whom the answer is known.
    pub truth: &'static str,
    /// The unit of the numbers.
    pub unit: &'static str,
    /// What is known; `null` where nothing was.
    pub expected: Option<f64>,
    /// What was recorded.
    pub seen: Option<f64>,
    /// By how much it may be off: percent, or points of percents.
    pub allowed: f64,
    /// By how much it is, likewise.
    pub off: Option<f64>,
    /// How it came out.
    pub verdict: Verdict,
    /// Why there was nothing to compare.
    pub why: Option<String>,
}

impl Check {
    /// An amount, which may be off by percents of it.
    pub fn amount(about: About, expected: f64, seen: f64, allowed: f64) -> Self {
        let off = if expected > 0.0 { 100.0 * (seen / expected - 1.0) } else { f64::INFINITY };
        Self::new(about, expected, seen, allowed, off)
    }

    /// A share in percent, which may be off by points.
    pub fn share(about: About, expected: f64, seen: f64, allowed: f64) -> Self {
        Self::new(About { unit: "%", ..about }, expected, seen, allowed, seen - expected)
    }

    fn new(about: About, expected: f64, seen: f64, allowed: f64, off: f64) -> Self {
        let verdict = if off.abs() <= allowed { Verdict::Passed } else { Verdict::Failed };
        let (expected, seen, off) = (Some(expected), Some(seen), Some(off));
        Self { expected, seen, off, verdict, ..Self::unchecked(about, allowed, None) }
    }

    /// Nothing to compare, and why.
    pub fn not_done(about: About, why: impl Into<String>) -> Self {
        Self::unchecked(about, 0.0, Some(why.into()))
    }

    fn unchecked(about: About, allowed: f64, why: Option<String>) -> Self {
        let About { recording, what, truth, unit } = about;
        let (expected, seen, off, verdict) = (None, None, None, Verdict::Unchecked);
        Self { recording, what, truth, unit, expected, seen, allowed, off, verdict, why }
    }
}

/// What a comparison is of.
#[derive(Clone, Debug)]
pub struct About {
    pub recording: String,
    pub what: String,
    pub truth: &'static str,
    pub unit: &'static str,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Those within bounds among those that were made, 0 to 1.
    pub score: Option<f64>,
    /// How many were within bounds.
    pub passed: usize,
    /// How many were not.
    pub failed: usize,
    /// How many could not be made.
    pub unchecked: usize,
    /// Each.
    pub checks: Vec<Check>,
    /// What a selftest never looks at.
    pub beyond: Vec<&'static str>,
}

/// What needs more than a process of our own.
const BEYOND: [&str; 4] = [
    "which container something is charged to: the workloads run in that of this command",
    "latencies of disks, run queues and sockets: nobody here knows the right answer",
    "kernel locks, writeback, wake-ups, interrupts",
    "programs without symbols, interpreters, code made at run time",
];

impl Report {
    pub fn new(checks: Vec<Check>) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        let (passed, failed) = (count(Verdict::Passed), count(Verdict::Failed));
        let made = passed + failed;
        Self {
            score: (made > 0).then(|| passed as f64 / made as f64),
            passed,
            failed,
            unchecked: count(Verdict::Unchecked),
            checks,
            beyond: BEYOND.to_vec(),
        }
    }

    /// For people.
    pub fn draw(&self) -> String {
        let heading = [
            ("TYPE", Side::Left),
            ("WHAT", Side::Left),
            ("KNOWN BY", Side::Left),
            ("KNOWN", Side::Right),
            ("RECORDED", Side::Right),
            ("OFF", Side::Right),
            ("ALLOWED", Side::Right),
            ("", Side::Left),
        ];
        let rows: Vec<_> = self.checks.iter().map(row).collect();
        let mut text = table::draw(&heading, &rows);
        for check in &self.checks {
            if let Some(why) = &check.why {
                text += &format!("\n{} {} was not checked: {why}", check.recording, check.what);
            }
        }
        let made = self.passed + self.failed;
        text += &format!("\n{} of {made} checks passed", self.passed);
        if let Some(score) = self.score {
            text += &format!(", a score of {:.0} %", 100.0 * score);
        }
        text += &format!("; {} could not be made\n\nNever checked here:\n", self.unchecked);
        for what in &self.beyond {
            text += &format!("  {what}\n");
        }
        text
    }
}

fn row(check: &Check) -> Vec<String> {
    let unit = if check.unit == "%" { " points" } else { " %" };
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| shown(v, check.unit));
    vec![
        check.recording.clone(),
        check.what.clone(),
        check.truth.to_owned(),
        number(check.expected),
        number(check.seen),
        check.off.map_or("-".to_owned(), |off| format!("{off:+.2}{unit}")),
        if check.verdict == Verdict::Unchecked {
            "-".to_owned()
        } else {
            format!("{}{unit}", check.allowed)
        },
        match check.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Unchecked => "not checked",
        }
        .to_owned(),
    ]
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "%" => format!("{value:.2} %"),
        "ns" => format!("{:.4} s", value / 1e9),
        unit => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { recording: "cpu".into(), what: "f".into(), truth: "a clock", unit: "ns" }
    }

    #[test]
    fn what_could_not_be_checked_is_no_success() {
        let passed = Check::amount(about(), 1e9, 1.01e9, 2.0);
        let failed = Check::share(about(), 60.0, 63.0, 2.0);
        let none = Check::not_done(about(), "perf is not installed");
        let nothing = Check::amount(about(), 0.0, 0.0, 2.0);
        let verdicts = [&passed, &failed, &none, &nothing].map(|check| check.verdict);
        let (yes, no) = (Verdict::Passed, Verdict::Failed);
        assert_eq!(verdicts, [yes, no, Verdict::Unchecked, no]);
        let report = Report::new(vec![passed, failed, none]);
        assert_eq!((report.score, report.unchecked), (Some(0.5), 1));
        let text = report.draw();
        for part in ["+1.00 %", "+3.00 points", "FAILED", "not checked: perf", "1 of 2 checks"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(Report::new(vec![]).score, None);
    }
}
