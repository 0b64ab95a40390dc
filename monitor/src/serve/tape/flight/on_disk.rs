//! Frozen recordings in a directory: the newest few.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{super::file::plain, Frozen};
use crate::metric::WallTimeNs;

/// Files that are kept; the oldest go.
const MAX_FILES: usize = 8;
/// What their names end with.
const ENDING: &str = "flight.cgscope";

/// Where they are written to.
#[derive(Clone, Debug, Default)]
pub struct FlightDirectory(pub PathBuf);

/// Why one could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct FlightError {
    path: PathBuf,
    source: io::Error,
}

impl FlightDirectory {
    /// Writes one, whole or not at all, and gives its path. The oldest of more than eight go.
    ///
    /// # Errors
    /// [`FlightError`]: what the file system says.
    pub fn write(&self, frozen: &Frozen, at: WallTimeNs) -> Result<PathBuf, FlightError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FlightError { path, source }
        };
        fs::create_dir_all(&self.0).map_err(failed(&self.0))?;
        let name = format!("{:013}-{}.{ENDING}", at.0 / 1_000_000, plain(&frozen.host));
        let path = self.0.join(name);
        write_whole(&path, &frozen.file).map_err(failed(&path))?;
        // That one too many is left is no reason to say that this one failed.
        let _ = self.forget_oldest();
        Ok(path)
    }

    fn forget_oldest(&self) -> io::Result<()> {
        let entries = fs::read_dir(&self.0)?.filter_map(|entry| Some(entry.ok()?.path()));
        let is_one = |path: &PathBuf| path.to_string_lossy().ends_with(ENDING);
        let mut files: Vec<_> = entries.filter(is_one).collect();
        // Names begin with the time.
        files.sort();
        let too_many = files.len().saturating_sub(MAX_FILES);
        files[..too_many].iter().try_for_each(fs::remove_file)
    }
}

/// Under its name only when all of it is on the disk.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_what_is_not_ours_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let flights = FlightDirectory(directory.path().join("flights"));
        fs::create_dir(&flights.0).unwrap();
        fs::write(flights.0.join("0000000000000-notes.txt"), "mine").unwrap();
        let frozen = Frozen { host: "a/../b".to_owned(), file: vec![7; 10].into() };
        for second in 1..=10 {
            let path = flights.write(&frozen, WallTimeNs(second * 1_000_000_000)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [7; 10]);
            assert_eq!(path.parent(), Some(&*flights.0));
        }
        let mut names: Vec<_> = fs::read_dir(&flights.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), MAX_FILES + 1);
        assert_eq!(names[0], "0000000000000-notes.txt");
        assert_eq!(names[1], "0000000003000-a..b.flight.cgscope");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let frozen = Frozen { host: String::new(), file: vec![].into() };
        let error = FlightDirectory(file.join("flights")).write(&frozen, WallTimeNs(0));
        assert!(error.unwrap_err().to_string().contains("file/flights"));
    }
}
