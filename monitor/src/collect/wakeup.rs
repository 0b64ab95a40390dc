//! Wake-ups to whom they belong: the thread that waited.

use std::sync::Arc;

use super::profile;
use crate::{container::Registry, probe::Woken};

/// The id of the container of who was woken.
pub fn attribute_woken(woken: &Woken, registry: &Registry) -> Arc<str> {
    profile::of_thread(woken.is_kernel_thread, woken.cgroup, registry)
}
