//! What files of /proc and /sys say about the kernel.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use super::list::{Feature, KERNEL_HALF, PROFILES};
use crate::kernel::{
    btf,
    cgroupfs::{CgroupTree, v1_mount},
};

/// The oldest kernel the kernel half is made for.
const FLOOR: (u32, u32) = (5, 8);

pub(super) fn release() -> Feature {
    let path = "/proc/sys/kernel/osrelease";
    let remedy = "run a kernel >= 5.8";
    let (is_present, detail) = match read(path) {
        Ok(release) => (version(&release).map(|version| version >= FLOOR), release),
        Err(reason) => (None, reason),
    };
    Feature::seen("kernel >= 5.8", is_present, detail, remedy, &[KERNEL_HALF])
}

/// `6.18.5-rc1` to 6 and 18.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn btf() -> Feature {
    let remedy = "run a kernel with CONFIG_DEBUG_INFO_BTF, or name a BTF file of this kernel";
    let (is_present, detail) = match fs::metadata(btf::VMLINUX) {
        Ok(file) => (Some(true), format!("{}, {} bytes", btf::VMLINUX, file.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (Some(false), format!("{} is missing", btf::VMLINUX))
        }
        Err(error) => (None, format!("{}: {error}", btf::VMLINUX)),
    };
    Feature::seen("BTF", is_present, detail, remedy, &[KERNEL_HALF])
}

/// How cgroups are set up, and which hierarchy gives a thread its identity.
pub(super) fn cgroup() -> Feature {
    let remedy = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
    let (is_present, detail) = match CgroupTree::detect() {
        Ok(tree) => {
            let setup = setup(Path::new("/sys/fs/cgroup"));
            let mount = tree.mount.display();
            (
                Some(true),
                format!("{setup}; identity from {} at {mount}: {}", tree.hierarchy, tree.reason),
            )
        }
        Err(error) => (Some(false), error.to_string()),
    };
    Feature::seen("cgroups", is_present, detail, remedy, &["telling containers apart"])
}

fn setup(root: &Path) -> &'static str {
    // `cgroup.controllers` is in every directory of v2 and in none of v1.
    let is_v2_root = root.join("cgroup.controllers").exists();
    let has_v1 = ["cpu", "memory", "pids", "freezer"].iter().any(|name| v1_mount(name).is_some());
    match (is_v2_root, has_v1, root.join("unified/cgroup.controllers").exists()) {
        (true, false, _) => "v2",
        (true, true, _) => "v2 with v1 controllers elsewhere",
        (false, true, true) => "hybrid",
        (false, true, false) => "v1",
        (false, false, _) => "mounted elsewhere",
    }
}

/// Whether this process sees addresses of the kernel's functions.
pub(super) fn kernel_addresses() -> Feature {
    let restrict = read("/proc/sys/kernel/kptr_restrict").unwrap_or_else(|reason| reason);
    let remedy = "run with CAP_SYSLOG, and sysctl kernel.kptr_restrict=1 if it is 2";
    let (is_present, seen) = match head("/proc/kallsyms", 64 << 10) {
        Ok(text) if text.is_empty() => (Some(false), "/proc/kallsyms is empty".to_owned()),
        Ok(text) if text.lines().any(has_address) => {
            (Some(true), "/proc/kallsyms has addresses".to_owned())
        }
        Ok(_) => (Some(false), "/proc/kallsyms has no addresses".to_owned()),
        Err(reason) => (None, reason),
    };
    let detail = format!("{seen}; kernel.kptr_restrict = {restrict}");
    Feature::seen("kernel addresses", is_present, detail, remedy, &["names of kernel functions"])
}

/// `ffffffff81000000 T _stext`. The first per-CPU symbols are at 0 even where addresses are shown.
fn has_address(line: &str) -> bool {
    let address = line.split_once(' ').map_or("", |(address, _)| address);
    u64::from_str_radix(address, 16).is_ok_and(|address| address != 0)
}

/// A limit for others: a process with CAP_PERFMON is above it.
pub(super) fn perf_event_paranoid() -> Feature {
    let value = read("/proc/sys/kernel/perf_event_paranoid");
    let is_open = value.as_ref().ok().and_then(|value| value.parse::<i32>().ok()).map(|v| v <= 0);
    let detail = match value {
        Ok(value) => format!("kernel.perf_event_paranoid = {value}; CAP_PERFMON is above it"),
        Err(reason) => reason,
    };
    Feature::seen("perf events without privilege", is_open, detail, "", &[])
}

/// Good to know: tracing programs need privilege whatever it says.
pub(super) fn unprivileged_bpf() -> Feature {
    let value = read("/proc/sys/kernel/unprivileged_bpf_disabled");
    let is_open = value.as_ref().ok().map(|value| value == "0");
    let detail = match value {
        Ok(value) => format!("kernel.unprivileged_bpf_disabled = {value}; cgscope does not use it"),
        Err(reason) => reason,
    };
    Feature::seen("eBPF without privilege", is_open, detail, "", &[])
}

pub(super) fn jit() -> Feature {
    let value = read("/proc/sys/net/core/bpf_jit_enable");
    let is_on = value.as_ref().ok().map(|value| value != "0");
    let detail = match value {
        Ok(value) => format!("net.core.bpf_jit_enable = {value}"),
        Err(reason) => reason,
    };
    let remedy = "sysctl net.core.bpf_jit_enable=1";
    Feature::seen(
        "eBPF JIT",
        is_on,
        detail,
        remedy,
        &["low cost: the interpreter is several times slower"],
    )
}

/// Clocks that are read in nanoseconds without leaving the CPU.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen", "arch_sys_counter"];

pub(super) fn clock_source() -> Feature {
    let value = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let is_fast = value.as_ref().ok().map(|name| FAST_CLOCKS.contains(&name.as_str()));
    let remedy =
        "find out why the kernel distrusts the CPU's own clock: dmesg | grep -i clocksource";
    let detail = value.unwrap_or_else(|reason| reason);
    Feature::seen(
        "fast clock source",
        is_fast,
        detail,
        remedy,
        &["low cost: each event reads the clock", PROFILES],
    )
}

/// A file of one line, or why there is none.
pub(super) fn read(path: &str) -> Result<String, String> {
    head(path, 4096).map(|text| text.trim().to_owned())
}

/// The beginning of a file, or why there is none.
fn head(path: &str, bytes: u64) -> Result<String, String> {
    let mut text = Vec::new();
    let outcome = fs::File::open(path).and_then(|file| file.take(bytes).read_to_end(&mut text));
    outcome.map_err(|error| format!("{path}: {error}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(version("6.18.5"), Some((6, 18)));
        assert_eq!(version("5.10-rc1+"), Some((5, 10)));
        assert!(version("5.10").unwrap() > FLOOR && version("5.4.0-generic").unwrap() < FLOOR);
        assert_eq!(version("six"), None);
    }

    #[test]
    fn hidden_addresses_are_told_from_shown_ones() {
        assert!(has_address("ffffffff81000000 T _stext"));
        assert!(!has_address("0000000000000000 A fixed_percpu_data"));
        assert!(!has_address("rubbish"));
    }

    #[test]
    fn a_missing_file_is_a_reason_and_names_the_file() {
        assert!(read("/proc/nowhere").unwrap_err().contains("/proc/nowhere"));
    }

    #[test]
    fn this_kernel_runs_the_kernel_half() {
        assert_eq!(release().is_present, Some(true), "{:?}", release());
        assert_eq!(btf().is_present, Some(true), "{:?}", btf());
        assert_eq!(cgroup().is_present, Some(true), "{:?}", cgroup());
    }
}
