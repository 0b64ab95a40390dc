//! `/proc` itself: how many processes there are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{file::ReadError, metrics::gauge, source::Measure};
use crate::metric::{Sample, descriptor};

descriptor!(
    pub(super) static LIVING,
    "cgscope_host_living_processes",
    "processes",
    Count,
    Gauge,
    Host,
    &[],
    "/proc",
    "2.6",
    "Processes that exist, zombies and those of the kernel included."
);

/// Reads the directory.
pub(super) struct Processes(PathBuf);

impl Processes {
    pub fn new(proc: &Path) -> Self {
        Self(proc.to_owned())
    }
}

impl Measure for Processes {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let failure =
            |source: io::Error| ReadError::Io { path: self.0.display().to_string(), source };
        let entries = fs::read_dir(&self.0).map_err(failure)?;
        let is_process = |entry: &fs::DirEntry| {
            entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
        };
        let living = entries.flatten().filter(is_process).count();
        samples.push(gauge(&LIVING, [], living as f64));
        Ok(())
    }
}
