//! Facts about this machine: what the kernel offers and where it shows it. Reads; the one thing it changes, when asked,
//! is to mount tracefs.

pub mod btf;
pub mod cgroup_memory;
pub mod cgroupfs;
pub mod cpus;
pub mod features;
pub mod host;
pub mod ids;
mod mountinfo;
