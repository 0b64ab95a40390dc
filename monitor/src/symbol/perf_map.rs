//! Perf maps: the text by which a run-time compiler tells profilers what it made.
//!
//! A line is `START SIZE NAME`, both numbers hexadecimal; the file only grows, and a later line wins
//! where addresses were used again. The file is the process's own, so nothing in it is trusted: lines
//! that make no sense are skipped, a file is read up to [`FILE_BYTES_MAX`], and all of them together
//! up to [`TOTAL_BYTES_MAX`].

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::open;

/// Read of one file.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
/// Read of all files whose names are kept at one time.
pub(super) const TOTAL_BYTES_MAX: u64 = 256 << 20;
/// A longer name is cut.
const NAME_BYTES_MAX: usize = 1024;
/// How often a file that was not there, or was replaced, is looked for.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The perf map of one process.
pub(super) struct PerfMap {
    proc_id: u32,
    path: PathBuf,
    file: Option<File>,
    looked: Option<Instant>,
    read_bytes: u64,
    symbols: BTreeMap<u64, (u64, Arc<str>)>,
    total_bytes: Arc<AtomicU64>,
}

impl PerfMap {
    /// The map of the process with that directory in `/proc`, opened at once if it is there.
    /// `namespace_pid` is the number by which the process knows itself.
    pub fn new(proc_id: u32, namespace_pid: u32, total_bytes: Arc<AtomicU64>) -> Self {
        let mut map = Self {
            proc_id,
            path: PathBuf::from(format!("/tmp/perf-{namespace_pid}.map")),
            file: None,
            looked: None,
            read_bytes: 0,
            symbols: BTreeMap::new(),
            total_bytes,
        };
        map.reopen();
        map
    }

    /// The name of what lies at `address`, after reading what was added to the file.
    pub fn lookup(&mut self, address: u64) -> Option<Arc<str>> {
        self.reopen();
        self.read_added();
        let (_, (end, name)) = self.symbols.range(..=address).next_back()?;
        (address < *end).then(|| Arc::clone(name))
    }

    fn reopen(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < REOPEN_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        let Ok((file, _)) = open::in_root(self.proc_id, &self.path) else { return };
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
        let room = TOTAL_BYTES_MAX.saturating_sub(self.total_bytes.load(Ordering::Relaxed));
        let wanted = (size_bytes.min(FILE_BYTES_MAX).saturating_sub(self.read_bytes)).min(room);
        if wanted == 0 {
            return;
        }
        let mut text = vec![0; wanted as usize];
        let got = file.read_at(&mut text, self.read_bytes).unwrap_or(0);
        // The last line may still be in the making; it is read again when it is whole.
        let whole = text[..got].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in text[..whole].split(|&byte| byte == b'\n') {
            if let Some((start, end, name)) = parse_line(line) {
                insert(&mut self.symbols, start, end, name);
            }
        }
        self.read_bytes += whole as u64;
        self.total_bytes.fetch_add(whole as u64, Ordering::Relaxed);
    }

    fn start_over(&mut self) {
        self.total_bytes.fetch_sub(self.read_bytes, Ordering::Relaxed);
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
    let name = fields.next()?.trim_ascii();
    let name = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]);
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then(|| (start, end, Arc::from(&*name)))
}

/// Adds a range and takes what it covers out of the ranges that were there.
fn insert(symbols: &mut BTreeMap<u64, (u64, Arc<str>)>, start: u64, end: u64, name: Arc<str>) {
    if let Some((_, (before_end, before))) = symbols.range_mut(..start).next_back()
        && *before_end > start
    {
        let tail_end = std::mem::replace(before_end, start);
        let before = Arc::clone(before);
        if tail_end > end {
            symbols.insert(end, (tail_end, before));
        }
    }
    while let Some((&at, (at_end, _))) = symbols.range(start..end).next() {
        let at_end = *at_end;
        if let Some((_, covered)) = symbols.remove(&at)
            && at_end > end
        {
            symbols.insert(end, (at_end, covered));
        }
    }
    symbols.insert(start, (end, name));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        /// The later line wins: compared with painting each line over an array.
        #[test]
        fn ranges_are_what_painting_gives(lines in proptest::collection::vec((0_u64..64, 1_u64..16), 0..40)) {
            let mut symbols = BTreeMap::new();
            let mut painted = vec![None; 80];
            for (number, (start, size)) in lines.into_iter().enumerate() {
                let name: Arc<str> = number.to_string().into();
                insert(&mut symbols, start, start + size, Arc::clone(&name));
                for place in start..start + size {
                    painted[place as usize] = Some(Arc::clone(&name));
                }
            }
            for (address, expected) in painted.iter().enumerate() {
                let found = symbols.range(..=address as u64).next_back()
                    .filter(|(_, (end, _))| (address as u64) < *end)
                    .map(|(_, (_, name))| Arc::clone(name));
                prop_assert_eq!(&found, expected);
            }
        }
    }
}
