//! The cgroup hierarchies of this machine: which one gives a task its identity, and where it is mounted.
//!
//! A cgroup's id is its kernfs node id, which is also the inode of its directory. Ids are unique only
//! within one hierarchy, so a [`CgroupKey`] carries both. Reading is on demand: nothing here polls.
//! Directories may vanish while they are read; that is normal and never an error.

use std::collections::HashSet;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::mountinfo::{self, CgroupMount};

/// A cgroup's kernfs node id: the inode of its directory. Unique within one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CgroupId(pub u64);

impl fmt::Display for CgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kernel's number of a hierarchy: 0 is v2, the others are the first column of `/proc/self/cgroup`.
/// The cgroup tracepoints carry it as `root`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HierarchyId(pub u32);

impl HierarchyId {
    /// The unified (v2) hierarchy.
    pub const V2: Self = Self(0);
}

/// A cgroup of a known hierarchy: unique on the machine for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CgroupKey {
    /// The hierarchy `id` belongs to.
    pub hierarchy: HierarchyId,
    /// The cgroup within it.
    pub id: CgroupId,
}

/// Which hierarchy is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hierarchy {
    /// The unified hierarchy.
    V2,
    /// A cgroup v1 hierarchy, named by one of its controllers.
    V1 {
        /// The controller as the mount options spell it: `cpu`, `memory`, `blkio`.
        controller: String,
    },
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V2 => f.write_str("v2"),
            Self::V1 { controller } => write!(f, "v1:{controller}"),
        }
    }
}

/// `v2` or `v1:<controller>`, as [`Hierarchy`] prints itself.
impl FromStr for Hierarchy {
    type Err = CgroupfsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "v2" => Ok(Self::V2),
            Some(("v1", controller)) if !controller.is_empty() => {
                Ok(Self::V1 { controller: controller.to_owned() })
            }
            _ => Err(CgroupfsError::BadChoice { text: text.to_owned() }),
        }
    }
}

/// Why a hierarchy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupfsError {
    /// The kernel's list of mounts or hierarchies cannot be read.
    #[error("cannot read {path}: {source}; is /proc mounted?")]
    Proc {
        /// The file.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// No cgroup file system at all.
    #[error("no cgroup file system is mounted; try: mount -t cgroup2 cgroup2 /sys/fs/cgroup")]
    NotMounted,
    /// The hierarchy asked for is not there.
    #[error("cgroup hierarchy {wanted} is not mounted; mounted are: {mounted}")]
    Absent {
        /// What was asked for.
        wanted: Hierarchy,
        /// What there is.
        mounted: String,
    },
    /// The text names no hierarchy.
    #[error("{text:?} names no cgroup hierarchy; say v2 or v1:<controller>, for example v1:cpu")]
    BadChoice {
        /// What was given.
        text: String,
    },
}

/// The hierarchy that gives identity, and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CgroupTree {
    /// Which hierarchy it is.
    pub hierarchy: Hierarchy,
    /// Its number in the kernel.
    pub hierarchy_id: HierarchyId,
    /// Its mount point as this process sees it.
    pub mount: PathBuf,
    /// Why this one, in words for `doctor`.
    pub reason: String,
}

/// v1 controllers whose hierarchy may give identity, best first: what the scheduler knows comes first.
const V1_PREFERENCE: [&str; 7] =
    ["cpu", "cpuacct", "memory", "pids", "cpuset", "freezer", "devices"];

impl CgroupTree {
    /// Chooses the hierarchy in which this machine's containers live.
    ///
    /// That is v2 where it is mounted, unless containers are seen in v1 and none of them in v2: a hybrid
    /// host whose runtime makes v1 directories only.
    ///
    /// # Errors
    /// [`CgroupfsError::Proc`], or [`CgroupfsError::NotMounted`].
    pub fn detect() -> Result<Self, CgroupfsError> {
        let mounts = mountinfo::read()?;
        let (hierarchy, mount, reason) = choose(&mounts)?;
        Self::of_mount(hierarchy, mount, reason)
    }

    /// The hierarchy asked for, whatever the containers do.
    ///
    /// # Errors
    /// [`CgroupfsError::Absent`] when it is not mounted, [`CgroupfsError::Proc`].
    pub fn with(choice: &Hierarchy) -> Result<Self, CgroupfsError> {
        Self::forced(&mountinfo::read()?, choice)
    }

    fn forced(mounts: &[CgroupMount], choice: &Hierarchy) -> Result<Self, CgroupfsError> {
        let mount = mountinfo::best(mounts, choice).ok_or_else(|| CgroupfsError::Absent {
            wanted: choice.clone(),
            mounted: mountinfo::describe(mounts),
        })?;
        Self::of_mount(choice.clone(), mount, "asked for".to_owned())
    }

    fn of_mount(
        hierarchy: Hierarchy,
        mount: &CgroupMount,
        mut reason: String,
    ) -> Result<Self, CgroupfsError> {
        if mount.root != "/" && directory_id(&mount.mount_point) != Some(CgroupId(1)) {
            reason.push_str("; only the part below ");
            reason.push_str(&mount.root);
            reason.push_str(" is visible here");
        }
        Ok(Self {
            hierarchy_id: mountinfo::hierarchy_id(&hierarchy)?,
            hierarchy,
            mount: mount.mount_point.clone(),
            reason,
        })
    }

    /// Every cgroup there is now, parents before children. Paths start at the mount: `/` is the root.
    /// A directory removed meanwhile is left out, one made meanwhile may be missing.
    pub fn walk(&self) -> Walk {
        Walk { pending: vec![(self.mount.clone(), String::from("/"), None)] }
    }

    /// The directory of a cgroup path such as `/system.slice/docker.service`. `..` cannot leave the mount.
    pub fn path_of(&self, cgroup_path: &str) -> PathBuf {
        let mut path = self.mount.clone();
        let parts = Path::new(cgroup_path).components();
        path.extend(parts.filter(|part| matches!(part, Component::Normal(_))));
        path
    }

    /// Whether a process is in a cgroup or below it; `None` where the kernel does not say: on v1, of the root, and when it is gone.
    pub fn is_populated(&self, cgroup_path: &str) -> Option<bool> {
        let events = fs::read_to_string(self.path_of(cgroup_path).join("cgroup.events")).ok()?;
        let value = events.lines().find_map(|line| line.strip_prefix("populated "))?;
        Some(value != "0")
    }

    /// The id of a cgroup path, or `None` when it is gone.
    pub fn id_of(&self, cgroup_path: &str) -> Option<CgroupId> {
        directory_id(&self.path_of(cgroup_path))
    }

    /// The key of one of this hierarchy's cgroups.
    pub fn key(&self, id: CgroupId) -> CgroupKey {
        CgroupKey { hierarchy: self.hierarchy_id, id }
    }
}

/// The choice of [`CgroupTree::detect`], with its reason.
fn choose(mounts: &[CgroupMount]) -> Result<(Hierarchy, &CgroupMount, String), CgroupfsError> {
    let v2 = mountinfo::best(mounts, &Hierarchy::V2);
    let v1 = V1_PREFERENCE.iter().find_map(|controller| {
        let hierarchy = Hierarchy::V1 { controller: (*controller).to_owned() };
        mountinfo::best(mounts, &hierarchy).map(|mount| (hierarchy, mount))
    });
    match (v2, v1) {
        (Some(v2), None) => Ok((Hierarchy::V2, v2, "the only hierarchy mounted".to_owned())),
        (None, Some((hierarchy, v1))) => Ok((hierarchy, v1, "cgroup v2 is not mounted".to_owned())),
        (None, None) => Err(CgroupfsError::NotMounted),
        (Some(v2), Some((hierarchy, v1))) => {
            let in_v2 = container_names(&v2.mount_point);
            let in_v1 = container_names(&v1.mount_point);
            let only_v1 = in_v1.difference(&in_v2).count();
            if only_v1 > 0 && only_v1 == in_v1.len() {
                let reason = format!(
                    "hybrid: {only_v1} container directories in {hierarchy}, none of them in v2"
                );
                return Ok((hierarchy, v1, reason));
            }
            let reason = format!(
                "hybrid: {} container directories in v2, {only_v1} only in {hierarchy}",
                in_v2.len()
            );
            Ok((Hierarchy::V2, v2, reason))
        }
    }
}

/// Where a v1 controller is mounted, for the limit and usage files of a container whose identity is
/// elsewhere. `None` when it is not mounted (it may then be a v2 controller).
pub fn v1_mount(controller: &str) -> Option<PathBuf> {
    let wanted = Hierarchy::V1 { controller: controller.to_owned() };
    let mounts = mountinfo::read().ok()?;
    mountinfo::best(&mounts, &wanted).map(|mount| mount.mount_point.clone())
}

/// The iterator of [`CgroupTree::walk`].
#[derive(Debug)]
pub struct Walk {
    pending: Vec<(PathBuf, String, Option<CgroupId>)>,
}

impl Iterator for Walk {
    type Item = (CgroupId, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (directory, path, id) = self.pending.pop()?;
            let Some(id) = id.or_else(|| directory_id(&directory)) else { continue };
            // A directory that cannot be listed any more is gone; its id may still be asked for.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                let parent = if path == "/" { "" } else { path.as_str() };
                let child = format!("{parent}/{}", name.to_string_lossy());
                self.pending.push((entry.path(), child, Some(CgroupId(entry.ino()))));
            }
            return Some((id, path));
        }
    }
}

pub(super) fn directory_id(path: &Path) -> Option<CgroupId> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir).map(|meta| CgroupId(meta.ino()))
}

/// Whether a file system of the magic number `magic` is what the path shows now: a mount may be hidden
/// below a later one.
pub(super) fn is_filesystem(path: &Path, magic: i64) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer is a whole statfs, read only on success.
    let found = unsafe {
        (libc::statfs(path.as_ptr(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init().f_type)
    };
    found.is_some_and(|kind| i128::from(kind) == i128::from(magic))
}

/// The last components that look like a container's directory. A rough look, to compare two hierarchies;
/// `container::identify` is the precise one.
fn container_names(mount: &Path) -> HashSet<String> {
    let walk = Walk { pending: vec![(mount.to_owned(), String::from("/"), None)] };
    walk.filter_map(|(_, path)| {
        let name = path.rsplit('/').next()?;
        let long_hex = name
            .split(|c: char| !c.is_ascii_hexdigit())
            .any(|run| run.len() >= 64 && run.bytes().any(|byte| byte.is_ascii_digit()));
        let lxc = name.starts_with("lxc.payload.") || path.starts_with("/lxc/");
        let helper =
            name.contains("conmon") || name.ends_with(".slice") || name.contains("kubepods");
        ((long_hex || lxc) && !helper).then(|| name.to_owned())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";

    fn mount(controllers: Option<&str>, mount_point: &Path) -> CgroupMount {
        CgroupMount {
            controllers: controllers.map(|c| c.split(',').map(str::to_owned).collect()),
            root: "/".to_owned(),
            mount_point: mount_point.to_owned(),
        }
    }

    #[test]
    fn walk_yields_parents_first_with_inodes() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        fs::write(dir.path().join("a/cgroup.procs"), "").expect("write");
        let tree = CgroupTree {
            hierarchy: Hierarchy::V2,
            hierarchy_id: HierarchyId::V2,
            mount: dir.path().to_owned(),
            reason: String::new(),
        };
        let seen: Vec<_> = tree.walk().collect();
        let paths: Vec<&str> = seen.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b"]);
        for (id, path) in &seen {
            assert_eq!(Some(*id), tree.id_of(path), "{path}");
        }
    }

    #[test]
    fn walk_survives_a_directory_removed_underway() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        let mut walk = Walk { pending: vec![(dir.path().to_owned(), "/".to_owned(), None)] };
        assert!(walk.next().is_some());
        fs::remove_dir_all(dir.path().join("a")).expect("rm");
        assert!(walk.all(|(_, path)| path == "/a"));
        let gone = Walk { pending: vec![(dir.path().join("none"), "/".to_owned(), None)] };
        assert_eq!(gone.count(), 0);
    }

    #[test]
    fn path_of_stays_below_the_mount() {
        let tree = CgroupTree {
            hierarchy: Hierarchy::V2,
            hierarchy_id: HierarchyId::V2,
            mount: "/sys/fs/cgroup".into(),
            reason: String::new(),
        };
        assert_eq!(tree.path_of("/a/b.scope"), Path::new("/sys/fs/cgroup/a/b.scope"));
        assert_eq!(tree.path_of("/"), Path::new("/sys/fs/cgroup"));
        assert_eq!(tree.path_of("/../../etc"), Path::new("/sys/fs/cgroup/etc"));
    }

    #[test]
    fn a_hybrid_host_follows_its_containers() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (v2, v1) = (dir.path().join("unified"), dir.path().join("cpu"));
        fs::create_dir_all(v2.join("system.slice")).expect("mkdir");
        fs::create_dir_all(v1.join("docker").join(ID)).expect("mkdir");
        let mounts = [mount(None, &v2), mount(Some("cpu,cpuacct"), &v1)];
        let (hierarchy, _, reason) = choose(&mounts).expect("both are mounted");
        assert_eq!(hierarchy, Hierarchy::V1 { controller: "cpu".to_owned() });
        assert!(reason.contains("1 container directories"), "{reason}");

        fs::create_dir_all(v2.join("docker").join(ID)).expect("mkdir");
        let (hierarchy, found, _) = choose(&mounts).expect("both are mounted");
        assert_eq!((hierarchy, found), (Hierarchy::V2, &mounts[0]));

        let (hierarchy, ..) = choose(&mounts[1..]).expect("v1 is mounted");
        assert_eq!(hierarchy, Hierarchy::V1 { controller: "cpu".to_owned() });
        assert!(matches!(choose(&[]), Err(CgroupfsError::NotMounted)));
    }

    #[test]
    fn a_hierarchy_is_read_as_it_is_printed() {
        for text in ["v2", "v1:cpu"] {
            assert_eq!(text.parse::<Hierarchy>().expect("valid").to_string(), text);
        }
        for text in ["", "v1", "v1:", "v3", "cpu"] {
            assert!(text.parse::<Hierarchy>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_mounted_is_named() {
        let mounts = [mount(None, Path::new("/sys/fs/cgroup"))];
        let wanted = Hierarchy::V1 { controller: "cpu".to_owned() };
        let error = CgroupTree::forced(&mounts, &wanted).expect_err("absent").to_string();
        assert!(error.contains("v1:cpu") && error.contains("/sys/fs/cgroup"), "{error}");
    }
}
