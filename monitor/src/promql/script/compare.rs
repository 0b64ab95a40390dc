//! Whether an answer is what a script says.

use regex::Regex;

use super::{
    command::{Expected, Message, When},
    notation::Place,
};
use crate::promql::{
    engine::{Answer, Outcome},
    error::Result,
    value::{Labels, Sample, Series, format_number},
};

/// How far apart equal numbers may be, as a share of their sum: as in Prometheus' runner.
const NEAR: f64 = 1e-6;

/// Compares an answer; what differs is the error.
pub fn compare(
    answer: &Result<Answer>,
    expected: &Expected,
    when: When,
) -> std::result::Result<(), String> {
    let answer = match (answer, &expected.fail) {
        (Err(error), Some(message)) => {
            return if is_met(message, &error.message) {
                Ok(())
            } else {
                Err(format!("failed otherwise: {error}"))
            };
        }
        (Err(error), None) => return Err(format!("failed: {error}")),
        (Ok(_), Some(_)) => return Err("did not fail".to_owned()),
        (Ok(answer), None) => answer,
    };
    let kinds = [
        (&expected.warn, &answer.notes.warnings, expected.no_warn, "warning"),
        (&expected.info, &answer.notes.infos, expected.no_info, "info"),
    ];
    for (wanted, given, is_none, what) in kinds {
        for message in wanted {
            if !given.iter().any(|given| is_met(message, given)) {
                return Err(format!("no {what} {message:?} in {given:?}"));
            }
        }
        if is_none && !given.is_empty() {
            return Err(format!("an unexpected {what}: {given:?}"));
        }
    }
    values(&answer.outcome, expected, when)
}

/// Positions are left out on both sides.
fn is_met(message: &Message, given: &str) -> bool {
    match message {
        Message::Any => true,
        Message::Text(text) => {
            let position = text.rfind(" (").filter(|_| text.ends_with(')'));
            let text =
                position.filter(|at| text[*at..].contains(':')).map_or(&text[..], |at| &text[..at]);
            given.contains(text)
        }
        Message::Regex(regex) => {
            let regex = regex.replace(r" \([0-9]+:[0-9]+\)", "");
            Regex::new(&regex).is_ok_and(|regex| regex.is_match(given))
        }
    }
}

fn values(outcome: &Outcome, expected: &Expected, when: When) -> std::result::Result<(), String> {
    if let Some(text) = &expected.text {
        return match outcome {
            Outcome::Text(_, given) if given == text => Ok(()),
            _ => Err(format!("{outcome:?} is not {text:?}")),
        };
    }
    if let Some(number) = expected.scalar {
        return match outcome {
            Outcome::Scalar(given) if is_near(given.value, number) => Ok(()),
            _ => Err(format!("{outcome:?} is not {number}")),
        };
    }
    let (start_ms, step_ms) = match (expected.range, when) {
        (Some((from, _, step)), _) => (from, step),
        (None, When::Instant(at)) => (at, 1),
        (None, When::Range(from, _, step)) => (from, step),
    };
    let given: Vec<Series> = match outcome {
        Outcome::Vector(vector) => {
            let series = vector.iter().map(|(labels, sample)| (labels.clone(), vec![*sample]));
            series.map(|(labels, samples)| Series { labels, samples }).collect()
        }
        Outcome::Matrix(series) => {
            series.iter().filter(|series| !series.samples.is_empty()).cloned().collect()
        }
        Outcome::Scalar(_) | Outcome::Text(..) => {
            return Err(format!("{outcome:?} where series were expected"));
        }
    };
    let wanted = expected.series.iter().map(|(labels, places)| {
        let places = places.iter().enumerate().filter_map(|(i, place)| match place {
            Place::Number(value) => {
                Some(Sample { at_ms: start_ms + i as i64 * step_ms, value: *value })
            }
            _ => None,
        });
        (labels, places.collect::<Vec<Sample>>())
    });
    let wanted: Vec<(&Labels, Vec<Sample>)> = wanted.filter(|(_, s)| !s.is_empty()).collect();
    for (place, series) in given.iter().enumerate() {
        let Some(at) = wanted.iter().position(|(labels, _)| **labels == series.labels) else {
            return Err(format!("unexpected {} {}", series.labels, shown(&series.samples)));
        };
        if expected.ordered && at != place {
            return Err(format!("{} is in place {place} instead of {at}", series.labels));
        }
        let same = |(a, b): (&Sample, &Sample)| a.at_ms == b.at_ms && is_near(a.value, b.value);
        let is_same = series.samples.len() == wanted[at].1.len()
            && series.samples.iter().zip(&wanted[at].1).all(same);
        if !is_same {
            let (given, wanted) = (shown(&series.samples), shown(&wanted[at].1));
            return Err(format!("{} is {given} instead of {wanted}", series.labels));
        }
    }
    match wanted.iter().find(|(labels, _)| !given.iter().any(|s| s.labels == **labels)) {
        Some((labels, samples)) => Err(format!("{labels} {} is missing", shown(samples))),
        None => Ok(()),
    }
}

fn shown(samples: &[Sample]) -> String {
    let one = |s: &Sample| format!("{}@{}", format_number(s.value), s.at_ms as f64 / 1e3);
    samples.iter().take(12).map(one).collect::<Vec<_>>().join(" ")
}

fn is_near(a: f64, b: f64) -> bool {
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < NEAR * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < NEAR
}
