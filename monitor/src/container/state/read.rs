//! Reading files that others write, some of them in users' homes: bounded, never blocking, never following
//! a symbolic link at the last step (opening some device nodes has effects).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest state file that is read, in bytes. podman's list needs about 1 KB a container.
pub const MAX_BYTES: u64 = 4 << 20;

/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Why a state file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "{path}: {size} bytes, more than the {MAX_BYTES} that are read; names in it are unknown"
    )]
    TooLarge { path: PathBuf, size: u64 },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path} is not the JSON expected: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The content of a file, or `None` if there is none.
pub fn bytes(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(StateError::NotAFile { path: path.to_owned() });
    }
    read_bounded(file, path, meta.len())
}

fn read_bounded(file: File, path: &Path, size: u64) -> Result<Option<Vec<u8>>, StateError> {
    let mut content = Vec::new();
    // The file may grow while it is read: one byte more than allowed tells.
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|source| StateError::Io { path: path.to_owned(), source })?;
    if content.len() as u64 > MAX_BYTES {
        let size = size.max(content.len() as u64);
        return Err(StateError::TooLarge { path: path.to_owned(), size });
    }
    Ok(Some(content))
}

/// The content of a file as text, bytes that are no UTF-8 replaced.
pub fn text(path: &Path) -> Result<Option<String>, StateError> {
    Ok(bytes(path)?.map(|content| String::from_utf8_lossy(&content).into_owned()))
}

/// The content of a system configuration file, which may be a symbolic link.
pub fn config_text(path: &Path) -> Option<String> {
    text(&fs::canonicalize(path).ok()?).ok().flatten()
}

/// The JSON in a file, or `None` if there is no file.
pub fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let Some(content) = bytes(path)? else { return Ok(None) };
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|source| StateError::Json { path: path.to_owned(), source })
}

/// The directories in a directory, by name; none if it cannot be read.
pub fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().take(MAX_ENTRIES);
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// What changes when a file is replaced or rewritten: inode, size, modification time.
pub type Stamp = (u64, u64, i64, i64);

/// The stamp of a file, or `None` if there is none.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
