//! What series are called: the labels of their metric and the names of their subject.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{ask::Matcher, error::QueryError};
use crate::store::{
    database::{Named, SeriesRow},
    snapshot::Snapshot,
};

/// Labels and their values.
pub type Labels = BTreeMap<String, String>;

/// Ids shorter than this are not taken for the beginning of one.
const ID_MIN_CHARS: usize = 6;

/// The label whose value is the id of a container: its name is shown beside it, as `culprit`.
const CULPRIT_ID: &str = "culprit_id";

/// `namespace/pod/name` as far as they are known.
fn qualified_name(named: &Named) -> String {
    let parts = [named.namespace.as_deref(), named.pod.as_deref(), Some(named.name.as_str())];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// Labels of a series, as in the exposition.
pub fn labels_of(row: &SeriesRow, named: &HashMap<String, Named>) -> Labels {
    let mut labels: Labels =
        row.label_names.iter().cloned().zip(row.labels.iter().cloned()).collect();
    if let Some(culprit) = labels.get(CULPRIT_ID) {
        let name = named.get(culprit).map_or_else(|| culprit.clone(), qualified_name);
        labels.insert("culprit".to_owned(), name);
    }
    if row.subject.is_empty() {
        return labels;
    }
    let mut set = |label: &str, value: &str| labels.insert(label.to_owned(), value.to_owned());
    set("container_id", &row.subject);
    match named.get(&row.subject) {
        None => drop(set("container", &row.subject)),
        Some(named) => {
            set("container", &named.name);
            set("runtime", &named.runtime);
            let known =
                [("image", &named.image), ("pod", &named.pod), ("namespace", &named.namespace)];
            for (label, value) in known {
                if let Some(value) = value {
                    set(label, value);
                }
            }
        }
    }
    labels
}

impl Matcher {
    /// Whether a series with these labels is meant. A label that is not there is empty.
    pub fn is_met(&self, labels: &Labels) -> bool {
        let is = |label: &str| labels.get(label).map_or("", String::as_str);
        let is_it = is(&self.label) == self.value
            || self.label == "container"
                && self.value.len() >= ID_MIN_CHARS
                && is("container_id").starts_with(&self.value);
        is_it != self.is_not
    }
}

/// The series of a metric that meet all conditions, with their labels.
///
/// # Errors
/// [`QueryError`].
pub fn select(
    snapshot: &Snapshot,
    metric: Option<&str>,
    matchers: &[Matcher],
) -> Result<Vec<(SeriesRow, Labels)>, QueryError> {
    let named = snapshot.named()?;
    let rows = snapshot.series(metric)?;
    if let Some(metric) = metric.filter(|_| rows.is_empty()) {
        return Err(no_metric(snapshot, metric)?);
    }
    let labelled = rows.into_iter().map(|row| {
        let labels = labels_of(&row, &named);
        (row, labels)
    });
    let met = labelled.filter(|(_, labels)| matchers.iter().all(|m| m.is_met(labels)));
    let mut met: Vec<(SeriesRow, Labels)> = met.collect();
    met.sort_by(|(a, a_labels), (b, b_labels)| (&a.metric, a_labels).cmp(&(&b.metric, b_labels)));
    Ok(met)
}

fn no_metric(snapshot: &Snapshot, name: &str) -> Result<QueryError, QueryError> {
    let all: BTreeSet<String> = snapshot.series(None)?.into_iter().map(|row| row.metric).collect();
    // Near is what shares the most words.
    let words = |name: &str| name.split('_').map(str::to_owned).collect::<BTreeSet<_>>();
    let wanted = words(name);
    let mut near: Vec<(usize, String)> =
        all.into_iter().map(|other| (words(&other).intersection(&wanted).count(), other)).collect();
    near.sort_by(|(a, a_name), (b, b_name)| b.cmp(a).then(a_name.cmp(b_name)));
    let nearest = near.into_iter().take(5).map(|(_, name)| name).collect();
    Ok(QueryError::NoMetric { name: name.chars().take(200).collect(), nearest })
}

/// Names and labels of the series that meet all conditions, at most `limit` from the `skip`th on, and how many there are.
///
/// # Errors
/// [`QueryError`].
pub fn list(
    snapshot: &Snapshot,
    metric: Option<&str>,
    matchers: &[Matcher],
    skip: usize,
    limit: usize,
) -> Result<(Vec<(SeriesRow, Labels)>, usize), QueryError> {
    let mut all = select(snapshot, metric, matchers)?;
    let total = all.len();
    all.drain(..skip.min(total));
    all.truncate(limit);
    Ok((all, total))
}

/// The values of a label on the series that meet all conditions.
///
/// # Errors
/// [`QueryError`].
pub fn label_values(
    snapshot: &Snapshot,
    label: &str,
    metric: Option<&str>,
    matchers: &[Matcher],
) -> Result<BTreeSet<String>, QueryError> {
    let all = select(snapshot, metric, matchers)?;
    Ok(all.into_iter().filter_map(|(_, mut labels)| labels.remove(label)).collect())
}
