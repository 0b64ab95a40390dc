//! Running other programs: shown before they run, named when they fail, free of the environment
//! that the outer cargo leaves behind.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs `command` in the workspace's root with this terminal.
///
/// # Errors
/// When it cannot start or reports failure; the message holds the command line.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("  $ {shown}");
    let status = command
        .current_dir(crate::workspace::root())
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The output of `command`, or `None` when it is missing or reports failure.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command line of `command` as one would type it, its own environment included.
pub fn show(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quote(&value?.to_string_lossy())))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| quote(&word.to_string_lossy()).into_owned());
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell reads it back.
fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// The cargo that started this program, for the user half.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if is_of_this_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// A cargo of another toolchain: nothing of the one that started this program reaches it.
pub fn foreign_cargo(cargo: &OsStr) -> Command {
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if is_of_this_toolchain(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// What `cargo run` tells about the package `xtask`. Build scripts of ring and others watch these
/// variables, so leaking them would rebuild the world at each change between `cargo` and `xtask`.
fn is_of_this_package(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|own| name.starts_with(own))
            || name == "CARGO_PRIMARY_PACKAGE"
    })
}

/// What chooses or steers a compiler. The places of caches, proxies and the terminal stay.
fn is_of_this_toolchain(name: &OsStr) -> bool {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
    ];
    name.to_str().is_some_and(|name| {
        name == "LD_LIBRARY_PATH"
            || (name.starts_with("CARGO") || name.starts_with("RUST"))
                && !KEPT.iter().any(|kept| name.starts_with(kept))
    })
}

/// Where `program` is: in `PATH`, or in the directories of administrators, which a user's `PATH`
/// often lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user, which spares a dependency on libc.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_cargo_keeps_caches_and_loses_flags() {
        for kept in ["CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "PATH", "HOME"] {
            assert!(!is_of_this_toolchain(OsStr::new(kept)), "{kept}");
        }
        for lost in [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "LD_LIBRARY_PATH",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(is_of_this_toolchain(OsStr::new(lost)), "{lost}");
        }
    }

    #[test]
    fn the_own_cargo_keeps_the_flags_of_the_user() {
        assert!(!is_of_this_package(OsStr::new("RUSTFLAGS")));
        assert!(is_of_this_package(OsStr::new("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("cargo");
        command.env("RUSTFLAGS", r#"-C x --cfg=y="z""#).args(["install", "it's", ""]);
        assert_eq!(show(&command), r#"RUSTFLAGS='-C x --cfg=y="z"' cargo install 'it'\''s' ''"#);
    }
}
