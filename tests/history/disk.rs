//! A disk that is full or read-only: measuring goes on, the state is told, what is stored stays, and writing is taken up again.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{run_captured, scratch_dir};
use tempfile::TempDir;

use crate::common::{daemon, doctor, own, total, wait_writing, wait_written};

const SWITCHES: &str = "cgscope_host_context_switches_total";

/// A file system of 20 MB of its own.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self> {
        let disk = Self { directory: TempDir::with_prefix_in("disk-", scratch_dir())? };
        mount(&["-t", "tmpfs", "-o", "size=20m", "cgscope-test"], disk.path())?;
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn remount(&self, how: &str) -> Result<()> {
        mount(&["-o", &format!("remount,{how}")], self.path())
    }

    /// Leaves no byte free.
    fn fill(&self) -> Result<()> {
        use std::io::Write;
        let mut file = fs::File::create(self.path().join("filler"))?;
        let block = vec![7u8; 1 << 16];
        for size in [1 << 16, 4096, 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon that failed to end may still hold a file.
        let _ = run_captured(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn mount(options: &[&str], path: &Path) -> Result<()> {
    let done = run_captured(Command::new("mount").args(options).arg(path))?;
    ensure!(done.status == Some(0), "mount {options:?}: {}", done.stderr);
    Ok(())
}

/// The kernel's words or SQLite's, whichever file met the end first.
fn says_full(detail: &str) -> bool {
    detail.contains("No space left") || detail.contains("disk is full")
}

fn events(daemon: &cgscope_tests::Daemon) -> Result<f64> {
    let answer =
        daemon.get(&format!("/api/v1/query?metric={SWITCHES}&fn=count&start=-10m&step=all&by="))?;
    answer["series"][0]["values"][0].as_f64().context("no history")
}

#[test]
fn full() -> Result<()> {
    let disk = SmallDisk::mount()?;
    let mut first = daemon(disk.path())?;
    wait_written(&first, 300.0)?;
    let before = events(&first)?;
    disk.fill()?;
    wait_writing(&first, false)?;
    let check = doctor(&first)?;
    assert_eq!(check["status"], "degraded", "{check}");
    assert!(check["detail"].as_str().is_some_and(says_full), "{check}");
    assert!(check["remedy"].as_str().is_some_and(|r| r.contains("room")), "{check}");
    // It goes on in memory, and what was stored is still there.
    first.next_tick()?;
    first.next_tick()?;
    assert!(events(&first)? >= before + 1.0);
    fs::remove_file(disk.path().join("filler"))?;
    wait_writing(&first, true)?;
    let lost = own(&first, "cgscope_own_history_dropped_total", &[])?;
    assert_eq!(lost, 0.0, "memory held what the disk could not");
    let at_end = events(&first)?;
    first.kill9()?;
    let second = daemon(disk.path())?;
    let after = events(&second)?;
    assert!(after >= at_end, "{at_end} ticks before the kill, {after} after it");
    Ok(())
}

#[test]
fn read_only() -> Result<()> {
    let disk = SmallDisk::mount()?;
    let mut first = daemon(disk.path())?;
    wait_written(&first, 300.0)?;
    let before = events(&first)?;
    first.kill9()?;
    disk.remount("ro")?;
    let second = daemon(disk.path())?;
    wait_writing(&second, false)?;
    assert!(doctor(&second)?["detail"].as_str().is_some_and(|d| d.contains("Read-only")));
    assert!(events(&second)? >= before, "what is stored can be read");
    disk.remount("rw")?;
    wait_writing(&second, true)?;
    assert!(events(&second)? >= before);
    assert!(total(&second, SWITCHES, "", "increase")?.is_some_and(|n| n > 0.0));
    Ok(())
}
