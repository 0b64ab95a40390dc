//! Programs for the tests of this stage: compiled on the spot, run, and asked for their addresses.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::{Frame, RawStack, Symbols};
use crate::kernel::ids::Tgid;

/// Three functions that call each other, then a wait for the end of standard input.
pub const THREE_C: &str = r#"
#include <stdio.h>
#include <unistd.h>
__attribute__((noinline)) int inner(int x) { char c; return (int)read(0, &c, 1) + x; }
__attribute__((noinline)) int middle(int x) { return inner(x + 1) + 1; }
__attribute__((noinline)) int outer(int x) { return middle(x + 1) + 1; }
int main(void) { printf("ready\n"); fflush(stdout); return outer(1); }
"#;

pub struct Built {
    _directory: TempDir,
    pub path: PathBuf,
}

/// Compiles `source` with `compiler` (gcc or g++).
pub fn compile(compiler: &str, source: &str, flags: &[&str]) -> Built {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(if compiler == "g++" { "a.cc" } else { "a.c" });
    std::fs::write(&file, source).unwrap();
    let path = directory.path().join("fixture");
    let done = Command::new(compiler)
        .args(["-fno-omit-frame-pointer", "-Wl,--build-id"])
        .args(flags)
        .arg("-o")
        .args([&path, &file])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Built { _directory: directory, path }
}

pub fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A running fixture; killed when dropped.
pub struct Running {
    pub child: Child,
    /// The first line it printed.
    pub said: String,
    /// Kept, since a program that prints more would die of the closed pipe.
    _output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(path: &Path) -> Self {
        Self::spawn(&mut Command::new(path))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        Self { child, said: said.trim().to_owned(), _output: output }
    }

    pub fn tgid(&self) -> Tgid {
        Tgid(self.child.id())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where the linker's address 0 is in the process.
    pub fn base(&self, path: &Path) -> u64 {
        base(self.tgid().0, path)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The address of the first mapping of a file in a process.
pub fn base(pid: u32, path: &Path) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let path = path.to_str().unwrap();
    let line = maps.lines().find(|line| line.ends_with(path)).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

/// Address and size of a symbol, by `nm`.
pub fn symbol(path: &Path, flags: &[&str], name: &str) -> (u64, u64) {
    let done = Command::new("nm").arg("-S").args(flags).arg(path).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let found = text.lines().map(fields).find(|f| f.last().is_some_and(|n| n == name));
    let found = found.unwrap_or_else(|| panic!("no {name} in {text}"));
    let hex = |field: &str| u64::from_str_radix(field, 16).unwrap();
    (hex(&found[0]), hex(&found[1]))
}

/// One user stack, innermost first, resolved to frames, root first.
pub fn resolve_user(symbols: &Symbols, tgid: Tgid, user: Vec<u64>) -> Vec<Frame> {
    symbols
        .resolve_blocking(vec![RawStack {
            program: crate::symbol::Program::LATEST,
            tgid,
            kernel: vec![],
            user,
            end: crate::symbol::WalkEnd::Complete,
        }])
        .remove(0)
}

/// Waits until the process that was observed is known.
pub fn wait_known(symbols: &Symbols, processes: u64) {
    for _ in 0..500 {
        if symbols.stats().processes >= processes {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", symbols.stats());
}

/// A file mapped executable into our own memory.
pub struct Mapped {
    pub start: u64,
    pub file: std::fs::File,
    size_bytes: usize,
    _directory: Option<TempDir>,
}

impl Mapped {
    /// A new file of the given content.
    pub fn new(content: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("library.so");
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        Self::map(file, Some(directory))
    }

    /// A file that is there.
    pub fn open(path: &Path) -> Self {
        Self::map(std::fs::File::open(path).unwrap(), None)
    }

    fn map(file: std::fs::File, directory: Option<TempDir>) -> Self {
        let size_bytes = (file.metadata().unwrap().len() as usize).max(1);
        // SAFETY: a new private mapping, which nobody runs or reads.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_bytes,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: start as u64, file, size_bytes, _directory: directory }
    }

    /// Kind and name at each offset in the file, in the order of the offsets.
    pub fn resolve(&self, symbols: &Symbols, offsets: &[u64]) -> Vec<String> {
        let user = offsets.iter().map(|offset| self.start + offset).collect();
        let mut names = all_shown(&resolve_user(symbols, Tgid(std::process::id()), user));
        names.reverse();
        names
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, to which nothing points.
        unsafe { libc::munmap(self.start as *mut libc::c_void, self.size_bytes) };
    }
}

/// Offsets in the file of up to `limit` functions, spread over the whole file.
pub fn function_offsets(path: &Path, limit: usize) -> Vec<u64> {
    let mut addresses = std::collections::BTreeSet::new();
    for flags in [&[][..], &["-D"][..]] {
        let done = Command::new("nm").args(flags).arg(path).output().unwrap();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let mut fields = line.split(' ');
            let address = fields.next().and_then(|f| u64::from_str_radix(f, 16).ok());
            if let (Some(address), Some("t" | "T" | "W" | "w")) = (address, fields.next()) {
                addresses.insert(address);
            }
        }
    }
    let file = std::fs::File::open(path).unwrap();
    let shape = super::elf::Shape::read(&file).unwrap();
    let offsets: Vec<u64> = addresses.into_iter().filter_map(|a| shape.file_offset(a)).collect();
    let step = (offsets.len() / limit).max(1);
    offsets.into_iter().step_by(step).take(limit).collect()
}

pub fn is_unresolved(frame: &Frame) -> bool {
    matches!(frame, Frame::Unresolved { .. })
}

/// What a frame is called, with its kind.
pub fn shown(frame: &Frame) -> String {
    match frame {
        Frame::Kernel { name } => format!("kernel {name}"),
        Frame::User { name, .. } => format!("user {name}"),
        Frame::Inlined { name, .. } => format!("inlined {name}"),
        Frame::Missing { end } => format!("missing {}", end.label()),
        Frame::Unresolved { reason, .. } => format!("unresolved {reason}"),
    }
}

pub fn all_shown(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(shown).collect()
}
