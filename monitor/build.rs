//! Tells the program where its kernel half is: `CGSCOPE_EBPF_OBJECT`, an absolute path for
//! `include_bytes_aligned!`.
//!
//! `cargo xtask build` puts the object there first. Without it `cargo check`, clippy and editors
//! still work: the path is then that of an empty file, and a program built so has no kernel half.
//! The same variable in the environment names another object.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

const OBJECT: &str = "CGSCOPE_EBPF_OBJECT";

fn main() {
    let root = variable("CARGO_MANIFEST_DIR").join("..");
    let built = root.join("target/ebpf/bpfel-unknown-none/release/monitor-ebpf");
    let object = env::var_os(OBJECT).map_or(built, PathBuf::from);
    let sources = ["monitor-ebpf/src", "monitor-common/src"].map(|source| root.join(source));

    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rerun-if-changed={}", object.display());
    for source in &sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }

    let embedded = if let Some(built) = modified(&object) {
        if sources.iter().filter_map(|source| newest(source)).any(|source| source > built) {
            println!(
                "cargo::warning=the kernel half is older than its source: run `cargo xtask build`"
            );
        }
        object.canonicalize().unwrap_or(object)
    } else {
        println!("cargo::warning=the kernel half is not built: run `cargo xtask build`");
        let empty = variable("OUT_DIR").join("no-kernel-half");
        fs::write(&empty, []).expect("OUT_DIR is writable");
        empty
    };
    println!("cargo::rustc-env={OBJECT}={}", embedded.display());
}

/// A path that cargo sets for every build script.
fn variable(name: &str) -> PathBuf {
    env::var_os(name).map(PathBuf::from).expect("cargo sets it for build scripts")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// When the newest file below `directory` was changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries.filter_map(|path| if path.is_dir() { newest(&path) } else { modified(&path) }).max()
}
