//! The directories that an overlay is made of, from the list of mounts.
//!
//! Contract: reading is on demand; an overlay that is not mounted any more, or in no namespace that was asked, is `None`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::mountinfo::unescape;

/// The upper directory.
pub const UPPER: &str = "upper";

/// The names of an overlay's layers, the upper one first and the others as in `lowerdir`, by its number, `major << 20 | minor`, in the
/// mount namespace of a process.
pub fn layers(process: &str, device: u32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{process}/mountinfo")).ok()?;
    let lower = lower_directories(&String::from_utf8_lossy(&text), device)?;
    let names = lower.iter().map(|directory| name(&resolved(directory)));
    Some(std::iter::once(UPPER.to_owned()).chain(names).collect())
}

/// podman and docker name layers by short links, to fit all of them in the page that mount options may take.
fn resolved(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// What a layer is known by: runtimes keep each in a directory named by its id, beside what else they keep of it.
fn name(directory: &Path) -> String {
    let last = directory.file_name().and_then(|name| name.to_str());
    let is_content = matches!(last, Some("diff" | "fs" | "merged"));
    let named = directory.parent().filter(|_| is_content).and_then(Path::file_name);
    named
        .map_or_else(|| directory.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// `36 31 0:52 / /merged rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u,workdir=/w`
fn lower_directories(mountinfo: &str, device: u32) -> Option<Vec<PathBuf>> {
    let wanted = format!("{}:{}", device >> 20, device & 0xf_ffff);
    let line = mountinfo
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&wanted) && line.contains(" - overlay "))?;
    let options = line.split_once(" - ")?.1.split(' ').nth(2)?;
    let mut directories = Vec::new();
    for option in split(options, ',') {
        if let Some(list) = option.strip_prefix("lowerdir=") {
            // Behind `::` is data only, which serves no open of its own.
            let list = list.split_once("::").map_or(list, |(layers, _)| layers);
            let list = without_numbers(list);
            directories.extend(split(&list, ':').into_iter().map(plain));
        } else if let Some(one) = option.strip_prefix("lowerdir+=") {
            directories.push(plain(&without_numbers(one)));
        }
    }
    (!directories.is_empty()).then_some(directories)
}

/// The parts between separators that no backslash stands before.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, character) in text.char_indices() {
        if character == separator && !is_escaped {
            parts.push(&text[start..at]);
            start = at + separator.len_utf8();
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// The list of mounts has blanks and backslashes by number.
fn without_numbers(text: &str) -> String {
    String::from_utf8_lossy(&unescape(text)).into_owned()
}

/// Before it, overlayfs had put a backslash before colons.
fn plain(text: &str) -> PathBuf {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 28 0:21 / /proc rw - proc proc rw
90 28 0:52 / /a/merged rw,relatime shared:1 - overlay overlay rw,lowerdir=/l/A:/l/B\\040b,upperdir=/u,workdir=/w
91 28 0:53 / /b/merged rw - overlay overlay rw,lowerdir+=/l/C,lowerdir+=/l/D,datadir+=/l/E
92 28 0:54 / /c rw - overlay overlay rw,lowerdir=/l/x\\134:y:/l/z::/data
";

    fn lower(minor: u32) -> Option<Vec<String>> {
        let found = lower_directories(MOUNTS, minor)?;
        Some(found.iter().map(|directory| directory.display().to_string()).collect())
    }

    #[test]
    fn directories_of_each_form() {
        assert_eq!(lower(52), Some(vec!["/l/A".to_owned(), "/l/B b".to_owned()]));
        assert_eq!(lower(53), Some(vec!["/l/C".to_owned(), "/l/D".to_owned()]));
        assert_eq!(lower(54), Some(vec!["/l/x:y".to_owned(), "/l/z".to_owned()]));
        assert_eq!(lower(21), None, "no overlay");
        assert_eq!(lower(60), None);
    }

    #[test]
    fn layers_have_the_names_their_runtime_gave_them() {
        assert_eq!(name(Path::new("/var/lib/containers/storage/overlay/4aa6/diff")), "4aa6");
        assert_eq!(name(Path::new("/var/lib/containerd/snapshots/17/fs")), "17");
        assert_eq!(name(Path::new("/srv/base")), "/srv/base");
    }
}
