//! Where samples come from: history, or a script's own in a test.

use promql_parser::label::{MatchOp, Matcher, Matchers};

use super::{
    error::Result,
    value::{Labels, NAME, Series},
};

/// Which series of which time a selector needs.
#[derive(Clone, Debug)]
pub struct Selection {
    /// What their labels must be.
    pub condition: Condition,
    /// Samples later than this are needed, ms.
    pub after_ms: i64,
    /// And not later than this, ms.
    pub until_ms: i64,
    /// How far apart the instants of evaluation are, ms; 0 for a single one.
    pub step_ms: i64,
    /// How long the windows are that end there, ms: of a range selector its range, else how far is looked back.
    pub window_ms: i64,
    /// The first instant that any selector of the query needs, ms: what counts up counts from before it in all of them.
    pub query_after_ms: i64,
}

/// Conditions on labels: of the groups any, of a group all.
#[derive(Clone, Debug)]
pub struct Condition(Vec<Vec<Matcher>>);

impl Condition {
    /// Of a selector.
    pub fn of(name: Option<&str>, matchers: &Matchers) -> Self {
        let name = name.map(|name| Matcher::new(MatchOp::Equal, NAME, name));
        let groups: Vec<&Vec<Matcher>> = if matchers.or_matchers.is_empty() {
            vec![&matchers.matchers]
        } else {
            matchers.or_matchers.iter().collect()
        };
        let with_name = |group: &Vec<Matcher>| name.iter().chain(group).cloned().collect();
        Self(groups.into_iter().map(with_name).collect())
    }

    /// Whether a series of these labels is meant.
    pub fn is_met(&self, labels: &Labels) -> bool {
        self.is_met_by(&|name| labels.get(name))
    }

    /// The same for labels in any form; one that is not there is empty.
    pub fn is_met_by<'a>(&self, label: &dyn Fn(&str) -> &'a str) -> bool {
        self.0.iter().any(|group| group.iter().all(|m| m.is_match(label(&m.name))))
    }

    /// The one metric's name that can be meant; `None` when it may be several.
    pub fn exact_name(&self) -> Option<&str> {
        let [group] = &self.0[..] else { return None };
        let is_name = |m: &&Matcher| m.name == NAME && matches!(m.op, MatchOp::Equal);
        group.iter().find(is_name).map(|m| m.value.as_str())
    }

    /// The one label set that the conditions of equality name, for those that are absent.
    pub fn named_labels(&self) -> Labels {
        let mut labels = Labels::default();
        let [group] = &self.0[..] else { return labels };
        let mut seen: Vec<&str> = vec![];
        for matcher in group.iter().filter(|m| m.name != NAME) {
            let is_equal = matches!(matcher.op, MatchOp::Equal);
            if is_equal && !seen.contains(&matcher.name.as_str()) {
                labels.set(&*matcher.name, &*matcher.value);
                seen.push(&matcher.name);
            } else {
                labels.remove(&matcher.name);
            }
        }
        labels
    }
}

/// Where samples come from.
pub trait Source {
    /// The series that are meant, each once, with their samples of the time asked for; others may come as well.
    ///
    /// # Errors
    /// Too many series or samples, or that they cannot be read.
    fn select(&self, selection: &Selection) -> Result<Vec<Series>>;
}
