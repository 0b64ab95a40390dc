//! The list of what is looked at, and what each is for.

use serde::Serialize;

use super::{capability, machine, perf, tracefs};

/// One thing a kernel may offer or a process may be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is there; `None` where that cannot be told.
    pub is_present: Option<bool>,
    /// What was seen, and where.
    pub detail: String,
    /// What the user can do; empty when nothing needs to be done.
    pub remedy: String,
    /// What lacks or is less exact without it; empty for what is only good to know.
    pub needed_for: Vec<&'static str>,
}

/// Metrics and profiles: all that comes from the kernel half.
pub(super) const KERNEL_HALF: &str = "all metrics of containers and all profiles";
/// Stack samples.
pub(super) const PROFILES: &str = "profiles";

/// Looks at everything. Some 20 small files and four `perf_event_open`, no more than a few milliseconds.
pub fn features() -> Vec<Feature> {
    let mut list = vec![
        machine::release(),
        machine::btf(),
        machine::cgroup(),
        tracefs::tracefs(),
        perf::kprobes(),
        perf::uprobes(),
        perf::hardware(),
        perf::cpu_clock(),
    ];
    list.extend(capability::capabilities());
    list.extend([
        machine::kernel_addresses(),
        machine::perf_event_paranoid(),
        machine::unprivileged_bpf(),
        machine::jit(),
        machine::clock_source(),
    ]);
    list
}

impl Feature {
    /// Something seen; the remedy is shown only if it is not there.
    pub(super) fn seen(
        name: &'static str,
        is_present: Option<bool>,
        detail: impl Into<String>,
        remedy: &str,
        needed_for: &[&'static str],
    ) -> Self {
        let remedy = if is_present == Some(true) { "" } else { remedy };
        Self {
            name,
            is_present,
            detail: detail.into(),
            remedy: remedy.to_owned(),
            needed_for: needed_for.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_feature_has_a_name_of_its_own_and_says_what_was_seen() {
        let list = features();
        let names: HashSet<_> = list.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), list.len());
        for feature in &list {
            assert!(!feature.detail.is_empty(), "{feature:?}");
            let is_missed = feature.is_present == Some(false) && !feature.needed_for.is_empty();
            assert!(!is_missed || !feature.remedy.is_empty(), "{feature:?}");
        }
    }
}
