//! An overlay of our own over two directories; gone with the handle.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use cgscope_tests::{require_root, run_captured, scratch_dir};
use tempfile::TempDir;

/// Two lower directories, an upper one, and what they look like together once it is mounted.
pub struct Overlay {
    directory: TempDir,
}

impl Overlay {
    pub fn make() -> Result<Self> {
        require_root();
        let overlay = Self { directory: TempDir::with_prefix_in("overlay-", scratch_dir())? };
        for name in ["lower0", "lower1", "upper", "work", "merged"] {
            fs::create_dir(overlay.path(name))?;
        }
        Ok(overlay)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A lower directory; 0 is on top.
    pub fn lower(&self, number: u32) -> PathBuf {
        self.path(&format!("lower{number}"))
    }

    pub fn merged(&self) -> PathBuf {
        self.path("merged")
    }

    /// To be called once the lower directories have what they shall have.
    pub fn mount(&self) -> Result<()> {
        let options = format!(
            "lowerdir={}:{},upperdir={},workdir={}",
            self.lower(0).display(),
            self.lower(1).display(),
            self.path("upper").display(),
            self.path("work").display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(self.merged());
        let done = run_captured(&mut mount)?;
        ensure!(done.success(), "mount: {done:?}");
        Ok(())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Not mounted is as well.
        let _ = Command::new("umount").arg(self.merged()).output();
    }
}
