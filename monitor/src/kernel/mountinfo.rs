//! The cgroup mounts in `/proc/self/mountinfo`, and the kernel's numbers of hierarchies.
//!
//! A hierarchy may be mounted several times (bind mounts, a host tree shown inside a container); a mount
//! may be hidden below a later one. [`best`] takes the one that shows the whole hierarchy.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::cgroupfs::{
    CgroupId, CgroupfsError, Hierarchy, HierarchyId, directory_id, is_filesystem,
};

/// `statfs` type of cgroup v2.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// `statfs` type of cgroup v1.
const CGROUP1_MAGIC: i64 = 0x0027_e0eb;

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// `None` is v2; otherwise the controllers of the v1 hierarchy (`name=systemd` counts as one).
    pub controllers: Option<Vec<String>>,
    /// The part of the hierarchy that is mounted: `/` is all of it.
    pub root: String,
    /// Where.
    pub mount_point: PathBuf,
}

/// The cgroup mounts that can be reached now, in mount order.
pub(super) fn read() -> Result<Vec<CgroupMount>, CgroupfsError> {
    const PATH: &str = "/proc/self/mountinfo";
    let text = fs::read(PATH).map_err(|source| CgroupfsError::Proc { path: PATH, source })?;
    let mut mounts = parse(&String::from_utf8_lossy(&text));
    mounts.retain(|mount| {
        let magic = if mount.controllers.is_some() { CGROUP1_MAGIC } else { CGROUP2_MAGIC };
        is_filesystem(&mount.mount_point, magic)
    });
    Ok(mounts)
}

/// The cgroup lines of a mountinfo text. Lines of another form are skipped.
pub(super) fn parse(text: &str) -> Vec<CgroupMount> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:1 - cgroup cgroup rw,devices`
fn parse_line(line: &str) -> Option<CgroupMount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = after.nth(1)?;
    let mut before = before.split(' ').skip(3);
    let root = before.next()?.to_owned();
    let mount_point = PathBuf::from(OsString::from_vec(unescape(before.next()?)));
    let controllers = match kind {
        "cgroup2" => None,
        "cgroup" => Some(
            options
                .split(',')
                .filter(|option| !matches!(*option, "rw" | "ro" | "noprefix" | "xattr"))
                .map(str::to_owned)
                .collect(),
        ),
        _ => return None,
    };
    Some(CgroupMount { controllers, root, mount_point })
}

/// Decodes the octal escapes (`\040`) of mountinfo.
pub(super) fn unescape(field: &str) -> Vec<u8> {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    out
}

/// The mount that shows most of a hierarchy: its true root (id 1) first, then one mounted from `/`,
/// then the first there is.
pub(super) fn best<'a>(mounts: &'a [CgroupMount], wanted: &Hierarchy) -> Option<&'a CgroupMount> {
    let matching = |mount: &&CgroupMount| match (wanted, &mount.controllers) {
        (Hierarchy::V2, None) => true,
        (Hierarchy::V1 { controller }, Some(controllers)) => controllers.contains(controller),
        _ => false,
    };
    mounts.iter().filter(matching).min_by_key(|mount| {
        let whole = directory_id(&mount.mount_point) == Some(CgroupId(1));
        (!whole, mount.root != "/")
    })
}

/// The mounts in words, for an error that says what there is instead.
pub(super) fn describe(mounts: &[CgroupMount]) -> String {
    if mounts.is_empty() {
        return "none".to_owned();
    }
    let words = mounts.iter().map(|mount| match &mount.controllers {
        None => format!("v2 at {}", mount.mount_point.display()),
        Some(controllers) => {
            format!("v1:{} at {}", controllers.join(","), mount.mount_point.display())
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The kernel's number of a hierarchy.
pub(super) fn hierarchy_id(hierarchy: &Hierarchy) -> Result<HierarchyId, CgroupfsError> {
    const PATH: &str = "/proc/self/cgroup";
    let Hierarchy::V1 { controller } = hierarchy else { return Ok(HierarchyId::V2) };
    let text = fs::read(PATH).map_err(|source| CgroupfsError::Proc { path: PATH, source })?;
    number_of(&String::from_utf8_lossy(&text), controller).ok_or_else(|| CgroupfsError::Absent {
        wanted: hierarchy.clone(),
        mounted: "see /proc/self/cgroup".to_owned(),
    })
}

/// `4:cpu,cpuacct:/path` gives 4 for `cpu`.
fn number_of(text: &str, controller: &str) -> Option<HierarchyId> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|name| name == controller).then_some(HierarchyId(number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:10 master:1 - cgroup2 cgroup2 rw
";

    fn v1(controller: &str) -> Hierarchy {
        Hierarchy::V1 { controller: controller.to_owned() }
    }

    #[test]
    fn hybrid_lines_are_read() {
        let mounts = parse(HYBRID);
        assert_eq!(mounts.len(), 3);
        let found = best(&mounts, &v1("cpuacct")).expect("mounted");
        assert_eq!(found.mount_point, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        let found = best(&mounts, &Hierarchy::V2).expect("mounted");
        assert_eq!(found.mount_point, PathBuf::from("/sys/fs/cgroup/unified"));
        assert!(best(&mounts, &v1("name=systemd")).is_some());
        assert!(best(&mounts, &v1("memory")).is_none());
    }

    #[test]
    fn a_bind_mount_of_a_part_loses_to_the_whole() {
        let text = "\
50 1 0:26 /docker/abc /nowhere/part rw - cgroup2 cgroup2 rw
51 1 0:26 / /nowhere/my\\040whole rw - cgroup2 cgroup2 rw
";
        let mounts = parse(text);
        let found = best(&mounts, &Hierarchy::V2).expect("mounted");
        assert_eq!(found.mount_point, PathBuf::from("/nowhere/my whole"));
    }

    #[test]
    fn malformed_lines_are_skipped() {
        assert!(parse("\nrubbish\n1 2 3 - cgroup2\n - cgroup x rw\n").is_empty());
    }

    #[test]
    fn numbers_come_from_proc_self_cgroup() {
        let text = "12:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/\n";
        assert_eq!(number_of(text, "cpuacct"), Some(HierarchyId(4)));
        assert_eq!(number_of(text, "memory"), None);
    }

    #[test]
    fn this_machine_mounts_a_hierarchy_whose_root_is_listed() {
        for mount in read().expect("mountinfo is readable") {
            assert!(directory_id(&mount.mount_point).is_some(), "{mount:?}");
        }
    }
}
