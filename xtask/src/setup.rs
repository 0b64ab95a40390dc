//! `cargo xtask setup`: brings what is missing, and does nothing when nothing is.
//!
//! Debian's packages are installed; for other distributions their names are printed. What no
//! distribution has, bpf-linker, is built once into the user's cache. No package source is added.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::need::{self, Need};
use crate::toolchain::{self, Core, Toolchain};
use crate::{command, linker};

/// Which needs to meet.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only what building needs, not what the end-to-end tests need
    #[arg(long)]
    build_only: bool,
}

/// Meets the needs of building and, unless told otherwise, of testing.
pub fn run(arguments: &Arguments) -> Result<()> {
    let toolchain = for_build()?;
    for_web()?;
    if !arguments.build_only {
        for_checks()?;
        for_test()?;
    }
    let core = match toolchain.core {
        Core::Prebuilt => "its prebuilt core",
        Core::FromSource => "core from its source",
    };
    println!(
        "ready: the kernel half is built by {} with {core}, linked by {}",
        toolchain.rustc.display(),
        linker::path(toolchain.llvm_major)?.display()
    );
    Ok(())
}

/// Meets the needs of building and returns the compiler of the kernel half.
pub fn for_build() -> Result<Toolchain> {
    meet(|| Ok(need::of_build(toolchain::find()?.as_ref())))?;
    let toolchain = toolchain::find()?.with_context(|| {
        format!(
            "no compiler for the kernel half: `rustup component add rust-src` and install its \
             LLVM's development package, or name a rustc in {}",
            toolchain::NAMED_BY
        )
    })?;
    if !linker::is_built(toolchain.llvm_major) {
        println!("building bpf-linker, once for this machine: it links the kernel half");
        linker::build(toolchain.llvm_major)?;
    }
    Ok(toolchain)
}

/// Meets the needs of building the dashboard.
pub fn for_web() -> Result<()> {
    meet(|| Ok(need::of_web()))
}

/// Checks that cargo can format and lint.
pub fn for_checks() -> Result<()> {
    let cargo =
        std::env::var_os("CARGO").map_or_else(|| command::find("cargo"), |c| Some(c.into()));
    let Some(directory) = cargo.as_deref().and_then(|cargo| cargo.parent()) else {
        bail!("cargo is not in PATH");
    };
    let missing: Vec<&str> = ["cargo-clippy", "cargo-fmt", "rustfmt"]
        .into_iter()
        .filter(|program| !directory.join(program).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} not beside {}: run `rustup component add clippy rustfmt`, or install your \
             distribution's packages of them (Debian: rust-web-clippy rustfmt-web)",
            missing.join(", "),
            directory.join("cargo").display()
        );
    }
    Ok(())
}

/// Meets the needs of the end-to-end tests.
pub fn for_test() -> Result<()> {
    meet(|| Ok(need::of_test()))
}

/// Meets the needs of the benchmarks: those of the tests, whose harness and peers they share, and a few more.
pub fn for_bench() -> Result<()> {
    for_test()?;
    meet(|| Ok(need::of_bench()))
}

/// Meets the needs of guests with other kernels, which run the end-to-end tests.
pub fn for_vm() -> Result<()> {
    for_test()?;
    meet(|| Ok(need::of_vm()))
}

/// Installs until every need is met.
fn meet(needs: impl Fn() -> Result<Vec<Need>>) -> Result<()> {
    // Twice, because only an installed compiler can tell which LLVM it wants.
    for _ in 0..2 {
        if !install(&needs()?)? {
            return Ok(());
        }
    }
    match needs()?.iter().find(|need| !need.is_met()) {
        Some(need) => bail!(
            "{} ({}) is still not found, though its package is installed: is it in PATH?",
            Manager::of_this_machine().packages(need),
            need.why
        ),
        None => Ok(()),
    }
}

/// Installs the packages of those `needs` that are not met; whether there were any.
fn install(needs: &[Need]) -> Result<bool> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let manager = Manager::of_this_machine();
    println!("missing on this machine:");
    for need in &missing {
        println!("  {:<44} {}", manager.packages(need), need.why);
    }
    let packages = package_list(missing.iter().map(|need| manager.packages(need)));
    let by_hand = format!("{} {}", manager.install_line(), packages.join(" "));
    if manager != Manager::Apt {
        bail!("install them by hand, then try again: {by_hand}");
    }
    if !command::is_root() {
        bail!("installing needs root; run this, then try again: {by_hand}");
    }
    command::run(Command::new("apt-get").arg("update")).context("is the network reachable?")?;
    command::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Rather fail than remove a container engine from elsewhere that conflicts with runc.
            .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
            .args(&packages),
    )
    .with_context(|| {
        format!(
            "apt-get's own words are above. By hand: {by_hand}. A compiler from elsewhere will do \
             as well: `rustup component add rust-src`, or name a rustc in {}",
            toolchain::NAMED_BY
        )
    })?;
    Ok(true)
}

/// Each package once, in the order they were asked for.
fn package_list<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut packages = Vec::new();
    for package in names.flat_map(str::split_whitespace) {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

/// The package manager whose names are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Unknown,
}

impl Manager {
    fn of_this_machine() -> Self {
        [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("apk", Self::Apk), ("pacman", Self::Pacman)]
            .into_iter()
            .find(|(program, _)| command::find(program).is_some())
            .map_or(Self::Unknown, |(_, manager)| manager)
    }

    fn packages(self, need: &Need) -> &str {
        match self {
            // Debian's names are the best known.
            Self::Apt | Self::Unknown => &need.apt,
            Self::Dnf => &need.dnf,
            Self::Apk => &need.apk,
            Self::Pacman => &need.pacman,
        }
    }

    fn install_line(self) -> &'static str {
        match self {
            Self::Apt => "sudo apt-get install --no-install-recommends",
            Self::Dnf => "sudo dnf install",
            Self::Apk => "sudo apk add",
            Self::Pacman => "sudo pacman -S --needed",
            Self::Unknown => "what your distribution calls",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_wanted_twice_is_installed_once() {
        let list = package_list(["gcc libc6-dev", "runc", "gcc"].into_iter());
        assert_eq!(list, ["gcc", "libc6-dev", "runc"]);
    }
}
