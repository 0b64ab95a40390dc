//! A kernel whose types cannot be had: the file is named, and what to do.

use std::fs;

use anyhow::Result;
use cgscope_tests::{cli, scratch_dir};
use tempfile::TempDir;

use crate::assert_refused;

#[test]
fn a_kernel_without_types_is_told_with_the_remedy() -> Result<()> {
    for command in ["top --once", "latency", "states", "flamegraph -o -", "containers", "doctor"] {
        let line = format!("{command} --btf /no/such/file");
        let output = cli(&line.split(' ').collect::<Vec<_>>())?;
        assert_refused(&output, 5, &["/no/such/file", "CONFIG_DEBUG_INFO_BTF", "--btf"]);
    }
    Ok(())
}

#[test]
fn the_daemon_refuses_too_and_frees_its_place() -> Result<()> {
    let directory = TempDir::with_prefix_in("types-", scratch_dir())?;
    let state = directory.path().display().to_string();
    let arguments =
        ["run", "--listen", "127.0.0.1:0", "--state-dir", &state, "--btf", "/no/such/file"];
    for _ in 0..2 {
        assert_refused(&cli(&arguments)?, 5, &["/no/such/file", "--btf"]);
    }
    Ok(())
}

#[test]
fn malformed_types_are_refused_by_name() -> Result<()> {
    let directory = TempDir::with_prefix_in("types-", scratch_dir())?;
    let kernel = fs::read("/sys/kernel/btf/vmlinux")?;
    let mut wild = kernel.clone();
    // Behind the header: the first types claim members by the million.
    wild[24..2024].fill(0xff);
    for (name, content) in [
        ("empty", &[][..]),
        ("text", b"this is no BTF at all, but long enough for its header\n"),
        ("cut", &kernel[..kernel.len() / 2]),
        ("wild", &wild),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, content)?;
        let path = path.display().to_string();
        let output = cli(&["states", "--duration", "1s", "--btf", &path])?;
        assert_refused(&output, 5, &[&path, "--btf"]);
    }
    Ok(())
}
