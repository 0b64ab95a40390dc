//! The order of series: by value, or by labels as people read them.

use std::cmp::Ordering;

use super::value::Line;

/// Sorts the one step of an instant query.
pub fn sort(function: &str, mut lines: Vec<Line>, labels: &[String]) -> Vec<Line> {
    let value = |line: &Line| line.values.first().copied().flatten();
    lines.retain(|line| value(line).is_some());
    let number = |line: &Line| value(line).unwrap_or(f64::NAN);
    match function {
        "sort" => lines.sort_by(|a, b| ascending(number(a), number(b))),
        "sort_desc" => lines.sort_by(|a, b| descending(number(a), number(b))),
        "sort_by_label" => lines.sort_by(|a, b| by_labels(a, b, labels)),
        _ => lines.sort_by(|a, b| by_labels(b, a, labels)),
    }
    lines
}

/// Smallest first, NaN last.
pub fn ascending(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

/// Largest first, NaN last.
pub fn descending(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => b.total_cmp(&a),
        (a, b) => a.cmp(&b),
    }
}

fn by_labels(a: &Line, b: &Line, labels: &[String]) -> Ordering {
    let by_named = labels.iter().map(|l| natural(a.labels.get(l), b.labels.get(l)));
    by_named.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels))
}

/// Numbers within texts by their value: `cpu9` before `cpu10`.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (a_part, a_rest) = part(a);
        let (b_part, b_rest) = part(b);
        if a_part.is_empty() || b_part.is_empty() {
            return a_part.len().cmp(&b_part.len());
        }
        let are_numbers = [a_part, b_part].iter().all(|p| p.as_bytes()[0].is_ascii_digit());
        let order = if are_numbers {
            let trimmed = [a_part, b_part].map(|p| p.trim_start_matches('0'));
            trimmed[0].len().cmp(&trimmed[1].len()).then(trimmed[0].cmp(trimmed[1]))
        } else {
            a_part.cmp(b_part)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

/// The digits, or what is none, that a text begins with, and the rest.
fn part(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}
