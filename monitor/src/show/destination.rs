//! Where a drawing goes.
//!
//! Contract: that it can be written is known before the recording; it is whole or not there.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use super::{
    failure::{Failure, RUNTIME},
    number,
    output::print_bytes,
};

/// Whether it is there and no regular file: a device, a pipe. It is written, not replaced.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Where the drawing goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    /// A regular file, which is replaced.
    File(PathBuf),
    /// What is no regular file.
    Special(PathBuf),
}

impl Destination {
    /// Tells a person at the terminal what was written.
    pub fn tell(&self, size_bytes: usize) {
        if let Self::File(file) | Self::Special(file) = self
            && io::stderr().is_terminal()
        {
            let size = number::bytes(size_bytes as f64);
            // With stderr gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "wrote {} ({size})", file.display());
        }
    }

    /// That it can be written is tried.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn check(output: &Path) -> Result<Self, Failure> {
        if output == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if is_special(output) {
            OpenOptions::new().write(true).open(output).map_err(|e| unwritable(output, &e))?;
            return Ok(Self::Special(output.to_owned()));
        }
        if output.is_dir() {
            return Err(unwritable(output, &io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A link keeps being one: what it leads to is replaced.
        let file = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
        let temporary = temporary_of(&file);
        create(&temporary).map_err(|error| unwritable(output, &error))?;
        fs::remove_file(&temporary).map_err(|error| unwritable(output, &error))?;
        Ok(Self::File(file))
    }

    /// Writes all of it, or leaves what was there.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn write(&self, content: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => print_bytes(content),
            Self::Special(path) => {
                let written = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .and_then(|mut file| file.write_all(content));
                written.map_err(|error| unwritable(path, &error))
            }
            Self::File(path) => {
                let temporary = temporary_of(path);
                let written = create(&temporary)
                    .and_then(|mut file| {
                        file.write_all(content)?;
                        // A full disk may tell only now.
                        file.sync_all()
                    })
                    .and_then(|()| fs::rename(&temporary, path));
                written.map_err(|error| {
                    // What could not be written whole is not left behind.
                    let _ = fs::remove_file(&temporary);
                    unwritable(path, &error)
                })
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Beside the file, so that it can be renamed to it.
fn temporary_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    file.with_file_name(name)
}

/// Why a file cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another -o"
        }
        io::ErrorKind::NotFound => "make its directory, or choose another -o",
        _ => "choose another -o",
    };
    Failure::new(RUNTIME, format!("cannot write {}: {error}", path.display()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/a.svg");
        let error = Destination::check(&missing).unwrap_err().to_string();
        assert!(error.contains("missing/a.svg") && error.contains("make its directory"), "{error}");
        let folder = directory.path().join("folder.svg");
        fs::create_dir(&folder).unwrap();
        assert!(Destination::check(&folder).is_err());
    }

    #[test]
    fn written_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.svg");
        fs::write(&file, "before").unwrap();
        let target = Destination::check(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "before");
        target.write(b"after").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_full_device_is_told() {
        let full = Path::new("/dev/full");
        let target = Destination::check(full).unwrap();
        let error = target.write(b"drawing").unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("free some space"), "{error}");
    }
}
