//! Files of one controller's cgroups, wherever that controller is mounted.
//!
//! Contract: reading is on demand, and what cannot be read is `None`: a cgroup may vanish at any time, and what is not read is
//! not known.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::cgroupfs::{CgroupTree, Hierarchy, v1_mount};

/// Where the files of a controller are.
#[derive(Clone, Debug)]
pub(super) enum Controller {
    /// The mount of its v1 hierarchy.
    V1(PathBuf),
    /// The v2 mount.
    V2(PathBuf),
}

impl Controller {
    /// Finds it on this machine: on a hybrid one each controller is in one of the two.
    pub fn find(name: &str) -> Option<Self> {
        v1_mount(name).map(Self::V1).or_else(|| v2_mount().map(Self::V2))
    }
}

/// The v2 mount, whichever controllers it has.
pub(super) fn v2_mount() -> Option<PathBuf> {
    CgroupTree::with(&Hierarchy::V2).ok().map(|tree| tree.mount)
}

/// A cgroup's path below a mount; `None` for the root, which has no limits, and for what leads out of it.
pub(super) fn below_root(cgroup: &str) -> Option<&str> {
    let relative = cgroup.trim_start_matches('/');
    (!relative.is_empty() && !relative.split('/').any(|part| part == "..")).then_some(relative)
}

/// The text of a file. The kernel makes it at the first read and hands it over whole where there is room: neither is the file's size
/// asked for, nor its end looked for.
pub(super) fn read(directory: &Path, name: &str) -> Option<String> {
    let path = directory.join(name);
    let mut text = [0; 8192];
    let length = File::open(&path).and_then(|mut file| file.read(&mut text)).ok()?;
    if length == text.len() {
        return fs::read_to_string(path).ok();
    }
    String::from_utf8(text[..length].to_vec()).ok()
}

/// A file that holds a number alone; `None` for `max`.
pub(super) fn read_number(directory: &Path, name: &str) -> Option<u64> {
    number(&read(directory, name)?)
}

/// A number alone; `None` for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of a line `NAME VALUE`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(known, _)| *known == name).and_then(|(_, value)| number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_mount() {
        assert_eq!(below_root("/a/b"), Some("a/b"));
        assert_eq!(below_root("/"), None);
        assert_eq!(below_root("/../etc"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "nr_periods 7\nnr_throttled 3\nthrottled_time 12\n";
        assert_eq!(field(text, "nr_throttled"), Some(3));
        assert_eq!(field(text, "nr"), None);
        assert_eq!(number("max\n"), None);
    }
}
