//! The journal: the ticks that are not sealed yet, one checksummed record each, synced one by one.
//!
//! Contract: after a crash all whole records from the first on are there; a torn one at the end is cut off. Beside the
//! database rather than in it: a record of 3 KB dirties one page of a file, but four of SQLite's log (1.4 GB a day).

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{bytes::checksum, frame::Frame};

const MAGIC: &[u8; 8] = b"cgsjrnl1";
/// No record is longer: 200,000 series at 20 bytes.
const MAX_RECORD_BYTES: u32 = 4 << 20;
/// What a file system writes at once. A record that dirties one page less saves 4 KB a second, 0.35 GB a day.
const PAGE_BYTES: u64 = 4096;
/// A process that is being started holds the lock of its parent until it runs another program, which takes a while on a busy machine.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The open file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Journal {
    /// Opens or makes it, and returns the whole frames in it.
    ///
    /// # Errors
    /// Of the file system, and `ResourceBusy` while another process has it open. What is no journal is moved aside under the
    /// name `*.damaged`.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Frame>)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock(&file)?;
        let mut text = vec![];
        file.read_to_end(&mut text)?;
        let is_new = text.len() < MAGIC.len() && MAGIC.starts_with(&text);
        if !is_new && !text.starts_with(MAGIC) {
            fs::rename(path, path.with_extension("damaged"))?;
            return Self::open(path);
        }
        let mut journal = Self { file, path: path.to_owned(), bytes: 0 };
        if is_new {
            journal.clear()?;
            return Ok((journal, vec![]));
        }
        let (frames, bytes) = whole(&text);
        journal.cut(bytes as u64)?;
        Ok((journal, frames))
    }

    /// The whole frames of a journal that cannot be written.
    pub fn read(path: &Path) -> Vec<Frame> {
        let text = fs::read(path).unwrap_or_default();
        if text.starts_with(MAGIC) { whole(&text).0 } else { vec![] }
    }

    /// Appends a frame and waits until the disk has it.
    ///
    /// # Errors
    /// Of the file system; what was written of the frame is taken back.
    pub fn append(&mut self, frames: &[&Frame]) -> io::Result<()> {
        let mut records = vec![];
        for frame in frames {
            let before = records.len();
            records.extend_from_slice(&[0; 8]);
            frame.encode(&mut records);
            // To the next page, if the record would reach into one page more than it needs.
            let gap = gap_before(self.bytes + before as u64, (records.len() - before) as u64);
            records.splice(before..before, std::iter::repeat_n(0, gap as usize));
            let at = before + gap as usize;
            let length = (records.len() - at - 8) as u32;
            let sum = checksum(&records[at + 8..]);
            records[at..at + 4].copy_from_slice(&length.to_le_bytes());
            records[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        }
        let written = self.file.write_all(&records).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If that fails too, the torn record is cut off by whoever opens it next, and by the next success.
                let _ = self.cut(self.bytes);
                Err(error)
            }
        }
    }

    /// Empties it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.bytes = 0;
        self.file.write_all(MAGIC)?;
        self.bytes = MAGIC.len() as u64;
        self.file.sync_data()
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the file is still the one at its path.
    pub fn is_there(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let here = self.file.metadata().map(|file| (file.dev(), file.ino()));
        let there = fs::metadata(&self.path).map(|file| (file.dev(), file.ino()));
        matches!((here, there), (Ok(here), Ok(there)) if here == there)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes))?;
        self.bytes = bytes;
        Ok(())
    }
}

/// Takes the right to write here, which ends with the process.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another daemon writes there"))
}

/// Zeros between `at` and a record of `length` bytes.
fn gap_before(at: u64, length: u64) -> u64 {
    let room = PAGE_BYTES - at % PAGE_BYTES;
    let is_wider = (at % PAGE_BYTES + length).div_ceil(PAGE_BYTES) > length.div_ceil(PAGE_BYTES);
    // A head never lies across two pages, so that zeros where it would be are a gap.
    if is_wider || room < 8 { room } else { 0 }
}

/// The frames of `text` up to the first record that is not whole, and where that begins.
fn whole(text: &[u8]) -> (Vec<Frame>, usize) {
    let mut frames = vec![];
    let mut at = MAGIC.len();
    let (mut frames_end, page) = (at, PAGE_BYTES as usize);
    loop {
        let room = page - at % page;
        let is_gap = room < 8 || text.get(at..at + 8).is_some_and(|head| head == [0; 8]);
        if is_gap && at < text.len() {
            at += room;
            continue;
        }
        let Some((head, rest)) = text.get(at..).and_then(<[u8]>::split_first_chunk::<8>) else {
            break;
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let sum = u32::from_le_bytes([e, f, g, h]);
        if length > MAX_RECORD_BYTES {
            break;
        }
        let Some(record) = rest.get(..length as usize) else { break };
        if checksum(record) != sum {
            break;
        }
        let Ok(frame) = Frame::decode(record) else { break };
        frames.push(frame);
        at += 8 + length as usize;
        frames_end = at;
    }
    (frames, frames_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frame::Instant;

    fn frame(sequence: u64) -> Frame {
        Frame::new(sequence, Instant { at_ms: sequence * 1_000, covered_ms: 1_000 }, &[])
    }

    /// Of a size that fills pages unevenly.
    fn large(sequence: u64) -> Frame {
        use crate::store::{
            frame::Measured,
            id::{GroupId, SeriesId},
        };
        let of = |i| {
            let group = GroupId::new(i / 20, crate::metric::Kind::Counter);
            (SeriesId::new(group, i % 20), Measured::Counter(u64::MAX - u64::from(i)))
        };
        let measured: Vec<_> = (0..(sequence as u32 * 37) % 900).map(of).collect();
        Frame::new(sequence, Instant { at_ms: sequence, covered_ms: 1 }, &measured)
    }

    #[test]
    fn records_of_any_size_come_back_and_reach_into_no_page_too_many() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        for sequence in 0..300 {
            let (mut journal, frames) = Journal::open(&path).unwrap();
            assert!(frames.iter().zip(0..).all(|(frame, i)| frame.sequence == i));
            assert_eq!(frames.len() as u64, sequence);
            let before = journal.bytes();
            let frame = large(sequence);
            journal.append(&[&frame]).unwrap();
            let mut record = vec![];
            frame.encode(&mut record);
            let length = record.len() as u64 + 8;
            let first = journal.bytes() - length;
            assert!(first >= before);
            let pages = (journal.bytes() - 1) / PAGE_BYTES - first / PAGE_BYTES + 1;
            assert_eq!(pages, length.div_ceil(PAGE_BYTES), "at {first}");
        }
    }

    #[test]
    fn whatever_is_cut_off_whole_records_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, frames) = Journal::open(&path).unwrap();
        assert!(frames.is_empty());
        let mut ends = vec![journal.bytes()];
        for sequence in 0..20 {
            journal.append(&[&frame(sequence)]).unwrap();
            ends.push(journal.bytes());
        }
        drop(journal);
        let text = fs::read(&path).unwrap();
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let (mut journal, frames) = Journal::open(&path).unwrap();
            let expected = ends.iter().filter(|&&end| end <= length as u64).count().max(1) - 1;
            assert_eq!(frames.len(), expected, "at {length}");
            assert!(frames.iter().zip(0..).all(|(frame, i)| frame.sequence == i));
            journal.append(&[&frame(99)]).unwrap();
            drop(journal);
            let (_, frames) = Journal::open(&path).unwrap();
            assert_eq!(frames.last().map(|frame| frame.sequence), Some(99));
        }
        for at in 0..text.len() {
            let mut text = text.clone();
            text[at] ^= 0x10;
            fs::write(&path, &text).unwrap();
            let (_, frames) = Journal::open(&path).unwrap();
            let before = ends.iter().filter(|&&end| end <= at as u64).count().max(1) - 1;
            assert_eq!(frames.len(), before, "a bit at {at}");
        }
    }
}
