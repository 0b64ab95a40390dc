//! `/proc/PID/maps`, reduced to what a code address can lie in.
//!
//! Contract: [`parse`] takes any bytes, keeps executable mappings in address order and skips lines
//! it does not understand.

use std::{
    fs::File,
    io::{self, Read},
};

use super::maps_query;

/// 65,530 mappings, the kernel's default limit, with long paths.
const TEXT_BYTES_MAX: u64 = 32 << 20;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapsLine {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file of `start`, in bytes.
    pub file_offset_bytes: u64,
    /// Inode of the file, 0 for memory without a file.
    pub inode: u64,
    /// Path as the process sees it without the kernel's ` (deleted)`, or a name like `[vdso]`;
    /// empty for anonymous memory.
    pub path: String,
}

/// The executable mappings of a process, by address. Those of a process whose first thread has ended are none.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub(crate) fn of_process(proc_id: u32) -> io::Result<Vec<MapsLine>> {
    let maps = File::open(format!("/proc/{proc_id}/maps"))?;
    if let Some(lines) = maps_query::executable(&maps) {
        return lines;
    }
    let mut text = Vec::new();
    maps.take(TEXT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(parse(&text))
}

/// Reads executable mappings out of the text of a maps file, sorted by address.
pub(crate) fn parse(text: &[u8]) -> Vec<MapsLine> {
    let mut lines: Vec<MapsLine> =
        text.split(|&byte| byte == b'\n').filter_map(parse_line).collect();
    lines.sort_by_key(|line| line.start);
    lines
}

fn parse_line(line: &[u8]) -> Option<MapsLine> {
    let line = String::from_utf8_lossy(line);
    let mut rest: &str = &line;
    let mut field = || {
        let trimmed = rest.trim_start_matches(' ');
        let (head, tail) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        rest = tail;
        (!head.is_empty()).then_some(head)
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let file_offset_bytes = u64::from_str_radix(field()?, 16).ok()?;
    let _device = field()?;
    let inode = field()?.parse().ok()?;
    let path = unescape(rest.trim_start_matches(' '));
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned();
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    (start < end).then_some(MapsLine { start, end, file_offset_bytes, inode, path })
}

/// The kernel writes a newline in a path as `\012`, and nothing else in octal.
fn unescape(path: &str) -> String {
    path.replace("\\012", "\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_what_can_be_executed() {
        let text = b"7f00-8000 r--p 00000000 08:01 12 /bin/a\n\
            8000-9000 r-xp 00001000 08:01 12                         /bin/a b (deleted)\n\
            1000-2000 rwxp 00000000 00:00 0 \n\
            9000-9001 r-xp 00000000 00:00 0                          [vdso]\n";
        let lines = parse(text);
        let shown: Vec<_> =
            lines.iter().map(|l| (l.start, l.file_offset_bytes, l.path.as_str())).collect();
        assert_eq!(shown, [(0x1000, 0, ""), (0x8000, 0x1000, "/bin/a b"), (0x9000, 0, "[vdso]")]);
        assert_eq!(lines[1].inode, 12);
    }

    #[test]
    fn a_newline_in_a_path_is_one_line() {
        let lines = parse(b"1-2 r-xp 0 0:0 3 /a\\012b");
        assert_eq!(lines[0].path, "/a\nb");
    }

    proptest! {
        #[test]
        fn survives_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            for line in parse(&text) {
                prop_assert!(line.start < line.end);
            }
        }
    }
}
