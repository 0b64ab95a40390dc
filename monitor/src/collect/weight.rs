//! Events with a weight to whom they belong.

use std::sync::Arc;

use monitor_common::weight::WeightKind;

use super::profile;
use crate::{
    container::{Container, Registry},
    kernel::cgroupfs::HierarchyId,
    probe::StackRecord,
};

/// The id of the container an event belongs to. `block` is the hierarchy that disks are charged by, which need not be that of identity.
pub fn attribute_weighed(
    sample: &StackRecord,
    kind: WeightKind,
    registry: &Registry,
    block: HierarchyId,
) -> Arc<str> {
    let owner = match kind {
        WeightKind::Block => registry.of_in(block, sample.cgroup),
        WeightKind::Network => registry.of(sample.cgroup),
        WeightKind::Fault | WeightKind::Memory | WeightKind::Lock | WeightKind::Wakeup => {
            return profile::attribute(sample, registry);
        }
    };
    match owner {
        Some(container) => container.id.as_str().into(),
        None if sample.cgroup.0 == 0 => Container::unattributed().id.as_str().into(),
        None => format!("cgroup:{}", sample.cgroup).into(),
    }
}
