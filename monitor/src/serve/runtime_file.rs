//! `/run/cgscope/daemon.json`: how the command line finds the daemon, and how a second daemon finds the first.
//!
//! Contract: the daemon holds an exclusive `flock` on the file while it runs; a file that nobody holds is stale, whatever it
//! says. It is never removed, so that everyone locks the same file.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::metric::WallTimeNs;

/// Where it is unless the command line or the environment says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/run/cgscope";

const FILE: &str = "daemon.json";
/// A reader holds the lock for microseconds; a daemon holds it for good.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The daemon's process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Since when.
    pub started_at: WallTimeNs,
}

/// Why this process cannot be the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another one is.
    #[error("cgscope already runs{}", running.as_ref().map(|r| format!(" as pid {} at {}", r.pid, r.address)).unwrap_or_default())]
    Taken {
        /// What its file says; `None` while it is starting.
        running: Option<Running>,
    },
    /// The file cannot be made or locked.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to be the daemon, until dropped.
#[derive(Debug)]
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Becomes the daemon of `directory`, which is made if needed.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take(directory: &Path) -> Result<Self, ClaimError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ClaimError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(at(directory))?;
        let path = directory.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at(&path))?;
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => {
                    // What a daemon that was killed has left is not true of this one.
                    file.set_len(0).map_err(at(&path))?;
                    return Ok(Self { file, path });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(at(&path)(source)),
            }
        }
        Err(ClaimError::Taken { running: parse(&mut file) })
    }

    /// Says where this daemon listens.
    ///
    /// # Errors
    /// [`ClaimError::Io`].
    pub fn announce(&mut self, address: SocketAddr) -> Result<(), ClaimError> {
        let running = Running { pid: std::process::id(), address, started_at: WallTimeNs::now() };
        let write = || {
            let text = serde_json::to_string(&running).map_err(io::Error::from)?;
            self.file.set_len(0)?;
            self.file.rewind()?;
            // One write: a reader sees all of it or none.
            self.file.write_all(format!("{text}\n").as_bytes())
        };
        let mut write = write;
        write().map_err(|source| ClaimError::Io { path: self.path.clone(), source })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock goes with the file; an old address in it would be ignored anyway.
        let _ = self.file.set_len(0);
    }
}

/// The daemon of `directory`, if one runs.
pub fn find(directory: &Path) -> Option<Running> {
    let mut file = File::open(directory.join(FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => parse(&mut file),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn parse(file: &mut File) -> Option<Running> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 7070))
    }

    #[test]
    fn the_second_is_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = Claim::take(directory.path()).unwrap();
        assert_eq!(find(directory.path()), None, "it has not said where it listens");
        first.announce(address()).unwrap();
        let found = find(directory.path()).unwrap();
        assert_eq!((found.pid, found.address), (std::process::id(), address()));
        let error = Claim::take(directory.path()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ClaimError::Taken { running: Some(_) }));
        let pid = std::process::id();
        assert_eq!(said, format!("cgscope already runs as pid {pid} at 127.0.0.1:7070"));
        drop(first);
        assert_eq!(find(directory.path()), None);
        Claim::take(directory.path()).expect("it is free again");
    }

    #[test]
    fn what_nobody_holds_is_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, r#"{"pid":1,"address":"127.0.0.1:7070","started_at":1}"#).unwrap();
        assert_eq!(find(directory.path()), None);
        let claim = Claim::take(directory.path()).unwrap();
        assert_eq!(find(directory.path()), None, "the old address is not the new daemon's");
        drop(claim);
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Claim::take(&file.join("sub")).unwrap_err().to_string();
        assert!(error.contains("file/sub"), "{error}");
    }

    #[test]
    fn no_daemon_no_file() {
        assert_eq!(find(Path::new("/nonexistent/cgscope")), None);
    }
}
