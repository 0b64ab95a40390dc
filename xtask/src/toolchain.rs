//! The compiler of the kernel half: one that makes eBPF code and has a `core` for it.
//!
//! Found in this order: the one `CGSCOPE_EBPF_RUSTC` names; a rustup toolchain with its source
//! (`core` is then built from it) whose LLVM is on this machine, because the linker has to match
//! it; `/usr/bin/rustc`, for which Debian has a prebuilt `core`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, linker, workspace};

/// Names a compiler, which then has to work: there is no falling back to another.
pub const NAMED_BY: &str = "CGSCOPE_EBPF_RUSTC";

/// A compiler that can build the kernel half, and its cargo.
pub struct Toolchain {
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    pub core: Core,
    /// The linker has to be built against the same major version.
    pub llvm_major: u32,
}

/// Where the library `core` for the eBPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// A part of the toolchain.
    Prebuilt,
    /// Built beside the program, from the source in the toolchain.
    FromSource,
}

/// The first toolchain that will do, or `None` when a package has to be installed first.
///
/// # Errors
/// When the compiler that `CGSCOPE_EBPF_RUSTC` names will not do.
pub fn find() -> Result<Option<Toolchain>> {
    if let Some(named) = env::var_os(NAMED_BY) {
        return inspect(Path::new(&named)).map(Some).with_context(|| {
            format!("{NAMED_BY}={} cannot build the kernel half", named.display())
        });
    }
    let of_rustup = rustup_toolchains()
        .iter()
        .filter_map(|toolchain| inspect(&toolchain.join("bin/rustc")).ok())
        .find(|toolchain| linker::is_possible(toolchain.llvm_major));
    Ok(of_rustup.or_else(|| inspect(Path::new("/usr/bin/rustc")).ok()))
}

/// The rustup toolchains of this user, the active one first. A look at the directory is enough
/// and, unlike asking rustup, never downloads one.
fn rustup_toolchains() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let Some(entries) = home.and_then(|home| home.join("toolchains").read_dir().ok()) else {
        return Vec::new();
    };
    let active = env::var_os("RUSTUP_TOOLCHAIN");
    let mut toolchains: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    toolchains.sort_by_key(|path| (path.file_name() != active.as_deref(), path.clone()));
    toolchains
}

/// What `rustc` is, if it can build the kernel half.
fn inspect(rustc: &Path) -> Result<Toolchain> {
    let cargo = rustc.with_file_name("cargo");
    if !cargo.is_file() {
        bail!("there is no cargo beside it ({})", cargo.display());
    }
    let sysroot = command::output(Command::new(rustc).args(["--print", "sysroot"]))
        .with_context(|| format!("`{} --print sysroot` does not work", rustc.display()))?;
    let core = core_in(Path::new(&sysroot)).with_context(|| {
        format!(
            "{sysroot}/lib/rustlib has neither {} nor src/rust/library/core: install its source \
             (`rustup component add rust-src`, or Debian's libstd-rust-web-dev-bpf)",
            workspace::EBPF_TARGET
        )
    })?;
    let version = command::output(Command::new(rustc).arg("-vV"))
        .with_context(|| format!("`{} -vV` does not work", rustc.display()))?;
    let llvm_major = llvm_major(&version)
        .with_context(|| format!("`{} -vV` names no LLVM version", rustc.display()))?;
    Ok(Toolchain { rustc: rustc.to_owned(), cargo, core, llvm_major })
}

fn core_in(sysroot: &Path) -> Option<Core> {
    let libraries = sysroot.join("lib/rustlib");
    if libraries.join(workspace::EBPF_TARGET).is_dir() {
        Some(Core::Prebuilt)
    } else {
        libraries.join("src/rust/library/core").is_dir().then_some(Core::FromSource)
    }
}

/// The major LLVM version in the output of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_of_a_compiler() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8"), Some(22));
        assert_eq!(llvm_major("release: 1.96.0"), None);
    }

    #[test]
    fn a_prebuilt_core_is_preferred_to_its_source() {
        let sysroot = env::temp_dir().join(format!("cgscope-xtask-{}", std::process::id()));
        let create = |path: &str| std::fs::create_dir_all(sysroot.join("lib/rustlib").join(path));
        create("x86_64-unknown-linux-gnu").unwrap();
        assert_eq!(core_in(&sysroot), None);
        create("src/rust/library/core").unwrap();
        assert_eq!(core_in(&sysroot), Some(Core::FromSource));
        create(workspace::EBPF_TARGET).unwrap();
        assert_eq!(core_in(&sysroot), Some(Core::Prebuilt));
        std::fs::remove_dir_all(&sysroot).unwrap();
    }
}
