//! Two answers side by side: the same question of two ranges.
//!
//! Contract: lines with the same labels belong together, step by step; a line that only one of the answers has is there too, without
//! values on the other side. A range that begins within a step may have one step more than the other: it is cut off.

use std::collections::BTreeMap;

use super::{evaluate::AnswerSeries, labels::Labels};

/// One line of two ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its labels.
    pub labels: Labels,
    /// How many series it is made of: of the first range, or of the second where the first has none.
    pub merged: usize,
    /// A value for each step.
    pub values: Vec<Option<f64>>,
    /// Those of the other range; `None` if there is no other.
    pub against: Option<Vec<Option<f64>>>,
}

/// Puts the lines of two answers of `steps` steps together.
pub fn compare(
    series: Vec<AnswerSeries>,
    steps: usize,
    other: Option<Vec<AnswerSeries>>,
) -> Vec<Compared> {
    let alone = |series: AnswerSeries| Compared {
        labels: series.labels,
        merged: series.merged,
        values: series.values,
        against: None,
    };
    let Some(other) = other else { return series.into_iter().map(alone).collect() };
    let mut other: BTreeMap<Labels, AnswerSeries> =
        other.into_iter().map(|line| (line.labels.clone(), line)).collect();
    let mut lines: Vec<Compared> = vec![];
    for line in series {
        let against = other.remove(&line.labels).map_or_else(Vec::new, |line| line.values);
        lines.push(Compared { against: Some(fitted(against, steps)), ..alone(line) });
    }
    lines.extend(other.into_values().map(|line| Compared {
        labels: line.labels,
        merged: line.merged,
        values: vec![None; steps],
        against: Some(fitted(line.values, steps)),
    }));
    lines.sort_by(|a, b| a.labels.cmp(&b.labels));
    lines
}

fn fitted(mut values: Vec<Option<f64>>, steps: usize) -> Vec<Option<f64>> {
    values.resize(steps, None);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, values: &[Option<f64>]) -> AnswerSeries {
        let labels = [("state".to_owned(), name.to_owned())].into();
        AnswerSeries { labels, merged: 1, values: values.to_vec() }
    }

    #[test]
    fn lines_of_either_are_there_and_belong_together_by_their_labels() {
        let now = vec![line("b", &[Some(1.0), None]), line("c", &[Some(2.0), Some(3.0)])];
        let then = vec![line("a", &[Some(9.0), Some(8.0), Some(7.0)]), line("c", &[None])];
        let compared = compare(now.clone(), 2, Some(then));
        let of = |i: usize| {
            let line = &compared[i];
            (line.labels["state"].as_str(), line.values.clone(), line.against.clone().unwrap())
        };
        assert_eq!(compared.len(), 3);
        assert_eq!(of(0), ("a", vec![None, None], vec![Some(9.0), Some(8.0)]));
        assert_eq!(of(1), ("b", vec![Some(1.0), None], vec![None, None]));
        assert_eq!(of(2), ("c", vec![Some(2.0), Some(3.0)], vec![None, None]));
        assert!(compare(now, 2, None).iter().all(|line| line.against.is_none()));
    }
}
