//! Where this machine mounts its cgroup hierarchies, from `/proc/self/mounts`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The mount point of the cgroup v2 hierarchy: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid machines.
///
/// # Errors
/// When none is mounted.
pub fn cgroup_v2_root() -> Result<PathBuf> {
    find(|kind, _| kind == "cgroup2")?
        .context("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// The mount point of the v1 hierarchy with `controller`, if this machine has it.
///
/// # Errors
/// When `/proc/self/mounts` cannot be read.
pub fn cgroup_v1_root(controller: &str) -> Result<Option<PathBuf>> {
    find(|kind, options| kind == "cgroup" && options.split(',').any(|o| o == controller))
}

fn find(wanted: impl Fn(&str, &str) -> bool) -> Result<Option<PathBuf>> {
    let mounts =
        std::fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        wanted(kind, options).then(|| Path::new(path).to_owned())
    }))
}
