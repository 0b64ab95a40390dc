//! The path of a file, from the names that the kernel half has read.
//!
//! Contract: as `/proc/PID/fd` shows it, but that a path without its beginning begins with `…/`; `None` where no name is known.

use monitor_common::path::{PathEnd, PathHead};

/// What stands for a beginning that is not known.
const CUT: &str = "…";
/// What stands behind the path of a file that has no name any more.
const DELETED: &str = " (deleted)";

/// The path in the bytes of a [`monitor_common::path::FilePath`].
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let [length, end, is_deleted, _] = [word(0)?, word(4)?, word(8)?, word(12)?];
    let names = bytes.get(size_of::<PathHead>()..)?;
    let names = names.get(..length as usize)?;
    let is_whole = end == PathEnd::Root as u32;
    if names.is_empty() {
        return is_whole.then(|| "/".to_owned());
    }
    let mut path = if is_whole { String::new() } else { CUT.to_owned() };
    for name in names.strip_suffix(&[0]).unwrap_or(names).rsplit(|&byte| byte == 0) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if is_deleted != 0 {
        path.push_str(DELETED);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[u8], end: PathEnd, is_deleted: u32) -> Vec<u8> {
        let head = [names.len() as u32, end as u32, is_deleted, 0];
        head.iter().flat_map(|word| word.to_ne_bytes()).chain(names.iter().copied()).collect()
    }

    #[test]
    fn names_come_the_other_way_round() {
        let whole = path(b"held\0data\0", PathEnd::Root, 0);
        assert_eq!(decode(&whole).as_deref(), Some("/data/held"));
        let removed = path(b"held\0", PathEnd::Root, 1);
        assert_eq!(decode(&removed).as_deref(), Some("/held (deleted)"));
        assert_eq!(decode(&path(b"", PathEnd::Root, 0)).as_deref(), Some("/"));
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let cut = path(b"c\0b\0a\0", PathEnd::Cut, 0);
        assert_eq!(decode(&cut).as_deref(), Some("…/a/b/c"));
        assert_eq!(decode(&path(b"", PathEnd::Cut, 0)), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&cut[..cut.len() - 1]), None, "shorter than it says");
    }

    #[test]
    fn a_name_that_is_no_text_is_shown_as_far_as_it_is() {
        let named = path(b"a\xffb\0", PathEnd::Root, 0);
        assert_eq!(decode(&named).as_deref(), Some("/a\u{fffd}b"));
    }
}
