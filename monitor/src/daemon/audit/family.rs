//! Who is inside whom: the kernel's account of a cgroup has what those inside it did, ours has each by itself.
//!
//! Contract: a container without another inside it is its own family.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::container::Container;

/// The ids of containers, by the paths of their cgroups.
pub(super) struct Families<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Families<'a> {
    pub fn of(living: &'a [Arc<Container>]) -> Self {
        Self(living.iter().map(|one| (one.cgroup.as_str(), one.id.as_str())).collect())
    }

    /// Those inside a cgroup, and the one it is of.
    pub fn members(&self, cgroup: &str) -> impl Iterator<Item = &'a str> {
        // All that begins with "path/": '0' follows '/'.
        let (first, end) = (format!("{cgroup}/"), format!("{cgroup}0"));
        let inside = (Bound::Included(first.as_str()), Bound::Excluded(end.as_str()));
        let inside = self.0.range::<str, _>(inside);
        self.0.get(cgroup).copied().into_iter().chain(inside.map(|(_, id)| *id))
    }
}
