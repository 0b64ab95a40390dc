//! A guest that boots a kernel on this machine's own files: qemu, an initramfs, a disk for what is written.
//!
//! Contract: the host's files are read only to the guest; results come back in a directory. A guest that does not end in time is
//! ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::archive::Kernel;
use crate::command;

const INIT: &str = include_str!("init.sh");
const GUEST: &str = include_str!("guest.sh");
/// Needed before the host's files are there; the others come from those.
const MODULES: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    "ext4",
    "crc32c_generic",
    "crc32c-intel",
    "overlay",
];
const DISK_BYTES: u64 = 8 << 30;
/// A kernel that runs on the processor itself has begun its first program long before.
const KVM_PATIENCE: Duration = Duration::from_secs(20);

/// A CPU that does not come back is shown with the stacks of all, and ends the guest.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 tsc=reliable clocksource=tsc watchdog_thresh=30 \
                            softlockup_panic=1 softlockup_all_cpu_backtrace=1";
/// The most one test may take on the processor itself: emulated, with ten times that, the slowest of `kernel` took 54 s.
const ONE_TEST: Duration = Duration::from_secs(60);

/// What executes the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// Translation: slower by some ten times.
    Tcg,
}

impl Accelerator {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host,arch-capabilities=off"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// What the guest is to run.
pub struct Work<'a> {
    /// The program under test.
    pub program: &'a Path,
    /// Test programs, one after the other.
    pub tests: &'a [PathBuf],
    /// The most one of them may take.
    pub test_time: Duration,
}

/// Boots `kernel` and lets it work. `place` has what it left: `doctor.json`, `tests`, `log`, `console`.
///
/// # Errors
/// When it cannot be started, or does not begin or end.
pub fn run(kernel: &Kernel, accelerator: Accelerator, work: &Work<'_>, place: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place)?;
    let tests: Vec<_> = work.tests.iter().map(|test| test.display().to_string()).collect();
    let slowness: u64 = if accelerator == Accelerator::Tcg { 10 } else { 1 };
    let head = format!(
        "export CGSCOPE_BIN={} CGSCOPE_VM_TESTS='{}' CGSCOPE_VM_TIME={} CGSCOPE_VM_TEST_TIME={} \
         CGSCOPE_TEST_SLOWNESS={slowness}\n",
        work.program.display(),
        tests.join(" "),
        work.test_time.as_secs(),
        ONE_TEST.as_secs() * slowness,
    );
    fs::write(place.join("guest.sh"), head + GUEST)?;
    let disk = place.join("disk");
    fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    let quiet = "lazy_itable_init=0,lazy_journal_init=0";
    command::run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", quiet]).arg(&disk))?;
    let initramfs = initramfs(kernel, place)?;
    let child = start(kernel, accelerator, &initramfs, &disk, place)?;
    let patience = Duration::from_secs(180) + work.test_time * tests.len() as u32;
    let ended = wait(child, accelerator, place, patience);
    let _ = fs::remove_file(&disk);
    ended
}

fn start(
    kernel: &Kernel,
    accelerator: Accelerator,
    initramfs: &Path,
    disk: &Path,
    place: &Path,
) -> Result<Child> {
    let share = |tag: &str, path: &Path, more: &str| {
        let path = path.display();
        [
            "-fsdev".to_owned(),
            format!("local,id={tag},path={path},security_model=none,multidevs=remap{more}"),
            "-device".to_owned(),
            format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
        ]
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(accelerator.arguments())
        .args(["-smp", "2", "-m", "4G", "-nodefaults", "-no-reboot", "-display", "none"])
        .arg("-serial")
        .arg(format!("file:{}", place.join("console").display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", COMMAND_LINE])
        .args(share("host", Path::new("/"), ",readonly=on"))
        .args(share("out", place, ""))
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()))
        .args(["-device", "virtio-rng-pci"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.join("qemu"))?);
    println!("  $ {}", command::show(&qemu));
    qemu.spawn().context("qemu-system-x86_64 did not start (Debian: qemu-system-x86)")
}

fn wait(
    mut child: Child,
    accelerator: Accelerator,
    place: &Path,
    patience: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let outcome = loop {
        if let Some(status) = child.try_wait()? {
            let is_started = place.join("started").exists();
            if status.success() && is_started {
                return Ok(());
            }
            bail!("qemu ended with {status}: see {}", place.display());
        }
        let is_started = place.join("started").exists();
        if accelerator == Accelerator::Kvm && !is_started && begun.elapsed() > KVM_PATIENCE {
            break "it did not come to its first program".to_owned();
        }
        if begun.elapsed() > patience {
            break format!("it did not end within {} s", patience.as_secs());
        }
        sleep(Duration::from_millis(200));
    };
    child.kill()?;
    child.wait()?;
    bail!("{outcome}: see {}", place.display())
}

/// Busybox, the first modules with what they depend on, and `init`.
fn initramfs(kernel: &Kernel, place: &Path) -> Result<PathBuf> {
    let root = place.join("initramfs");
    let modules = root.join("lib/modules").join(&kernel.release);
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(&modules)?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("/bin/busybox is missing (Debian: busybox-static)")?;
    let dependencies = fs::read_to_string(kernel.modules.join("modules.dep"))?;
    for file in with_dependencies(&dependencies, &MODULES) {
        let copy = modules.join(file);
        fs::create_dir_all(copy.parent().context("a module is in a directory")?)?;
        fs::copy(kernel.modules.join(file), copy)?;
    }
    fs::write(root.join("init"), INIT)?;
    fs::write(root.join("modules"), MODULES.join("\n") + "\n")?;
    fs::write(root.join("tree"), kernel.modules.display().to_string())?;
    let archive = place.join("initramfs.gz");
    let script = r#"set -e; cd "$0"; chmod +x init; busybox depmod -b . "$1"
        find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >"$2""#;
    command::run(
        Command::new("sh").args(["-c", script]).arg(&root).arg(&kernel.release).arg(&archive),
    )?;
    Ok(archive)
}

/// Files of modules by name and of all they depend on, by the lines of `modules.dep`.
fn with_dependencies<'a>(lines: &'a str, names: &[&str]) -> Vec<&'a str> {
    let file_of = |line: &'a str| line.split_once(':').map(|(file, _)| file);
    let is_wanted = |file: &str| {
        names
            .iter()
            .any(|name| file.ends_with(&format!("/{name}.ko")) || file == format!("{name}.ko"))
    };
    let mut files: Vec<&str> =
        lines.lines().filter_map(file_of).filter(|file| is_wanted(file)).collect();
    let mut next = 0;
    while let Some(&file) = files.get(next) {
        let needs = lines.lines().find_map(|line| line.strip_prefix(file)?.strip_prefix(':'));
        for need in needs.unwrap_or_default().split_whitespace() {
            if !files.contains(&need) {
                files.push(need);
            }
        }
        next += 1;
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_with_all_they_depend_on_once() {
        let lines =
            "k/9p.ko: k/9pnet.ko k/netfs.ko\nk/9pnet.ko: k/netfs.ko\nk/netfs.ko:\nk/x.ko:\n";
        assert_eq!(with_dependencies(lines, &["9p"]), ["k/9p.ko", "k/9pnet.ko", "k/netfs.ko"]);
        assert_eq!(with_dependencies(lines, &["absent"]), Vec::<&str>::new());
    }
}
