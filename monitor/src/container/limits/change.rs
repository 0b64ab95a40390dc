//! Limits that were changed while we looked.
//!
//! Contract: bounded by [`Changes::KEPT`], the oldest go first. A limit is compared with what it was at the last reading, so of two
//! changes in between only their sum is seen. What a container is born with is no change.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    container::{Container, ContainerId},
    metric::{Descriptor, WallTimeNs},
};

/// A limit by its metric, as it is kept; `None` if it is not set.
pub type Limit = (&'static Descriptor, Option<u64>);

/// A limit that became another.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was noticed.
    pub at: WallTimeNs,
    /// Whose limit it is.
    pub container: ContainerId,
    /// What its owner was called then.
    pub name: Arc<str>,
    /// Which limit.
    pub metric: &'static Descriptor,
    /// What it was, as it is kept; `None` for no limit.
    pub old: Option<u64>,
    /// What it is.
    pub new: Option<u64>,
}

/// The latest changes.
#[derive(Debug, Default)]
pub struct Changes {
    latest: VecDeque<Change>,
}

impl Changes {
    /// How many are kept.
    pub const KEPT: usize = 1_000;

    /// Notes what differs between two readings of the same limits.
    pub fn compare(&mut self, container: &Container, before: &[Limit], now: &[Limit]) {
        for (&(metric, old), &(_, new)) in before.iter().zip(now) {
            if old != new {
                self.note(Change {
                    at: WallTimeNs::now(),
                    container: container.id.clone(),
                    name: container.qualified_name().into(),
                    metric,
                    old,
                    new,
                });
            }
        }
    }

    fn note(&mut self, change: Change) {
        if self.latest.len() == Self::KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(change);
    }

    /// All that are kept, the newest first.
    pub fn latest(&self) -> Vec<Change> {
        self.latest.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::limits::descriptor::{PIDS_LIMIT, QUOTA};

    #[test]
    fn only_what_differs_is_a_change() {
        let mut changes = Changes::default();
        let container = Container::kernel();
        let before: [Limit; 2] = [(&QUOTA, None), (&PIDS_LIMIT, Some(7))];
        changes.compare(&container, &before, &before);
        assert!(changes.latest().is_empty());
        changes.compare(&container, &before, &[(&QUOTA, Some(5)), (&PIDS_LIMIT, Some(7))]);
        let [change] = &changes.latest()[..] else { panic!("one change") };
        assert_eq!((change.metric, change.old, change.new), (&QUOTA, None, Some(5)));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let mut changes = Changes::default();
        for limit in 0..2_000 {
            let (old, new) = (Some(limit), Some(limit + 1));
            changes.compare(&Container::kernel(), &[(&QUOTA, old)], &[(&QUOTA, new)]);
        }
        let latest = changes.latest();
        assert_eq!(latest.len(), Changes::KEPT);
        assert_eq!(latest[0].new, Some(2_000));
    }
}
