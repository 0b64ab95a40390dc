//! Jitdumps: the file by which a run-time compiler tells profilers what it made, with the code itself and what moved where.
//!
//! A head, then records: `id:u32, bytes:u32, time:u64` and what the id says, as in the kernel's
//! `tools/perf/Documentation/jitdump-specification.txt`. The process maps a page of the file as code, by which it is found.
//! Compilers write it through a buffer (V8: 2 MB), so the newest names of a living process may not be there yet.
//!
//! Contract: of a hostile file at most [`FILE_BYTES_MAX`] are looked at, [`LOOK_BYTES_MAX`] of them for one address.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use super::jit::{self, NAME_BYTES_MAX, NamedRanges, Room};
use super::object::Place;

/// Looked at of one file; names are a tenth of it, code the rest.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Read for one address: 20 ms. What is left is read for the next.
const LOOK_BYTES_MAX: u64 = 64 << 20;
/// Read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// What is kept of a name costs that much beside it.
const NAME_COST_BYTES: u64 = 64;

const MAGIC: u32 = 0x4a69_5444;
/// Of the fields that every version has.
const HEAD_BYTES: usize = 40;
const RECORD_BYTES: usize = 16;
/// From the record on: pid, tid, address, start of the code, its length, number.
const LOAD_BYTES: usize = RECORD_BYTES + 40;
/// The same with the address it moved to.
const MOVE_BYTES: usize = RECORD_BYTES + 48;

/// The jitdump of one process.
pub(super) struct JitDump {
    file: File,
    device_inode: (u64, u64),
    place_inode: u64,
    /// Where the next record begins; 0 before the head.
    next: u64,
    taken_bytes: u64,
    ranges: NamedRanges,
    room: Room,
}

impl JitDump {
    /// The file a process has mapped; `None` if it cannot be opened.
    pub fn open(place: &Place, room: Room) -> Option<Self> {
        let (file, _) = place.open().ok()?;
        Self::of_file(file, place.inode, room)
    }

    fn of_file(file: File, place_inode: u64, room: Room) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let device_inode = (metadata.dev(), metadata.ino());
        let ranges = NamedRanges::default();
        Some(Self { file, device_inode, place_inode, next: 0, taken_bytes: 0, ranges, room })
    }

    /// Whether it is the file that is mapped there.
    pub fn is_at(&self, place: &Place) -> bool {
        // Inodes of another device may be the same, but a process has one dump, or two.
        place.inode == self.place_inode || place.inode == self.device_inode.1
    }

    /// The name of what lies at an address, after reading what was added.
    pub fn lookup(&mut self, address: u64) -> Option<Arc<str>> {
        self.read_added();
        self.ranges.get(address)
    }

    fn read_added(&mut self) {
        let Ok(size) = self.file.metadata().map(|metadata| metadata.size()) else { return };
        let size = size.min(FILE_BYTES_MAX);
        let mut budget = LOOK_BYTES_MAX;
        let mut chunk = Vec::new();
        while self.next < size && budget > 0 && self.room.left() > 0 {
            let wanted = (size - self.next).min(CHUNK_BYTES as u64);
            chunk.resize(wanted as usize, 0);
            let Ok(got) = self.file.read_at(&mut chunk, self.next) else { return };
            budget = budget.saturating_sub(CHUNK_BYTES as u64);
            let used = self.read_chunk(&chunk[..got]);
            if used == 0 {
                // A record that is in the making, or what is no jitdump.
                return;
            }
            self.next = self.next.saturating_add(used);
        }
    }

    /// Takes in the records that begin in the chunk; how far the next one is from its beginning. 0: none is whole.
    fn read_chunk(&mut self, chunk: &[u8]) -> u64 {
        let mut at = 0;
        if self.next == 0 {
            match head_bytes(chunk) {
                Some(bytes) => at = bytes,
                None => return 0,
            }
        }
        while let Some(rest) = chunk.get(at as usize..).filter(|rest| rest.len() >= RECORD_BYTES) {
            let bytes = u64::from(u32_at(rest, 4));
            if bytes < RECORD_BYTES as u64 {
                // Nothing that follows can be found.
                self.next = FILE_BYTES_MAX;
                return 1;
            }
            // The code itself is skipped, but its name has to be here.
            let needed = bytes.min((LOAD_BYTES + NAME_BYTES_MAX) as u64) as usize;
            let Some(record) = rest.get(..needed) else { break };
            self.take(record);
            at = at.saturating_add(bytes);
        }
        at
    }

    fn take(&mut self, record: &[u8]) {
        const LOAD: u32 = 0;
        const MOVE: u32 = 1;
        match u32_at(record, 0) {
            LOAD if record.len() > LOAD_BYTES => {
                let (start, bytes) = (u64_at(record, 32), u64_at(record, 40));
                let text = record[LOAD_BYTES..].split(|&byte| byte == 0).next();
                let (Some(name), Some(end)) = (text.and_then(jit::name), start.checked_add(bytes))
                else {
                    return;
                };
                if bytes > 0 {
                    let cost = name.len() as u64 + NAME_COST_BYTES;
                    self.room.take(cost);
                    self.taken_bytes += cost;
                    self.ranges.insert(start, end, name);
                }
            }
            MOVE if record.len() >= MOVE_BYTES => {
                let (old, new, bytes) =
                    (u64_at(record, 32), u64_at(record, 40), u64_at(record, 48));
                let ends = (old.checked_add(bytes), new.checked_add(bytes));
                if let ((Some(old_end), Some(new_end)), Some(name)) = (ends, self.ranges.get(old))
                    && bytes > 0
                {
                    self.ranges.remove(old, old_end);
                    self.ranges.insert(new, new_end, name);
                }
            }
            _ => {}
        }
    }
}

impl Drop for JitDump {
    fn drop(&mut self) {
        self.room.give_back(self.taken_bytes);
    }
}

/// How long the head is; `None` if it is not that of a jitdump of this machine.
fn head_bytes(chunk: &[u8]) -> Option<u64> {
    let is_one = chunk.len() >= HEAD_BYTES && u32_at(chunk, 0) == MAGIC;
    is_one.then(|| u64::from(u32_at(chunk, 8))).filter(|&bytes| bytes >= HEAD_BYTES as u64)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::jit::TOTAL_BYTES_MAX;
    use super::*;

    fn head() -> Vec<u8> {
        let words = [MAGIC, 1, HEAD_BYTES as u32, 62, 0, 7, 0, 0, 0, 0];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn record(id: u32, words: &[u64], tail: &[u8]) -> Vec<u8> {
        let bytes = (RECORD_BYTES + 8 * words.len() + tail.len()) as u32;
        let mut record: Vec<u8> = [id, bytes, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
        record.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        record.extend(tail);
        record
    }

    /// With so much code behind its name.
    fn load(start: u64, bytes: u64, name: &str) -> Vec<u8> {
        let mut tail = [name.as_bytes(), b"\0"].concat();
        tail.resize(tail.len() + bytes as usize, 0x90);
        record(0, &[7, start, start, bytes, 1], &tail)
    }

    fn dump(parts: &[&[u8]]) -> (File, JitDump, Room) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parts.concat()).unwrap();
        let room = Room::default();
        let dump = JitDump::of_file(file.try_clone().unwrap(), 1, room.clone()).unwrap();
        (file, dump, room)
    }

    #[test]
    fn code_has_the_name_it_was_loaded_with_wherever_it_moved() {
        let moved = record(1, &[7, 0, 0x1000, 0x9000, 0x20, 1], &[]);
        // Longer than what is read at once.
        let large = load(0x10_0000, CHUNK_BYTES as u64 + 5, "large");
        let parts = [head(), load(0x1000, 0x20, "a b"), large, moved, load(0x1000, 0x10, "c")];
        let (mut file, mut dump, room) = dump(&parts.each_ref().map(Vec::as_slice));
        let name = |dump: &mut JitDump, at| dump.lookup(at).map(|name| name.to_string());
        assert_eq!(name(&mut dump, 0x9000).as_deref(), Some("a b"));
        assert_eq!(name(&mut dump, 0x901f).as_deref(), Some("a b"));
        assert_eq!(name(&mut dump, 0x9020), None);
        assert_eq!(name(&mut dump, 0x1000).as_deref(), Some("c"));
        assert_eq!(name(&mut dump, 0x1010), None);
        assert_eq!(name(&mut dump, 0x10_0000).as_deref(), Some("large"));
        // In two parts, as a buffer is written.
        let more = load(0x2000, 0x30, "later");
        file.write_all(&more[..40]).unwrap();
        assert_eq!(name(&mut dump, 0x2000), None);
        file.write_all(&more[40..]).unwrap();
        assert_eq!(name(&mut dump, 0x2000).as_deref(), Some("later"));
        assert!(room.left() < TOTAL_BYTES_MAX);
        drop(dump);
        assert_eq!(room.left(), TOTAL_BYTES_MAX);
    }

    #[test]
    fn what_is_no_jitdump_names_nothing() {
        let endless = record(0, &[0; 5], b"");
        let mut zero = endless.clone();
        zero[4..8].fill(0);
        let after_zero = [head(), zero, load(1, 9, "x")].concat();
        for bytes in [vec![], b"\x7fELF".to_vec(), vec![0; 100], after_zero] {
            let (_file, mut dump, _) = dump(&[&bytes]);
            assert_eq!(dump.lookup(1), None);
            assert_eq!(dump.lookup(1), None);
        }
        let (_file, mut dump, _) = dump(&[&head(), &load(u64::MAX - 3, 9, "over the end")]);
        assert_eq!(dump.lookup(u64::MAX - 1), None);
    }

    proptest! {
        #[test]
        fn survives_any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            small in proptest::collection::vec(0_u8..3, 0..400),
        ) {
            for tail in [bytes, small] {
                let (_file, mut dump, _) = dump(&[&head(), &tail]);
                dump.lookup(0x1000);
            }
        }
    }
}
