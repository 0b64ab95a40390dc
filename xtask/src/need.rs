//! What the machine must have, as data: what for, how to see that it is there, and the package
//! that brings it on each distribution.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{command, linker, toolchain::Toolchain};

/// LLVM of Debian's current `rustc-web`, assumed until that compiler is installed and can be asked.
const DEBIAN_LLVM_MAJOR: u32 = 22;

/// A thing the machine must have.
pub struct Need {
    /// Package names by manager; a name may be several packages, separated by spaces.
    pub apt: String,
    pub dnf: String,
    pub apk: String,
    pub pacman: String,
    pub why: &'static str,
    present: Present,
}

/// How to see that it is there. Files, not package databases: where it came from does not matter.
enum Present {
    Command(&'static str),
    /// A command that runs in a container without any library beside it.
    StaticCommand(&'static str),
    File(PathBuf),
    /// Looked for already, and not found.
    No,
}

impl Need {
    fn new(packages: [&str; 4], why: &'static str, present: Present) -> Self {
        let [apt, dnf, apk, pacman] = packages.map(str::to_owned);
        Self { apt, dnf, apk, pacman, why, present }
    }

    /// Whether the machine has it.
    pub fn is_met(&self) -> bool {
        match &self.present {
            Present::Command(name) => command::find(name).is_some(),
            Present::StaticCommand(name) => {
                command::find(name).is_some_and(|path| is_static(&path))
            }
            Present::File(path) => path.exists(),
            Present::No => false,
        }
    }
}

/// What building needs, given the compiler found so far.
pub fn of_build(toolchain: Option<&Toolchain>) -> Vec<Need> {
    let mut needs = vec![Need::new(
        ["gcc libc6-dev", "gcc glibc-devel", "gcc musl-dev", "gcc"],
        "cc, with which rustc links",
        Present::Command("cc"),
    )];
    if toolchain.is_none() {
        needs.push(Need::new(
            [
                "rustc-web cargo-web libstd-rust-web-dev-bpf",
                "rust cargo rust-src",
                "rust cargo rust-src",
                "rust rust-src",
            ],
            "the compiler of the kernel half, with the library core for eBPF",
            Present::No,
        ));
    }
    let llvm_major = toolchain.map_or(DEBIAN_LLVM_MAJOR, |toolchain| toolchain.llvm_major);
    if !linker::is_possible(llvm_major) {
        needs.push(Need {
            apt: format!("llvm-{llvm_major}-dev"),
            dnf: "llvm-devel".to_owned(),
            apk: format!("llvm{llvm_major}-dev"),
            pacman: "llvm".to_owned(),
            why: "libLLVM of the same version as that compiler's, for bpf-linker",
            present: Present::No,
        });
    }
    needs
}

/// What the end-to-end tests need beside the program.
pub fn of_test() -> Vec<Need> {
    use Present::{Command, File, StaticCommand};
    vec![
        Need::new(["podman"; 4], "starts the containers of the tests", Command("podman")),
        Need::new(["runc"; 4], "the runtime under podman on hybrid cgroups", Command("runc")),
        Need::new(
            ["busybox-static", "busybox", "busybox-static", "busybox"],
            "the file system of those containers",
            StaticCommand("busybox"),
        ),
        Need::new(["stress-ng"; 4], "loads of a known size", Command("stress-ng")),
        Need::new(["fio"; 4], "disk loads of a known size", Command("fio")),
        Need::new(
            ["iproute2", "iproute", "iproute2", "iproute2"],
            "network namespaces and delays",
            Command("ip"),
        ),
        Need::new(
            ["gcc", "gcc", "gcc", "gcc"],
            "compiles workloads with and without frame pointers",
            Command("gcc"),
        ),
        Need::new(
            ["libc6-dev", "glibc-devel", "musl-dev", "glibc"],
            "the C headers of those workloads",
            File("/usr/include/stdlib.h".into()),
        ),
        Need::new(
            ["bpftool", "bpftool", "bpftool", "bpf"],
            "run time of each program",
            Command("bpftool"),
        ),
        Need::new(
            ["linux-perf", "perf", "perf", "perf"],
            "the second opinion on stacks and the scheduler load",
            Command("perf"),
        ),
        Need::new(
            ["libbpf-tools", "libbpf-tools", "libbpf-tools", "libbpf-tools"],
            "the second opinion on latencies",
            Command("runqlat"),
        ),
        Need::new(["chromium"; 4], "shows the page as its users see it", Command("chromium")),
    ]
}

/// Whether an executable names no dynamic loader.
fn is_static(path: &Path) -> bool {
    // The loader's name stands right behind the program headers, within the first page.
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head)).is_ok()
        && !head.windows(4).any(|window| window == b"/ld-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_by_what_is_there() {
        let need = |present| Need::new(["x"; 4], "x", present);
        assert!(need(Present::Command("sh")).is_met());
        assert!(!need(Present::Command("no-such-command")).is_met());
        assert!(need(Present::File("/proc/self".into())).is_met());
        assert!(!need(Present::File("/no/such/file".into())).is_met());
        assert!(!need(Present::No).is_met());
    }

    #[test]
    fn this_test_is_not_a_static_program() {
        assert!(!is_static(&std::env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/no/such/file")));
    }

    #[test]
    fn without_a_compiler_one_is_asked_for() {
        assert!(of_build(None).iter().any(|need| need.apt.contains("libstd-rust-web-dev-bpf")));
    }
}
