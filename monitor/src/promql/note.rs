//! Remarks beside an answer: what the asker should know although there is an answer.

use std::collections::BTreeSet;

/// Remarks, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What is likely wrong.
    pub warnings: BTreeSet<String>,
    /// What may surprise.
    pub infos: BTreeSet<String>,
}

impl Notes {
    /// Something is likely wrong.
    pub fn warn(&mut self, what: impl AsRef<str>) {
        self.warnings.insert(format!("PromQL warning: {}", what.as_ref()));
    }

    /// Something may surprise.
    pub fn inform(&mut self, what: impl AsRef<str>) {
        self.infos.insert(format!("PromQL info: {}", what.as_ref()));
    }

    /// That a share is none.
    pub fn check_quantile(&mut self, q: f64) {
        if !(0.0..=1.0).contains(&q) {
            let shown = super::value::format_number(q);
            self.warn(format!("quantile value should be between 0 and 1, got {shown}"));
        }
    }
}
