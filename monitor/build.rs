//! Tells the program where its kernel half is: `CGSCOPE_EBPF_OBJECT`, an absolute path for
//! `include_bytes_aligned!`; and makes a table of the files of the dashboard, `web_assets.rs`.
//!
//! `cargo xtask build` puts the object there first. Without it `cargo check`, clippy and editors
//! still work: the path is then that of an empty file, and a program built so has no kernel half.
//! The same variable in the environment names another object. The dashboard likewise: built files
//! lie in `target/web`, gzipped, and without them the table is empty.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

const OBJECT: &str = "CGSCOPE_EBPF_OBJECT";
/// What the build of the dashboard leaves beside each of its files.
const GZIPPED: &str = "gz";

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
    embed_web(&root.join("target/web"));
}

/// Writes `WEB_ASSETS`: paths and gzipped contents.
fn embed_web(built: &Path) {
    // What is missing would be looked for, and the program compiled, at each build anew. That it cannot be made is no matter.
    let _ = fs::create_dir_all(built);
    println!("cargo::rerun-if-changed={}", built.display());
    let mut rows = String::new();
    for folder in [built.to_owned(), built.join("assets")] {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == GZIPPED)) {
            let name = file.strip_prefix(built).expect("it lies there").with_extension("");
            let file = file.canonicalize().unwrap_or_else(|_| file.clone());
            writeln!(rows, "    ({:?}, include_bytes!({file:?})),", format!("/{}", name.display()))
                .expect("writing to a String");
        }
    }
    if rows.is_empty() {
        println!("cargo::warning=the dashboard is not built: run `cargo xtask build`");
    }
    let table = format!(
        "/// Files of the dashboard, gzipped, by the path they are served under.\n\
         pub static WEB_ASSETS: &[(&str, &[u8])] = &[\n{rows}];\n"
    );
    fs::write(variable("OUT_DIR").join("web_assets.rs"), table).expect("OUT_DIR is writable");
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
