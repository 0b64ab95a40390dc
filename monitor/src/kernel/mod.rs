//! Facts about this machine: what the kernel offers and where it shows it. Reads; what it changes, when asked,
//! is to mount tracefs, and the priority of a thread of ours.

pub mod accounts;
pub mod btf;
pub mod calls;
mod cgroup_file;
pub mod cgroup_io;
pub mod cgroup_limits;
pub mod cgroup_members;
pub mod cgroup_memory;
pub mod cgroupfs;
pub mod cpus;
pub mod features;
pub mod hook_code;
pub mod host;
pub mod ids;
pub mod memory;
mod mountinfo;
pub mod overlay;
pub mod priority;
