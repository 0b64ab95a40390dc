//! The container image: busybox and the fixtures, nothing else.
//!
//! Its tag is the digest of the fixtures' sources, so most runs import nothing, workspaces with the same fixtures share it, and
//! runs with different ones do not disturb each other.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::command::{run_captured, run_checked};
use crate::fixture::{COMPILER_FLAGS, fixtures_dir, inputs, sources};
use crate::paths::scratch_dir;

const REPOSITORY: &str = "localhost/cgscope-test";
/// Images of earlier fixtures are removed when they are so old: another run may be using a younger one.
const OUTDATED_AFTER: &str = "24h";
const BUSYBOX: &str = "/bin/busybox";
/// What a test may want to run in a container beside the fixtures.
const APPLETS: [&str; 10] =
    ["cat", "dd", "echo", "false", "grep", "kill", "ls", "sh", "sleep", "true"];

/// `podman` with the options that make it start containers on hybrid cgroups without a service manager.
pub(crate) fn podman() -> Command {
    let mut command = Command::new("podman");
    command.args(["--runtime", "/usr/sbin/runc", "--cgroup-manager=cgroupfs"]);
    // Its monitor leaves a file `oom` where it was started when memory ends.
    command.current_dir(scratch_dir());
    command
}

/// The name of the image made of today's fixtures, as the daemon should show it. Imports it if it is not there.
///
/// # Errors
/// When podman or busybox is missing, or a fixture does not compile.
pub fn image_name() -> Result<&'static str> {
    static READY: OnceLock<String> = OnceLock::new();
    if let Some(name) = READY.get() {
        return Ok(name);
    }
    let name = format!("{REPOSITORY}:{}", digest()?);
    let found = run_captured(podman().args(["image", "exists", &name]))
        .context("the tests need podman and runc (apt install podman runc)")?;
    if !found.success() {
        import(&name)?;
        remove_outdated()?;
    }
    Ok(READY.get_or_init(|| name))
}

/// One that a container still uses stays.
fn remove_outdated() -> Result<()> {
    let until = format!("until={OUTDATED_AFTER}");
    let reference = format!("reference={REPOSITORY}");
    let filters = ["--filter", &until, "--filter", &reference];
    let ids = run_checked(podman().args(["images", "--quiet"]).args(filters))?;
    for id in ids.split_whitespace() {
        run_captured(podman().args(["rmi", id]))?;
    }
    Ok(())
}

/// Of everything that decides the image's content.
fn digest() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (COMPILER_FLAGS, APPLETS).hash(&mut hasher);
    for path in inputs()? {
        path.file_name().hash(&mut hasher);
        fs::read(&path)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn import(name: &str) -> Result<()> {
    let root = scratch_dir().join(format!("rootfs-{}", std::process::id()));
    let archive = root.with_extension("tar");
    fill_root(&root)?;
    run_checked(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    let imported = run_checked(podman().args(["import", "--quiet"]).arg(&archive).arg(name));
    fs::remove_dir_all(&root)?;
    fs::remove_file(&archive)?;
    imported.map(drop)
}

fn fill_root(root: &Path) -> Result<()> {
    ensure!(Path::new(BUSYBOX).is_file(), "{BUSYBOX} is missing: apt install busybox-static");
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    for dir in ["bin", "dev", "etc", "proc", "shared", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    let built = fixtures_dir()?;
    for source in sources()? {
        let name = source.file_stem().context("a fixture has a name")?;
        fs::copy(built.join(name), root.join("bin").join(name))?;
    }
    Ok(())
}
