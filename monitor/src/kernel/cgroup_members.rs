//! Who is in a cgroup, and which cgroups a process is in.

use std::{fs, io};

use super::{
    cgroupfs::{CgroupId, CgroupTree, Hierarchy},
    ids::Tgid,
};

/// Directories below a cgroup that are looked into for its processes.
const DIRECTORIES_MAX: usize = 256;

/// The cgroups of a process, a line a hierarchy, as the kernel lists them: `0::/system.slice/web.service`.
///
/// # Errors
/// That the process is gone.
pub fn memberships(process: Tgid) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{process}/cgroup"))
}

impl CgroupTree {
    /// The cgroup of this hierarchy that is among some memberships; `None` if there is none, or it is gone.
    pub fn id_in(&self, memberships: &str) -> Option<CgroupId> {
        self.id_of(path_in(&self.hierarchy, memberships)?)
    }

    /// The processes in a cgroup and below it, those of the cgroup itself first.
    pub fn processes(&self, cgroup_path: &str) -> Vec<Tgid> {
        let (mut found, mut looked) = (vec![], 0);
        let mut directories = vec![self.path_of(cgroup_path)];
        while let Some(directory) = directories.pop() {
            let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(listed.lines().filter_map(|line| line.parse().ok()).map(Tgid));
            looked += 1;
            if looked < DIRECTORIES_MAX {
                let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
                let is_directory = |e: &fs::DirEntry| e.file_type().is_ok_and(|kind| kind.is_dir());
                directories.extend(entries.filter(is_directory).map(|entry| entry.path()));
            }
        }
        found
    }
}

/// `4:cpu,cpuacct:/path` gives `/path` for `cpu`, and `0::/path` for v2.
fn path_in<'a>(hierarchy: &Hierarchy, memberships: &'a str) -> Option<&'a str> {
    memberships.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match hierarchy {
            Hierarchy::V2 => number == "0",
            Hierarchy::V1 { controller } => controllers.split(',').any(|name| name == controller),
        };
        is_it.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_the_hierarchy() {
        let text = "4:cpu,cpuacct:/docker/ab\n1:name=systemd:/init.scope\n0::/user.slice/a:b\n";
        let v1 = |controller: &str| Hierarchy::V1 { controller: controller.to_owned() };
        assert_eq!(path_in(&Hierarchy::V2, text), Some("/user.slice/a:b"));
        assert_eq!(path_in(&v1("cpu"), text), Some("/docker/ab"));
        assert_eq!(path_in(&v1("memory"), text), None);
        assert_eq!(path_in(&Hierarchy::V2, ""), None);
    }

    #[test]
    fn this_process_is_found_where_it_says_it_is() {
        let Ok(tree) = CgroupTree::detect() else { return };
        let own = memberships(Tgid(std::process::id())).unwrap();
        let path = path_in(&tree.hierarchy, &own).unwrap();
        assert_eq!(tree.id_in(&own), tree.id_of(path));
        assert!(tree.processes(path).contains(&Tgid(std::process::id())));
    }
}
