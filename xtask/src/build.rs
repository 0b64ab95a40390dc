//! `cargo xtask build`: the kernel half with a compiler that makes eBPF, the dashboard with Node, then the user half, whose
//! `build.rs` embeds both.

use std::env;

use anyhow::{Context, Result};

use crate::toolchain::{Core, Toolchain};
use crate::{command, linker, setup, web, workspace};

/// Which half to build.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only the kernel half
    #[arg(long)]
    kernel_only: bool,
    /// Leave the dashboard as it is, also if it is not there: the page then says so
    #[arg(long)]
    no_web: bool,
}

/// Builds what is asked for and prints where it is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let toolchain = setup::for_build()?;
    kernel_half(&toolchain)?;
    println!("kernel half: {}", workspace::ebpf_object().display());
    if !arguments.kernel_only {
        if !arguments.no_web {
            setup::for_web()?;
            web::build()?;
        }
        user_half()?;
        println!("program: {}", workspace::binary().display());
    }
    Ok(())
}

/// Both halves, whatever is missing for them first.
pub fn all() -> Result<()> {
    kernel_half(&setup::for_build()?)?;
    setup::for_web()?;
    web::build()?;
    user_half()
}

/// Compiles `monitor-ebpf`; warnings are errors, because clippy does not see this half.
fn kernel_half(toolchain: &Toolchain) -> Result<()> {
    let flags = format!(
        "-C link-arg=--btf -C debuginfo=2 --cfg=bpf_target_arch=\"{}\" -D warnings",
        env::consts::ARCH
    );
    let mut cargo = command::foreign_cargo(toolchain.cargo.as_os_str());
    cargo
        .env("RUSTC", &toolchain.rustc)
        // aya-ebpf uses features of the compiler that are not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker::path(toolchain.llvm_major)?)
        .env("RUSTFLAGS", flags)
        .args(["build", "--package", "monitor-ebpf", "--release"])
        .args(["--target", workspace::EBPF_TARGET, "--target-dir"])
        .arg(workspace::ebpf_target());
    if toolchain.core == Core::FromSource {
        cargo.args(["-Z", "build-std=core"]);
    }
    command::run(&mut cargo).context("the kernel half was not built")
}

fn user_half() -> Result<()> {
    command::run(command::cargo().args(["build", "--release", "--package", "cgscope"]))
        .context("the user half was not built")
}
