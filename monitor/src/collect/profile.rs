//! Stack samples to whom they belong.

use std::sync::Arc;

use crate::{
    container::{Container, Registry},
    probe::StackRecord,
};

/// The id of the container a sample belongs to.
pub fn attribute(sample: &StackRecord, registry: &Registry) -> Arc<str> {
    if sample.is_kernel_thread {
        return Container::kernel().id.as_str().into();
    }
    match registry.of(sample.cgroup) {
        Some(container) => container.id.as_str().into(),
        None => format!("cgroup:{}", sample.cgroup).into(),
    }
}
