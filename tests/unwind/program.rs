//! Programs of this area: compiled without frame pointers in each layout that linkers make, and run on the host.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use cgscope_tests::workspace_root;
use tempfile::TempDir;

/// An executable or a library, in a directory of its own.
pub struct Program {
    _directory: TempDir,
    /// Where it is.
    pub path: PathBuf,
}

impl Program {
    /// Compiles `programs/NAME.c` with -O2, no frame pointers and these flags.
    pub fn compile(name: &str, flags: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(name);
        let source = workspace_root().join("tests/unwind/programs").join(format!("{name}.c"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=gnu17", "-O2", "-g1", "-fomit-frame-pointer", "-Wall", "-Werror"]);
        if flags.contains(&"-fuse-ld=lld") {
            // gcc looks for the plain name; distributions ship it with its version.
            symlink(lld()?, directory.path().join("ld.lld"))?;
            gcc.arg("-B").arg(directory.path());
        }
        let done = gcc.args(flags).arg(source).arg("-o").arg(&path).args(["-ldl"]).output()?;
        ensure!(done.status.success(), "gcc {flags:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(Self { _directory: directory, path })
    }

    /// Compiles `programs/NAME.cpp` with -O2 and exceptions, no frame pointers.
    pub fn compile_cpp(name: &str) -> Result<Self> {
        let mut compiler = Command::new("g++");
        compiler.args(["-std=c++17", "-O2", "-g1", "-fomit-frame-pointer", "-Wall", "-Werror"]);
        Self::made_by(compiler, name, "cpp")
    }

    /// Compiles `programs/NAME.rs` as a release build is.
    pub fn compile_rust(name: &str) -> Result<Self> {
        let mut compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        compiler.args(["--edition=2024", "-Copt-level=3", "-Cdebuginfo=1"]);
        compiler.arg("-Cforce-frame-pointers=no");
        Self::made_by(compiler, name, "rs")
    }

    fn made_by(mut compiler: Command, name: &str, ending: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(name);
        let source = workspace_root().join(format!("tests/unwind/programs/{name}.{ending}"));
        let done = compiler.arg(source).arg("-o").arg(&path).output()?;
        ensure!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(Self { _directory: directory, path })
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(Command::new(&self.path).args(arguments))
    }
}

/// lld, whatever its version.
fn lld() -> Result<PathBuf> {
    let is_lld = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "ld.lld" || name.starts_with("ld.lld-")
    };
    let mut found: Vec<_> =
        fs::read_dir("/usr/bin")?.flatten().map(|entry| entry.path()).filter(is_lld).collect();
    found.sort();
    found.pop().context("no lld: apt install lld")
}

/// A process that ends with the handle.
pub struct Running(Child);

impl Running {
    /// Starts it without input and output.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = Path::new(command.get_program()).display().to_string();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {name}"))?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
