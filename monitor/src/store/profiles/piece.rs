//! A file of kept samples: its name, and records with checksums in it.
//!
//! Contract: a record is there whole or not at all; what follows the first that is not is ignored.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::body;
use crate::{
    profile::{Kept, ProfileKind},
    store::bytes::checksum,
};

const MAGIC: &[u8; 8] = b"cgsprof1";
/// No record is longer.
const MAX_RECORD_BYTES: u32 = 256 << 20;
/// Being appended to.
const OPEN: &str = "open";
/// Never changed again.
const SEALED: &str = "sealed";
/// Not whole yet.
const UNFINISHED: &str = "new";

/// A file, as its name tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// When its first window began, ms since 1970.
    pub first_ms: u64,
    /// When its last one ended; not known while it is open.
    pub last_ms: Option<u64>,
    /// Of what.
    pub kind: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl Piece {
    /// The name of a file to append to.
    pub fn open(directory: &Path, kind: ProfileKind, first_ms: u64) -> PathBuf {
        directory.join(format!("{}-{first_ms}.{OPEN}", kind.name()))
    }

    /// All pieces in a directory, in the order of time; other files are none.
    ///
    /// # Errors
    /// Of the file system.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut pieces = vec![];
        for entry in fs::read_dir(directory)? {
            pieces.extend(Self::of(&entry?.path()));
        }
        pieces.sort();
        // The end of a seal: what was sealed is there, and what it was made of is not gone yet.
        let sealed: Vec<(u64, &'static str)> =
            pieces.iter().filter(|p| p.last_ms.is_some()).map(|p| (p.first_ms, p.kind)).collect();
        pieces.retain(|p| p.last_ms.is_some() || !sealed.contains(&(p.first_ms, p.kind)));
        Ok(pieces)
    }

    fn of(path: &Path) -> Option<Self> {
        let (stem, ending) = path.file_name()?.to_str()?.rsplit_once('.')?;
        let mut parts = stem.split('-');
        let name = parts.next()?;
        let kind = ProfileKind::ALL.into_iter().find(|kind| kind.name() == name)?.name();
        let first_ms = parts.next()?.parse().ok()?;
        let last_ms = match ending {
            OPEN => None,
            SEALED => Some(parts.next()?.parse().ok()?),
            _ => return None,
        };
        Some(Self { first_ms, last_ms, kind, path: path.to_owned() })
    }

    /// What it holds, record by record.
    ///
    /// # Errors
    /// Of the file system.
    pub fn read(&self) -> io::Result<Vec<Kept>> {
        let text = fs::read(&self.path)?;
        let Some(mut rest) = text.strip_prefix(MAGIC.as_slice()) else { return Ok(vec![]) };
        let mut all = vec![];
        while let Some((record, after)) = record(rest) {
            let Ok(kept) = body::decode(record) else { break };
            all.push(kept);
            rest = after;
        }
        Ok(all)
    }
}

/// The first record, if it is whole, and what follows it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = text.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length > MAX_RECORD_BYTES {
        return None;
    }
    let (record, rest) = rest.split_at_checked(length as usize)?;
    (checksum(record) == u32::from_le_bytes(*sum)).then_some((record, rest))
}

fn records(all: &[&Kept]) -> Vec<u8> {
    let mut out = vec![];
    for kept in all {
        let body = body::encode(kept);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&checksum(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }
    out
}

/// A file that windows are appended to.
#[derive(Debug)]
pub struct Appender {
    file: File,
    bytes: u64,
    /// When its first window began, ms since 1970.
    pub first_ms: u64,
}

impl Appender {
    /// Makes the file of a window, or goes on with it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(directory: &Path, kind: ProfileKind, first_ms: u64) -> io::Result<Self> {
        let path = Piece::open(directory, kind, first_ms);
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let mut bytes = file.metadata()?.len();
        if bytes == 0 {
            file.write_all(MAGIC)?;
            bytes = MAGIC.len() as u64;
        }
        Ok(Self { file, bytes, first_ms })
    }

    /// Appends windows and waits until the disk has them.
    ///
    /// # Errors
    /// Of the file system; what was written of them is taken back.
    pub fn append(&mut self, windows: &[&Kept]) -> io::Result<()> {
        let records = records(windows);
        let written = self.file.write_all(&records).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.bytes += records.len() as u64,
            // If that fails too, the torn record ends the file for its readers.
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        written
    }
}

/// Makes one record of all in an open piece, in a file that is not changed any more, and removes the piece.
///
/// # Errors
/// Of the file system; then the piece is left as it was.
pub fn seal(directory: &Path, piece: &Piece) -> io::Result<()> {
    let mut kept = Kept::default();
    kept.append(piece.read()?);
    let last_ms = kept.windows.iter().map(crate::profile::KeptWindow::ended_ms).max();
    if let Some(last_ms) = last_ms {
        let name = format!("{}-{}-{last_ms}.{SEALED}", piece.kind, piece.first_ms);
        let unfinished = directory.join(&name).with_extension(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        let mut text = MAGIC.to_vec();
        text.extend_from_slice(&records(&[&kept]));
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let finished = written.and_then(|()| fs::rename(&unfinished, directory.join(name)));
        if let Err(error) = finished {
            // It is not looked at under that name, and the next attempt writes it anew.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        File::open(directory)?.sync_all()?;
    }
    fs::remove_file(&piece.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::kept_window;

    #[test]
    fn whatever_is_cut_off_whole_windows_stay() {
        let directory = tempfile::tempdir().unwrap();
        let windows: Vec<Kept> =
            (0..5).map(|i| kept_window(1_000 + i * 3_000, "web", &["a", "b", "c"])).collect();
        let mut appender = Appender::open(directory.path(), ProfileKind::OnCpu, 1_000).unwrap();
        let mut ends = vec![];
        for window in &windows {
            appender.append(&[window]).unwrap();
            ends.push(appender.bytes as usize);
        }
        let [piece] = &Piece::list(directory.path()).unwrap()[..] else { panic!("one piece") };
        let text = fs::read(&piece.path).unwrap();
        for length in 0..=text.len() {
            fs::write(&piece.path, &text[..length]).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(piece.read().unwrap(), windows[..whole], "at {length}");
        }
        seal(directory.path(), piece).unwrap();
        let [sealed] = &Piece::list(directory.path()).unwrap()[..] else { panic!("one piece") };
        assert_eq!((sealed.first_ms, sealed.last_ms), (1_000, Some(16_000)));
        let mut joined = Kept::default();
        joined.append(windows);
        assert_eq!(sealed.read().unwrap(), [joined]);
    }

    #[test]
    fn a_seal_that_was_interrupted_shows_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut appender = Appender::open(directory.path(), ProfileKind::OnCpu, 7).unwrap();
        appender.append(&[&kept_window(7, "web", &["a"])]).unwrap();
        let open = Piece::open(directory.path(), ProfileKind::OnCpu, 7);
        let text = fs::read(&open).unwrap();
        seal(directory.path(), &Piece::list(directory.path()).unwrap()[0]).unwrap();
        fs::write(&open, text).unwrap();
        fs::write(directory.path().join("cpu-7-9.new"), "half").unwrap();
        fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        let pieces = Piece::list(directory.path()).unwrap();
        assert_eq!(pieces.len(), 1, "{pieces:?}");
        assert!(pieces[0].last_ms.is_some());
    }
}
