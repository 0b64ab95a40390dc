//! Files on this machine's disk.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use cgscope_tests::{run_captured, scratch_dir};
use tempfile::TempDir;

/// A directory with a file `data` of so many bytes, written back, so that it can be dropped from the page cache.
pub fn written(bytes: usize) -> Result<TempDir> {
    let directory = TempDir::with_prefix_in("files-", scratch_dir())?;
    let path = directory.path().join("data");
    fs::write(&path, vec![0x33; bytes])?;
    let synced = run_captured(Command::new("sync").arg(&path))?;
    ensure!(synced.success(), "sync: {}", synced.stderr);
    Ok(directory)
}
