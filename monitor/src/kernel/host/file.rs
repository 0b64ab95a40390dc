//! Reading one file of procfs again and again: kept open, into memory that is kept, and never more than a bound.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::PathBuf,
};

use thiserror::Error;

/// The longest text read. `/proc/stat` of a host with 1,000 CPUs and 10,000 interrupts has some 200 KB.
const MAX_BYTES: usize = 4 << 20;

/// Why a source has nothing to say.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// This kernel does not have it.
    #[error("{path} is not there; {remedy}")]
    Absent { path: String, remedy: &'static str },
    /// Not readable.
    #[error("cannot read {path}: {source}; is /proc mounted and readable?")]
    Io { path: String, source: io::Error },
    /// More than any kernel writes.
    #[error("{path} has more than {MAX_BYTES} bytes; is it the kernel's own file?")]
    TooLong { path: String },
    /// Not of the form the kernel writes.
    #[error("{path} has no {what}; report it with the kernel version")]
    Malformed { path: String, what: String },
}

/// One file of procfs.
pub(super) struct ProcFile {
    path: PathBuf,
    /// What to do when it is not there.
    remedy: &'static str,
    open: Option<File>,
    text: Vec<u8>,
}

impl ProcFile {
    pub fn new(path: PathBuf, remedy: &'static str) -> Self {
        Self { path, remedy, open: None, text: Vec::new() }
    }

    /// Its text now.
    pub fn read(&mut self) -> Result<&str, ReadError> {
        if let Err(source) = self.fill() {
            // The next reading begins anew: /proc may have been mounted again.
            self.open = None;
            return Err(self.failure(source));
        }
        if self.text.len() > MAX_BYTES {
            return Err(ReadError::TooLong { path: self.name() });
        }
        std::str::from_utf8(&self.text).map_err(|_| self.malformed("text"))
    }

    /// That its text lacks something.
    pub fn malformed(&self, what: impl Into<String>) -> ReadError {
        ReadError::Malformed { path: self.name(), what: what.into() }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        let file = match &mut self.open {
            Some(file) => {
                file.rewind()?;
                file
            }
            closed => closed.insert(File::open(&self.path)?),
        };
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut self.text)?;
        Ok(())
    }

    fn failure(&self, source: io::Error) -> ReadError {
        let path = self.name();
        match source.raw_os_error() {
            // A kernel that has pressure files but was booted without them says the second.
            Some(libc::ENOENT | libc::EOPNOTSUPP) => {
                ReadError::Absent { path, remedy: self.remedy }
            }
            _ => ReadError::Io { path, source },
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
