//! The container image: busybox and the fixtures, nothing else.
//!
//! It is imported when no image of that name carries the digest of today's fixture sources, so most runs import
//! nothing, and workspaces with the same fixtures share it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::command::{run_captured, run_checked};
use crate::fixture::{COMPILER_FLAGS, fixtures_dir, inputs, sources};
use crate::paths::scratch_dir;

/// The image's name, as the daemon should show it.
pub const IMAGE_NAME: &str = "localhost/cgscope-test:latest";

const DIGEST_LABEL: &str = "cgscope.fixtures";
const BUSYBOX: &str = "/bin/busybox";
/// What a test may want to run in a container beside the fixtures.
const APPLETS: [&str; 10] =
    ["cat", "dd", "echo", "false", "grep", "kill", "ls", "sh", "sleep", "true"];

/// `podman` with the options that make it start containers on hybrid cgroups without a service manager.
pub(crate) fn podman() -> Command {
    let mut command = Command::new("podman");
    command.args(["--runtime", "/usr/sbin/runc", "--cgroup-manager=cgroupfs"]);
    command
}

/// The id of the image named [`IMAGE_NAME`], made of today's fixtures.
pub(crate) fn image_id() -> Result<&'static str> {
    static READY: OnceLock<String> = OnceLock::new();
    if let Some(id) = READY.get() {
        return Ok(id);
    }
    let digest = digest()?;
    let present = find_image()?;
    let id = match present {
        Some(image) if image.digest == digest => image.id,
        outdated => {
            let id = import(&digest)?;
            if let Some(image) = outdated {
                // It has lost its name. A container of another run may still use it: then it stays.
                run_captured(podman().args(["rmi", &image.id]))?;
            }
            id
        }
    };
    Ok(READY.get_or_init(|| id))
}

struct Image {
    id: String,
    digest: String,
}

fn find_image() -> Result<Option<Image>> {
    let format = format!("{{{{.Id}}}} {{{{index .Labels \"{DIGEST_LABEL}\"}}}}");
    let found = run_captured(podman().args(["image", "inspect", "--format", &format, IMAGE_NAME]))
        .context("the tests need podman and runc (apt install podman runc)")?;
    Ok(found
        .stdout
        .trim()
        .split_once(' ')
        .filter(|_| found.success())
        .map(|(id, digest)| Image { id: id.to_owned(), digest: digest.to_owned() }))
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

fn import(digest: &str) -> Result<String> {
    let root = scratch_dir().join(format!("rootfs-{}", std::process::id()));
    let archive = root.with_extension("tar");
    fill_root(&root)?;
    run_checked(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    let label = format!("LABEL={DIGEST_LABEL}={digest}");
    let imported = run_checked(
        podman().args(["import", "--quiet", "--change", &label]).arg(&archive).arg(IMAGE_NAME),
    );
    fs::remove_dir_all(&root)?;
    fs::remove_file(&archive)?;
    imported?;
    Ok(find_image()?.context("podman imported an image and does not find it")?.id)
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
