//! The files of a container's cgroup, of v1 where the controller is there, else of v2.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cgscope_tests::{Container, mounts};

/// Its directory in the hierarchy of a controller, and whether that is v1.
pub fn directory(container: &Container, controller: &str) -> Result<(PathBuf, bool)> {
    Ok(match mounts::cgroup_v1_root(controller)? {
        Some(_) => (container.cgroup_v1(controller)?, true),
        None => (container.cgroup_v2()?, false),
    })
}

/// The number in a file of the same name in both versions.
pub fn number(container: &Container, controller: &str, name: &str) -> Result<u64> {
    let path = directory(container, controller)?.0.join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.trim().parse().with_context(|| format!("{}: {text}", path.display()))
}

/// Writes one of a container's limits.
pub fn write(
    container: &Container,
    controller: &str,
    v1: &str,
    v2: &str,
    value: &str,
) -> Result<()> {
    let (directory, is_v1) = directory(container, controller)?;
    let path = directory.join(if is_v1 { v1 } else { v2 });
    fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
}

/// Sets its CPU quota, us of each 100 ms; `None` for none.
pub fn set_quota(container: &Container, quota_us: Option<u32>) -> Result<()> {
    let is_v1 = directory(container, "cpu")?.1;
    let value = match quota_us {
        Some(us) if is_v1 => us.to_string(),
        Some(us) => format!("{us} 100000"),
        None if is_v1 => "-1".to_owned(),
        None => "max 100000".to_owned(),
    };
    write(container, "cpu", "cpu.cfs_quota_us", "cpu.max", &value)
}
