//! Programs of all kinds, those that distributions ship among them: interpreters, hand-written assembly, compressors.

use std::process::Command;

use anyhow::Result;

use crate::agreement::expect_agreement;
use crate::program::Program;

#[test]
fn c_laid_out_by_lld() -> Result<()> {
    let program = Program::compile("chain", &["-fPIE", "-pie", "-fuse-ld=lld"])?;
    expect_agreement("chain", &mut Command::new(&program.path))
}

#[test]
fn signals() -> Result<()> {
    let program = Program::compile("signal", &[])?;
    expect_agreement("signal", &mut Command::new(&program.path))
}

#[test]
fn cpp_with_exceptions() -> Result<()> {
    let program = Program::compile_cpp("throws")?;
    expect_agreement("throws", &mut Command::new(&program.path))
}

#[test]
fn rust_release() -> Result<()> {
    let program = Program::compile_rust("release")?;
    expect_agreement("release", &mut Command::new(&program.path))
}

#[test]
fn python() -> Result<()> {
    const SCRIPT: &str = "import re, json\n\
        def inner(n):\n  return sum(len(re.findall('a+b', 'aab' * k)) for k in range(n))\n\
        def outer(n):\n  return json.dumps([inner(k) for k in range(n)])\n\
        while True:\n  outer(20)\n  sorted(str(k) for k in range(1000))";
    // Itself, and not what stands before it on the path: perf finds no callers in a process that is replaced while it records.
    let name =
        Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    let name = String::from_utf8(name.stdout)?;
    expect_agreement("python3", Command::new(name.trim()).args(["-c", SCRIPT]))
}

#[test]
fn perl() -> Result<()> {
    const SCRIPT: &str = "sub f { my $n = shift; return $n < 2 ? $n : f($n - 1) + f($n - 2) } \
        while (1) { f(15); my $s = join ',', map { $_ * 2 } 1 .. 500; $s =~ s/(\\d+)4/$1/g; }";
    expect_agreement("perl", Command::new("perl").args(["-e", SCRIPT]))
}

#[test]
fn openssl() -> Result<()> {
    expect_agreement(
        "openssl rsa",
        Command::new("openssl").args(["speed", "-seconds", "60", "rsa2048"]),
    )?;
    // The assembly of older machines, whatever this one is: it keeps the stack pointer of its caller in ways of its own.
    expect_agreement(
        "openssl rsa, older",
        Command::new("openssl")
            .args(["speed", "-seconds", "60", "rsa2048"])
            .env("OPENSSL_ia32cap", ":0"),
    )?;
    expect_agreement(
        "openssl aes",
        Command::new("openssl").args(["speed", "-seconds", "60", "-evp", "aes-128-gcm"]),
    )
}

#[test]
fn xz() -> Result<()> {
    expect_agreement("xz", Command::new("sh").args(["-c", "exec xz -9 -c /dev/zero"]))
}
