//! Stack samples to whom they belong.

use std::sync::Arc;

use crate::{
    container::{Container, Registry},
    kernel::cgroupfs::CgroupId,
    probe::StackRecord,
};

/// The id of the container a sample belongs to.
pub fn attribute(sample: &StackRecord, registry: &Registry) -> Arc<str> {
    of_thread(sample.is_kernel_thread, sample.cgroup, registry)
}

/// The id of the container of a thread.
pub(super) fn of_thread(is_kernel_thread: bool, cgroup: CgroupId, registry: &Registry) -> Arc<str> {
    if is_kernel_thread {
        return Container::kernel().id.as_str().into();
    }
    match registry.of(cgroup) {
        Some(container) => container.id.as_str().into(),
        None => format!("cgroup:{cgroup}").into(),
    }
}
