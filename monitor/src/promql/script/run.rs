//! Runs the commands of a script one after the other.

use std::collections::HashMap;

use promql_parser::parser;

use super::{
    command::{Command, Eval, Expected, ScriptError, When, commands},
    compare::compare,
    notation::Place,
};
use crate::promql::{
    engine::{instant, range},
    limits::Options,
    memory::Memory,
    plan::plan,
    value::{Grid, Labels, STALE, Sample},
};

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the script says.
    Passed,
    /// Otherwise, and how.
    Failed(String),
    /// It needs what there is not, and what.
    NotApplicable(&'static str),
}

/// One `eval` of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where in the script, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// How it went.
    pub verdict: Verdict,
}

/// Runs a script.
///
/// # Errors
/// A script that cannot be read.
pub fn run(script: &str) -> Result<Vec<Case>, ScriptError> {
    let mut state = State::default();
    let mut cases = vec![];
    for command in commands(script)? {
        match command {
            Command::Clear => state = State::default(),
            Command::Load { step_ms, series } => {
                // Of a series that is written twice in one block the last counts.
                let mut last: HashMap<Labels, Vec<Place>> = HashMap::new();
                last.extend(series);
                last.into_iter().for_each(|(labels, places)| state.load(step_ms, labels, &places));
            }
            Command::Eval(eval) => {
                let verdict = state.judge(&eval);
                cases.push(Case { line: eval.line, query: eval.query, verdict });
            }
        }
    }
    Ok(cases)
}

#[derive(Default)]
struct State {
    series: Memory,
    /// Series with native histograms.
    native: Vec<Labels>,
}

impl State {
    fn load(&mut self, step_ms: i64, labels: Labels, places: &[Place]) {
        if places.contains(&Place::Native) {
            self.native.push(labels.clone());
        }
        let samples = places.iter().enumerate().filter_map(|(i, place)| {
            let at_ms = step_ms * i as i64;
            match place {
                Place::Number(value) => Some(Sample { at_ms, value: *value }),
                Place::Stale => Some(Sample { at_ms, value: STALE }),
                Place::Blank | Place::Native => None,
            }
        });
        self.series.add(labels, samples);
    }

    fn judge(&self, eval: &Eval) -> Verdict {
        if self.needs_native(eval) {
            return Verdict::NotApplicable("native histograms");
        }
        let options = Options::default();
        let answer = match eval.when {
            When::Instant(at_ms) => instant(&self.series, &eval.query, at_ms, &options),
            When::Range(from_ms, to_ms, step_ms) => {
                range(&self.series, &eval.query, (from_ms, to_ms), step_ms, &options)
            }
        };
        let outcome = compare(&answer, &eval.expected, eval.when);
        match outcome.and_then(|()| self.judge_in_range(eval)) {
            Ok(()) => Verdict::Passed,
            Err(how) => Verdict::Failed(how),
        }
    }

    /// Asks an instant query as the middle of three steps.
    fn judge_in_range(&self, eval: &Eval) -> Result<(), String> {
        let Eval { expected, query, .. } = eval;
        let When::Instant(at_ms) = eval.when else { return Ok(()) };
        // These say when the whole query is, or cannot be asked over a range.
        let is_of_query = ["start(", "end(", "range(", "step("].iter().any(|f| query.contains(f));
        if expected.text.is_some() || expected.range.is_some() || expected.ordered || is_of_query {
            return Ok(());
        }
        let answer = range(
            &self.series,
            query,
            (at_ms - 60_000, at_ms + 60_000),
            60_000,
            &Options::default(),
        );
        let answer = answer.map(|mut answer| {
            use crate::promql::engine::Outcome;
            if let Outcome::Matrix(series) = &mut answer.outcome {
                series.iter_mut().for_each(|series| series.samples.retain(|s| s.at_ms == at_ms));
            }
            answer
        });
        let in_range = Expected {
            series: match expected.scalar {
                Some(number) => vec![(Labels::default(), vec![Place::Number(number)])],
                None => expected.series.clone(),
            },
            scalar: None,
            fail: expected.fail.clone(),
            ..Expected::default()
        };
        compare(&answer, &in_range, eval.when).map_err(|how| format!("in a range: {how}"))
    }

    fn needs_native(&self, eval: &Eval) -> bool {
        if eval.expected.series.iter().any(|(_, places)| places.contains(&Place::Native)) {
            return true;
        }
        let Ok(expr) = parser::parse(&eval.query) else { return false };
        let steps = plan(&expr, &Grid::instant(0), &Options::default());
        let meets = |labels: &Labels| steps.iter().any(|s| s.selection.condition.is_met(labels));
        self.native.iter().any(meets)
    }
}
