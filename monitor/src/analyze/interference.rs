//! Who kept a container from its CPUs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Change, SubjectWindow};

const WAITED_FOR: &str = "cgscope_sched_waited_for_seconds_total";

/// Who ran while a container's threads waited for a CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Culprit {
    /// Its id: of a container, `idle` for a CPU that had to wake up, `ended` for those that are long gone, `unknown`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How long the threads waited while it ran, ns.
    pub waited_ns: u64,
    /// Of all such waiting in the window (0..=1).
    pub share: f64,
}

/// Those who were waited for in a window, most first, by the names that `name_of` gives to ids.
pub fn culprits(part: &SubjectWindow, name_of: impl Fn(&str) -> String) -> Vec<Culprit> {
    let series = part.series.iter().filter(|series| series.metric.name == WAITED_FOR);
    let mut culprits: Vec<Culprit> = series
        .filter_map(|series| {
            let Change::Counter { increase: waited_ns @ 1.., .. } = series.change else {
                return None;
            };
            let id = series.labels.first()?.to_string();
            Some(Culprit { name: name_of(&id), id, waited_ns, share: 0.0 })
        })
        .collect();
    let all_ns: u64 = culprits.iter().map(|culprit| culprit.waited_ns).sum();
    for culprit in &mut culprits {
        culprit.share = culprit.waited_ns as f64 / all_ns as f64;
    }
    culprits.sort_by(|a, b| b.waited_ns.cmp(&a.waited_ns).then_with(|| a.id.cmp(&b.id)));
    culprits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analyze::Series,
        metric::{Descriptor, Kind, Scope, Unit},
    };

    static METRIC: Descriptor = Descriptor {
        name: WAITED_FOR,
        help: "",
        title: "",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        scope: Scope::Container,
        labels: &["culprit_id"],
        source: "",
        kernel_floor: "",
    };

    #[test]
    fn most_first_with_their_shares_and_without_those_of_earlier() {
        let series = |name: &str, increase| Series {
            metric: &METRIC,
            labels: [format!("{name}-id").into()].into(),
            change: Change::Counter { total: increase + 5, increase },
        };
        let part =
            SubjectWindow { series: vec![series("web", 1), series("old", 0), series("hog", 3)] };
        let culprits = culprits(&part, |id| id.trim_end_matches("-id").to_owned());
        let shown: Vec<_> = culprits.iter().map(|c| (c.name.as_str(), c.share)).collect();
        assert_eq!(shown, [("hog", 0.75), ("web", 0.25)]);
        assert_eq!(culprits[0].id, "hog-id");
    }
}
