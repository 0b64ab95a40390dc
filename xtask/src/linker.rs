//! bpf-linker: built once for each LLVM version, kept in the user's cache.
//!
//! It loads `libLLVM` at run time and reads the compiler's bitcode, so both must come from the
//! same major LLVM version. It needs `libLLVM.so` to link against and nothing else of LLVM: no
//! headers, no static libraries, hence neither Polly nor zlib's and zstd's development files.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

const VERSION: &str = "0.12.0";
/// What this version of bpf-linker has a feature for.
const KNOWN_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Where the linker for this LLVM version is or will be.
pub fn path(llvm_major: u32) -> Result<PathBuf> {
    Ok(directory(llvm_major)?.join("bin/bpf-linker"))
}

fn directory(llvm_major: u32) -> Result<PathBuf> {
    Ok(workspace::cache()?.join(format!("bpf-linker-{VERSION}-llvm{llvm_major}")))
}

/// Whether the linker is built and its LLVM still installed.
pub fn is_built(llvm_major: u32) -> bool {
    path(llvm_major)
        .is_ok_and(|linker| command::output(Command::new(linker).arg("--version")).is_some())
}

/// Whether a linker for this LLVM version is there or can be built without installing anything.
pub fn is_possible(llvm_major: u32) -> bool {
    is_built(llvm_major) || (KNOWN_LLVM.contains(&llvm_major) && llvm_prefix(llvm_major).is_some())
}

/// Builds the linker.
///
/// # Errors
/// When bpf-linker does not know this LLVM version, its library is missing, or the build fails.
pub fn build(llvm_major: u32) -> Result<()> {
    if !KNOWN_LLVM.contains(&llvm_major) {
        bail!(
            "bpf-linker {VERSION} knows LLVM {} to {}, the compiler of the kernel half has \
             {llvm_major}: name another compiler in {}",
            KNOWN_LLVM.start(),
            KNOWN_LLVM.end(),
            crate::toolchain::NAMED_BY
        );
    }
    let prefix = llvm_prefix(llvm_major).with_context(|| {
        format!(
            "libLLVM.so of LLVM {llvm_major} is missing: install llvm-{llvm_major}-dev (Debian), \
             llvm-devel (Fedora), llvm{llvm_major}-dev (Alpine) or llvm (Arch), or set \
             LLVM_PREFIX to the directory above its lib/"
        )
    })?;
    let mut install = command::cargo();
    install
        .env("LLVM_PREFIX", prefix)
        .args(["install", "bpf-linker", "--version", VERSION, "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm_major}"), "--root"])
        .arg(directory(llvm_major)?);
    // `cargo install` would otherwise compile with the flags meant for cgscope.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        install.env_remove(flags);
    }
    command::run(&mut install).context(
        "bpf-linker was not built; when the same command fails by hand too, see \
         https://github.com/aya-rs/bpf-linker#installation",
    )
}

/// The directory above the `lib` that holds `libLLVM.so` of this major version.
fn llvm_prefix(llvm_major: u32) -> Option<PathBuf> {
    let named = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let usual = [
        format!("/usr/lib/llvm-{llvm_major}"),
        format!("/usr/lib/llvm{llvm_major}"),
        format!("/usr/lib64/llvm{llvm_major}"),
        "/usr".to_owned(),
        "/usr/local".to_owned(),
    ];
    named
        .into_iter()
        .chain(usual.map(PathBuf::from))
        .find(|prefix| ["lib64", "lib"].iter().any(|lib| holds_llvm(&prefix.join(lib), llvm_major)))
}

/// Whether `directory` has a `libLLVM.so` that is this major version.
fn holds_llvm(directory: &Path, llvm_major: u32) -> bool {
    // The link leads to libLLVM.so.22.1 (LLVM >= 18) through whatever links the distribution adds.
    directory.join("libLLVM.so").canonicalize().is_ok_and(|library| {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix("libLLVM.so.")
            .and_then(|version| version.split('.').next())
            .is_some_and(|major| major == llvm_major.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_major_version_of_llvm_will_do() {
        let directory = env::temp_dir().join(format!("cgscope-llvm-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        assert!(!holds_llvm(&directory, 22));
        std::fs::write(directory.join("libLLVM.so.22.1"), "").unwrap();
        std::os::unix::fs::symlink("libLLVM.so.22.1", directory.join("libLLVM.so")).unwrap();
        assert!(holds_llvm(&directory, 22));
        assert!(!holds_llvm(&directory, 2));
        assert!(!holds_llvm(&directory, 21));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
