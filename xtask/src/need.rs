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
    /// A command that distributions also ship as `NAME-VERSION`.
    CommandOfAnyVersion(&'static str),
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
            Present::CommandOfAnyVersion(name) => has_any_version(name),
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

/// What building the dashboard needs.
pub fn of_web() -> Vec<Need> {
    vec![
        Need::new(
            ["nodejs", "nodejs", "nodejs", "nodejs"],
            "builds the dashboard, and runs npm",
            Present::Command("node"),
        ),
        Need::new(
            ["npm", "nodejs-npm", "npm", "npm"],
            "installs what web/package-lock.json names",
            Present::Command("npm"),
        ),
    ]
}

/// What the end-to-end tests need beside the program.
pub fn of_test() -> Vec<Need> {
    use Present::{Command, CommandOfAnyVersion, File, StaticCommand};
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
            ["g++", "gcc-c++", "g++", "gcc"],
            "compiles a workload that throws exceptions",
            Command("g++"),
        ),
        Need::new(["binutils"; 4], "the second opinion on unwind information", Command("readelf")),
        Need::new(
            ["lld"; 4],
            "lays a workload out as no other linker does",
            CommandOfAnyVersion("ld.lld"),
        ),
        Need::new(["python3"; 4], "a workload: an interpreter", Command("python3")),
        Need::new(
            ["openjdk-17-jdk-headless", "java-17-openjdk-devel", "openjdk17-jdk", "jdk17-openjdk"],
            "a workload: a program in Java, compiled as it runs",
            Command("jcmd"),
        ),
        Need::new(["perl"; 4], "a workload: another one", Command("perl")),
        Need::new(["openssl"; 4], "a workload: hand-written assembly", Command("openssl")),
        Need::new(["xz-utils", "xz", "xz", "xz"], "a workload: a compressor", Command("xz")),
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
        Need::new(["prometheus"; 4], "takes what is pushed", Command("prometheus")),
        Need::new(
            ["victoria-metrics", "victoriametrics", "victoria-metrics", "victoriametrics"],
            "takes it as well",
            Command("victoria-metrics"),
        ),
        Need::new(["chromium"; 4], "shows the dashboard as its users see it", Command("chromium")),
    ]
}

/// What benchmarks need beside that.
pub fn of_bench() -> Vec<Need> {
    use Present::Command;
    vec![
        Need::new(["bpftrace"; 4], "a peer that measures nearly anything", Command("bpftrace")),
        Need::new(
            ["nginx-light", "nginx", "nginx", "nginx"],
            "a load: a server of web pages",
            Command("nginx"),
        ),
        Need::new(["wrk"; 4], "asks it for pages", Command("wrk")),
    ]
}

/// What other kernels need to be booted.
pub fn of_vm() -> Vec<Need> {
    vec![Need::new(
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86_64", "qemu-system-x86"],
        "boots them",
        Present::Command("qemu-system-x86_64"),
    )]
}

/// Whether PATH has the command, or one of its versions.
fn has_any_version(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_one = |file: &str| {
        let rest = file.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    std::env::split_paths(&path)
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(is_one))
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
