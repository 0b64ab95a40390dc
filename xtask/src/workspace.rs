//! Where things are: the workspace, its target directories and what the builds leave in them.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The eBPF target the kernel half is compiled for.
pub const EBPF_TARGET: &str = "bpfel-unknown-none";

/// The root of the workspace.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        // What cargo says now goes first: worktrees that share a target directory share this
        // program, compiled in any of them.
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        xtask.parent().expect("xtask/ lies inside the workspace").to_owned()
    });
    &ROOT
}

/// The target directory of the user half: cargo's own choice.
fn target() -> PathBuf {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
        .iter()
        .find_map(env::var_os)
        .map_or_else(|| root().join("target"), |named| root().join(named))
}

/// The target directory of the kernel half: another compiler, so a directory of its own. It does
/// not follow `CARGO_TARGET_DIR`, because `monitor/build.rs` looks for the object here.
pub fn ebpf_target() -> PathBuf {
    root().join("target/ebpf")
}

/// The built kernel half.
pub fn ebpf_object() -> PathBuf {
    ebpf_target().join(EBPF_TARGET).join("release/monitor-ebpf")
}

/// The built program.
pub fn binary() -> PathBuf {
    target().join("release/cgscope")
}

/// Where what is built once a machine is kept: `$XDG_CACHE_HOME/cgscope` or `~/.cache/cgscope`.
pub fn cache() -> anyhow::Result<PathBuf> {
    env::var_os("XDG_CACHE_HOME")
        .filter(|home| Path::new(home).is_absolute())
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("cgscope"))
        .ok_or_else(|| {
            anyhow::anyhow!("there is no cache directory: set HOME or XDG_CACHE_HOME and try again")
        })
}
