//! Where things are: the workspace, the scratch directory of the tests, the binary under test.

use std::path::{Path, PathBuf};

/// The directory that holds the workspace's `Cargo.toml`.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// `target/tests`, made if it is missing: compiled fixtures, the root file system, logs.
pub fn scratch_dir() -> PathBuf {
    let dir = workspace_root().join("target/tests");
    std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    dir
}

/// The program under test: `CGSCOPE_BIN`, else `target/release/cgscope`.
///
/// # Panics
/// When there is no such file, with what to run.
pub fn cgscope_binary() -> PathBuf {
    let path = std::env::var_os("CGSCOPE_BIN")
        .map_or_else(|| workspace_root().join("target/release/cgscope"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build --release` or point CGSCOPE_BIN at it",
        path.display()
    );
    path
}
