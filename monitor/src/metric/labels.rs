//! Labels of samples, each kept once.
//!
//! Contract: samples stay what they are. What nobody has any more is forgotten when there is twice as much as was in use.

use std::{collections::HashSet, sync::Arc};

use super::{LabelValues, Sample};

/// So many may be known before it is looked for those that nobody has.
const LEAST_LIMIT: usize = 4_096;

/// Labels that are known.
#[derive(Debug)]
pub struct SharedLabels {
    known: HashSet<LabelValues>,
    limit: usize,
}

impl Default for SharedLabels {
    fn default() -> Self {
        Self { known: HashSet::new(), limit: LEAST_LIMIT }
    }
}

impl SharedLabels {
    /// Gives samples the labels that are known already, where they have the same.
    pub fn share(&mut self, samples: &mut [Sample]) {
        for sample in samples.iter_mut().filter(|sample| !sample.labels.is_empty()) {
            match self.known.get(&sample.labels) {
                Some(known) => sample.labels = Arc::clone(known),
                None => drop(self.known.insert(Arc::clone(&sample.labels))),
            }
        }
        if self.known.len() > self.limit {
            self.known.retain(|labels| Arc::strong_count(labels) > 1);
            self.limit = LEAST_LIMIT.max(self.known.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Subject, Value, descriptor};

    descriptor!(
        static METRIC,
        "cgscope_test_total",
        "test",
        Count,
        Counter,
        Host,
        &["label"],
        "nothing",
        "5.8",
        "Nothing."
    );

    fn sample(label: String) -> Sample {
        let labels = [label.into()].into();
        Sample { metric: &METRIC, subject: Subject::Host, labels, value: Value::Counter(1) }
    }

    #[test]
    fn the_same_labels_are_kept_once_and_not_longer_than_somebody_has_them() {
        let mut shared = SharedLabels::default();
        let mut samples = vec![sample("a".into()), sample("b".into()), sample("a".into())];
        let before = samples.clone();
        shared.share(&mut samples);
        assert_eq!(samples, before);
        assert!(Arc::ptr_eq(&samples[0].labels, &samples[2].labels));
        let mut many: Vec<_> = (0..2 * LEAST_LIMIT).map(|i| sample(i.to_string())).collect();
        shared.share(&mut many);
        assert_eq!(shared.known.len(), 2 * LEAST_LIMIT + 2);
        drop(many);
        shared.limit = LEAST_LIMIT;
        shared.share(&mut []);
        assert_eq!(shared.known.len(), 2);
    }
}
