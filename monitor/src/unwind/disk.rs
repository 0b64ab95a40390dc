//! Tables on disk, so that a daemon that begins anew need not compile those of everything that runs.
//!
//! Contract: a table is named by a hash of all that it is made of, keyed with a secret of the directory: a file that claims to be
//! another one (a build id is easily forged) is not served its table. What is not whole or of another version is compiled again and
//! counted. Nothing here can fail a recording: without the directory there is no cache.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{elf::Image, table::Table};

/// Rises with any change of what a table holds or how it is compiled.
const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"cgsunwnd";
const ENDING: &str = "table";
const KEY: &str = "key";
/// The most that is kept; the longest unused go first. The tables of a desktop's programs take some 60 MB.
const MAX_BYTES: u64 = 128 << 20;
/// Magic, version, checksum, and the key of the content.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8;

/// Secret numbers with which contents are hashed.
#[derive(Clone, Copy)]
pub(super) struct Secret([u64; 2]);

impl Secret {
    /// New ones.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        if random.is_err() {
            // What the standard library keys its own tables with is as good, for as long as we live.
            let state = std::hash::RandomState::new();
            let word = |n: u8| std::hash::BuildHasher::hash_one(&state, n).to_le_bytes();
            bytes[..8].copy_from_slice(&word(0));
            bytes[8..].copy_from_slice(&word(1));
        }
        Self::of(bytes)
    }

    fn of(bytes: [u8; 16]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self([u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])])
    }

    /// By what a table is known: all that it is made of, and how.
    #[expect(
        deprecated,
        reason = "the only keyed hash that the standard library promises to keep as it is"
    )]
    pub fn content(&self, image: &Image) -> u64 {
        let mut hasher = std::hash::SipHasher::new_with_keys(self.0[0], self.0[1]);
        hasher.write_u32(VERSION);
        (image.arch, &image.code, image.entry, image.frame_address).hash(&mut hasher);
        hasher.write_usize(image.frame.len());
        hasher.write(&image.frame);
        hasher.finish()
    }
}

/// What came of it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskCounts {
    /// Tables that were read instead of compiled.
    pub read: u64,
    /// Those that were there but not whole, or of another version.
    pub damaged: u64,
    /// Those that could not be written.
    pub not_written: u64,
    /// Bytes of all that are there.
    pub bytes: u64,
}

/// A directory of tables.
pub(super) struct Disk {
    directory: PathBuf,
    max_bytes: u64,
    pub counts: DiskCounts,
}

impl Disk {
    /// Opens or makes a directory of tables.
    ///
    /// # Errors
    /// When it cannot be made, or its secret can neither be read nor written.
    pub fn open(directory: &Path) -> io::Result<(Self, Secret)> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let secret = secret(&directory.join(KEY))?;
        let mut disk = Self {
            directory: directory.to_owned(),
            max_bytes: MAX_BYTES,
            counts: DiskCounts::default(),
        };
        disk.prune(disk.max_bytes);
        Ok((disk, secret))
    }

    /// The table of a content, if it is there and whole.
    pub fn read(&mut self, content: u64) -> Option<Table> {
        let path = self.path(content);
        let mut file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        let is_read = (&mut file).take(self.max_bytes).read_to_end(&mut bytes).is_ok();
        let Some(table) = decode(&bytes, content).filter(|_| is_read) else {
            self.counts.damaged += 1;
            self.counts.bytes = self.counts.bytes.saturating_sub(bytes.len() as u64);
            // Written anew in a moment; if it cannot be removed it is replaced.
            let _ = fs::remove_file(&path);
            return None;
        };
        // What is used is kept. If its time cannot be set, it goes earlier.
        let _ = file.set_modified(SystemTime::now());
        self.counts.read += 1;
        Some(table)
    }

    /// Keeps a table.
    pub fn write(&mut self, content: u64, table: &Table) {
        let bytes = encode(table, content);
        if bytes.len() as u64 > self.max_bytes / 4 {
            return;
        }
        let path = self.path(content);
        let unfinished = path.with_extension("new");
        let options = |options: &mut OpenOptions| {
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)
        };
        // Not synced: what a crash leaves half-written is told by its checksum.
        let written = options(&mut OpenOptions::new())
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            self.counts.not_written += 1;
            // Not there is as good.
            let _ = fs::remove_file(&unfinished);
            return;
        }
        self.counts.bytes += bytes.len() as u64;
        if self.counts.bytes > self.max_bytes {
            self.prune(self.max_bytes / 4 * 3);
        }
    }

    fn path(&self, content: u64) -> PathBuf {
        self.directory.join(format!("{content:016x}.{ENDING}"))
    }

    /// Removes the longest unused until the rest is no more than that.
    fn prune(&mut self, max_bytes: u64) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == ENDING))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= max_bytes {
                break;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= size;
            }
        }
        self.counts.bytes = bytes;
    }
}

/// The secret of a directory, made if it has none.
fn secret(path: &Path) -> io::Result<Secret> {
    let mut bytes = [0; 16];
    match File::open(path).and_then(|mut file| file.read_exact(&mut bytes)) {
        Ok(()) => return Ok(Secret::of(bytes)),
        // A half of one is none.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    Ok(Secret::of(bytes))
}

fn encode(table: &Table, content: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    table.put(&mut bytes);
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&content.to_le_bytes());
    let sum = checksum(&bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], content: u64) -> Option<Table> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let is_ours = head[..8] == MAGIC
        && head[8..12] == VERSION.to_le_bytes()
        && head[12..16] == checksum(&bytes[16..]).to_le_bytes()
        && head[16..24] == content.to_le_bytes();
    is_ours.then(|| Table::take(body))?
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::{
        super::{compile, elf::Image},
        *,
    };

    fn image() -> Image {
        Image::read(&File::open("/proc/self/exe").unwrap()).unwrap()
    }

    #[test]
    fn what_is_kept_is_what_was_compiled() {
        let directory = tempfile::tempdir().unwrap();
        let (mut disk, secret) = Disk::open(directory.path()).unwrap();
        let image = image();
        let begin = std::time::Instant::now();
        let table = compile::table(&image).unwrap();
        let compiled = begin.elapsed();
        let content = secret.content(&image);
        assert_eq!(disk.read(content), None);
        disk.write(content, &table);
        let begin = std::time::Instant::now();
        assert_eq!(disk.read(content), Some(table));
        eprintln!(
            "{} rows compiled in {compiled:?}, read in {:?}",
            image.frame.len(),
            begin.elapsed()
        );
        // Another daemon finds it, another image does not.
        let (mut again, same) = Disk::open(directory.path()).unwrap();
        assert_eq!(same.content(&image), content);
        assert!(again.read(content).is_some());
        let other = Image { entry: image.entry + 1, ..image.clone() };
        assert_ne!(secret.content(&other), content);
        assert_ne!(Secret::random().content(&image), content, "the secret is part of it");
        assert_eq!(again.counts.damaged + again.counts.not_written, 0);
        assert_eq!(again.counts.read, 1);
    }

    #[test]
    fn what_is_damaged_is_counted_and_compiled_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut disk, secret) = Disk::open(directory.path()).unwrap();
        let image = image();
        let (content, table) = (secret.content(&image), compile::table(&image).unwrap());
        disk.write(content, &table);
        let path = disk.path(content);
        let whole = fs::read(&path).unwrap();
        let cases = [
            whole[..0].to_vec(),
            whole[..whole.len() / 2].to_vec(),
            [&whole[..], &[0]].concat(),
            {
                let mut other = whole.clone();
                other[8] ^= 1;
                other
            },
            {
                let mut other = whole.clone();
                let last = other.len() - 1;
                other[last] ^= 1;
                other
            },
        ];
        for (case, bytes) in cases.iter().enumerate() {
            fs::write(&path, bytes).unwrap();
            assert_eq!(disk.read(content), None, "case {case}");
            assert_eq!(disk.counts.damaged, case as u64 + 1);
            assert!(!path.exists());
        }
        disk.write(content, &table);
        assert_eq!(disk.read(content), Some(table));
    }

    #[test]
    fn the_longest_unused_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let (mut disk, secret) = Disk::open(directory.path()).unwrap();
        let image = image();
        let table = compile::table(&image).unwrap();
        let size = encode(&table, 0).len() as u64;
        disk.max_bytes = size * 8;
        let first = secret.content(&image);
        for number in 0..8 {
            disk.write(first.wrapping_add(number), &table);
            // Times of files have a grain.
            sleep(Duration::from_millis(20));
        }
        assert!(disk.read(first).is_some());
        sleep(Duration::from_millis(20));
        disk.write(first.wrapping_add(8), &table);
        assert!(disk.counts.bytes <= disk.max_bytes, "{:?}", disk.counts);
        assert!(disk.read(first).is_some(), "it was used");
        assert!(disk.read(first.wrapping_add(1)).is_none(), "it was not");
        assert!(disk.read(first.wrapping_add(8)).is_some());
    }
}
