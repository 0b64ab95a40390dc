//! A disk of our own: a loop device over a file, with a mounted file system; gone with the handle.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::run_captured;
use crate::paths::scratch_dir;
use crate::require_root;

const DISK_BYTES: u64 = 64 << 20;

/// A mounted disk. Dropping it unmounts it and removes all.
pub struct Disk {
    device: PathBuf,
    directory: TempDir,
}

/// Operations and bytes that the kernel counted, from `/sys/block/NAME/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Reads that ended.
    pub reads: u64,
    /// Bytes of them.
    pub read_bytes: u64,
    /// Writes that ended.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
}

impl Disk {
    /// Makes and mounts one.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn make() -> Result<Self> {
        Self::make_in(&scratch_dir(), DISK_BYTES)
    }

    /// One of `bytes` whose image is in a directory: that of another disk, which can hold it up with [`Self::freeze`].
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_in(parent: &Path, bytes: u64) -> Result<Self> {
        require_root();
        let directory = TempDir::with_prefix_in("disk-", parent)?;
        let image = directory.path().join("image");
        fs::File::create(&image)?.set_len(bytes)?;
        let shown = run(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        let disk = Self { device: PathBuf::from(shown.trim()), directory };
        // No journal, and all tables written now: nothing writes by itself afterwards. With blocks of 4 KiB a file of 16 MiB is
        // one extent inside its inode, so no metadata is read while it is open; with the default for a small disk, 1 KiB,
        // it is several, and their block was read again when memory was short.
        let quiet = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-b", "4096", "-O", "^has_journal", "-E", quiet])
            .arg(&disk.device))?;
        fs::create_dir(disk.mount())?;
        run(Command::new("mount").args(["-o", "noatime"]).arg(&disk.device).arg(disk.mount()))?;
        Ok(disk)
    }

    /// The value of the label `device`.
    pub fn name(&self) -> &str {
        self.device.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Where it is mounted.
    pub fn mount(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    /// Writes a file of `bytes`, a multiple of a MiB, that is on the disk, blocks and all, when this returns; and not in the page
    /// cache: a direct write over a cached page that somebody holds (a kernel that reclaims ahead of need does, for moments) goes
    /// through the cache, and is charged to whom its writeback is.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn fill(&self, name: &str, bytes: usize) -> Result<PathBuf> {
        let path = self.mount().join(name);
        run(Command::new("dd")
            .args(["if=/dev/zero", "bs=1M", "oflag=direct", "status=none"])
            .arg(format!("count={}", bytes >> 20))
            .arg(format!("of={}", path.display())))?;
        self.sync()?;
        ensure!(fs::metadata(&path)?.blocks() * 512 >= bytes as u64, "{name} has holes");
        Ok(path)
    }

    /// Writes back what is dirty on this disk, and on no other.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn sync(&self) -> Result<()> {
        run(Command::new("sync").arg("--file-system").arg(self.mount())).map(drop)
    }

    /// Lets nothing more be written to this disk until the handle is dropped: who writes waits.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn freeze(&self) -> Result<Frozen> {
        run(Command::new("fsfreeze").arg("--freeze").arg(self.mount()))?;
        Ok(Frozen { mount: self.mount() })
    }

    /// The first sector of a file of one extent, of 512 bytes from the beginning of the disk.
    ///
    /// # Errors
    /// When a command refuses, or the file is in pieces.
    pub fn first_sector(&self, file: &Path) -> Result<u64> {
        // `   0:        0..    4095:       2048..      6143:   4096:             last,eof`, in blocks.
        let said = run(Command::new("filefrag").args(["-v", "-b512"]).arg(file))?;
        let mut extents = said.lines().filter(|line| line.trim_start().starts_with("0:"));
        let one = said.contains(": 1 extent found");
        let first = extents.next().and_then(|line| line.split(':').nth(2)?.split("..").next());
        let first = first.filter(|_| one).with_context(|| said.clone())?;
        Ok(first.trim().parse()?)
    }

    /// No request carries more.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn largest_request_bytes(&self) -> Result<u64> {
        let path = format!("/sys/block/{}/queue/max_sectors_kb", self.name());
        Ok(fs::read_to_string(path)?.trim().parse::<u64>()? << 10)
    }

    /// The kernel's own count.
    ///
    /// # Errors
    /// When a command or the file system refuses.
    pub fn statistics(&self) -> Result<Statistics> {
        let path = format!("/sys/block/{}/stat", self.name());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let fields: Vec<u64> = text.split_whitespace().map_while(|f| f.parse().ok()).collect();
        ensure!(fields.len() >= 7, "{path}: {text}");
        Ok(Statistics {
            reads: fields[0],
            read_bytes: fields[2] * 512,
            writes: fields[4],
            written_bytes: fields[6] * 512,
        })
    }
}

impl Statistics {
    /// What was added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            read_bytes: self.read_bytes - before.read_bytes,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// A disk that is frozen as long as this lives.
pub struct Frozen {
    mount: PathBuf,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mount)) {
            eprintln!("{error:#}");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let detach = |command: &mut Command, what: &Path| {
            if let Err(error) = run(command.arg(what)) {
                eprintln!("{error:#}");
            }
        };
        if self.mount().exists() {
            detach(&mut Command::new("umount"), &self.mount());
        }
        detach(Command::new("losetup").arg("--detach"), &self.device);
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = run_captured(command)?;
    ensure!(output.success(), "{command:?}: {}", output.stderr);
    Ok(output.stdout)
}
