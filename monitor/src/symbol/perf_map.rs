//! Perf maps: the text by which a run-time compiler tells profilers what it made.
//!
//! A line is `START SIZE NAME`, both numbers hexadecimal; the file only grows, and a later line wins
//! where addresses were used again. The file is the process's own, so nothing in it is trusted: lines
//! that make no sense are skipped, and a file is read up to [`FILE_BYTES_MAX`].

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::jit::{self, NamedRanges, Room};
use super::open;

/// Read of one file.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
/// How often a file that was not there, or was replaced, is looked for.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The perf map of one process.
pub(super) struct PerfMap {
    proc_id: u32,
    path: PathBuf,
    /// The root directory of the process until there is a file: some write it only as they end.
    root: Option<File>,
    file: Option<File>,
    looked: Option<Instant>,
    read_bytes: u64,
    symbols: NamedRanges,
    room: Room,
}

impl PerfMap {
    /// The map of the process with that directory in `/proc`, opened at once if it is there.
    /// `namespace_pid` is the number by which the process knows itself.
    pub fn new(proc_id: u32, namespace_pid: u32, room: Room) -> Self {
        let mut map = Self {
            proc_id,
            path: PathBuf::from(format!("/tmp/perf-{namespace_pid}.map")),
            root: open::root_of(proc_id).ok(),
            file: None,
            looked: None,
            read_bytes: 0,
            symbols: NamedRanges::default(),
            room,
        };
        map.reopen();
        map
    }

    /// The name of what lies at `address`, after reading what was added to the file.
    pub fn lookup(&mut self, address: u64) -> Option<Arc<str>> {
        self.reopen();
        self.read_added();
        self.symbols.get(address)
    }

    /// Looks for the file, if it is time.
    pub fn reopen(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < REOPEN_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        let found = match &self.root {
            Some(root) => open::inside(root, &self.path),
            None => open::in_root(self.proc_id, &self.path),
        };
        let Ok((file, _)) = found else { return };
        self.root = None;
        let inode = |file: &File| file.metadata().map(|m| (m.dev(), m.ino())).ok();
        if self.file.as_ref().is_none_or(|old| inode(old) != inode(&file)) {
            self.start_over();
            self.file = Some(file);
        }
    }

    fn read_added(&mut self) {
        let Some(file) = &self.file else { return };
        let Ok(size_bytes) = file.metadata().map(|m| m.size()) else { return };
        if size_bytes < self.read_bytes {
            self.start_over();
        }
        let Some(file) = &self.file else { return };
        let added = size_bytes.min(FILE_BYTES_MAX).saturating_sub(self.read_bytes);
        let wanted = added.min(self.room.left());
        if wanted == 0 {
            return;
        }
        let mut text = vec![0; wanted as usize];
        let got = file.read_at(&mut text, self.read_bytes).unwrap_or(0);
        // The last line may still be in the making; it is read again when it is whole.
        let whole = text[..got].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in text[..whole].split(|&byte| byte == b'\n') {
            if let Some((start, end, name)) = parse_line(line) {
                self.symbols.insert(start, end, name);
            }
        }
        self.read_bytes += whole as u64;
        self.room.take(whole as u64);
    }

    fn start_over(&mut self) {
        self.room.give_back(self.read_bytes);
        self.read_bytes = 0;
        self.symbols.clear();
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        self.start_over();
    }
}

fn parse_line(line: &[u8]) -> Option<(u64, u64, Arc<str>)> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let mut number = || {
        let text = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = jit::name(fields.next()?)?;
    let end = start.checked_add(size)?;
    (size > 0).then_some((start, end, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense_are_skipped() {
        let parse = |line: &str| parse_line(line.as_bytes()).map(|(s, e, n)| (s, e, n.to_string()));
        assert_eq!(parse("1000 20 a b"), Some((0x1000, 0x1020, "a b".into())));
        assert_eq!(parse("0x1000 0x20 f\r"), Some((0x1000, 0x1020, "f".into())));
        for garbage in
            ["", "1000", "1000 20", "1000 20 ", "zz 20 f", "1000 0 f", "ffffffffffffffff 2 f"]
        {
            assert_eq!(parse(garbage), None, "{garbage:?}");
        }
    }
}
