//! Debian's kernels as packages: resolved and fetched by apt with lists of its own, unpacked and never installed.
//!
//! Contract: nothing of the machine's own package lists, sources or kernels changes. The archive is the one this machine
//! is set up with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What no test needs, and is most of the size.
const UNUSED: [&str; 15] = [
    "sound",
    "drivers/gpu",
    "drivers/media",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/staging",
    "drivers/usb",
    "drivers/hid",
    "drivers/scsi",
    "drivers/input",
    "drivers/hwmon",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "net/bluetooth",
    "net/mac80211",
];

/// An unpacked kernel.
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// `lib/modules/RELEASE`, with `modules.dep`.
    pub modules: PathBuf,
}

/// The newest kernel of a release of Debian, unpacked below `cache`; fetched only if it is not there.
pub fn kernel(suite: &str, cache: &Path) -> Result<Kernel> {
    let place = cache.join(suite);
    let apt = Apt::new(suite, &place)?;
    let wanted = apt.dependencies("linux-image-amd64", "linux-image-")?;
    let name = wanted.first().with_context(|| format!("{suite} has no linux-image-amd64"))?;
    let unpacked = place.join(name);
    if !unpacked.join("complete").exists() {
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir_all(&unpacked)?;
        // The newest packages keep image and modules in packages of their own.
        let mut packages = vec![name.clone()];
        packages.extend(apt.dependencies(name, "linux-binary-")?);
        packages.extend(apt.dependencies(name, "linux-modules-")?);
        for package in &packages {
            apt.unpack(package, &unpacked)?;
        }
        arrange(&unpacked).with_context(|| format!("unpacking {name}"))?;
        fs::write(unpacked.join("complete"), "")?;
    }
    let tree = unpacked.join("tree/lib/modules");
    let release = only_entry(&tree)?;
    Ok(Kernel { modules: tree.join(&release), image: unpacked.join("vmlinuz"), release })
}

/// Leaves `vmlinuz` and `tree/lib/modules/RELEASE` with plain modules and their dependencies.
fn arrange(unpacked: &Path) -> Result<()> {
    let script = r#"set -e
        cd "$0"; mkdir -p tree/lib
        for modules in raw/lib/modules raw/usr/lib/modules; do
            [ ! -d $modules ] || cp -a $modules tree/lib/
        done
        cp "$(find raw -name 'vmlinuz*' | head -1)" vmlinuz
        release=$(ls tree/lib/modules)
        for unused; do rm -rf "tree/lib/modules/$release/kernel/$unused"; done
        find tree -name '*.ko.xz' -print0 | xargs -0 -r xz -d
        busybox depmod -b "$PWD/tree" "$release"
        rm -rf raw"#;
    command::run(Command::new("sh").args(["-c", script]).arg(unpacked).args(UNUSED))
}

fn only_entry(directory: &Path) -> Result<String> {
    let mut entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let entry = entries.next().context("an unpacked kernel has modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// apt with lists and caches of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str, place: &Path) -> Result<Self> {
        ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing: this needs a Debian machine");
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(directory))?;
        }
        let format = "$(REPO_URI)";
        let targets = command::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
            "Origin: Debian",
            "Label: Debian",
        ]));
        let targets =
            targets.context("apt-get knows no archive of Debian's: run apt-get update")?;
        let archive = targets.lines().next().context("apt-get knows no archive of Debian's")?;
        let sources = place.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {archive} {suite} main\n"))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", place.join("lists").display()),
            format!("Dir::Cache={}", place.join("cache").display()),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        let apt = Self { options };
        command::run(Command::new("apt-get").args(&apt.options).args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// What a package depends on, of the names that begin so.
    fn dependencies(&self, package: &str, prefix: &str) -> Result<Vec<String>> {
        let text = command::output(
            Command::new("apt-cache").args(&self.options).args(["depends", package]),
        );
        let text = text.with_context(|| format!("apt knows no package {package}"))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let script = r#"set -e; cd "$0"; package=$1; shift
            apt-get "$@" download "$package" >/dev/null
            dpkg-deb -x "$package"_*.deb raw; rm "$package"_*.deb"#;
        command::run(
            Command::new("sh").args(["-c", script]).arg(into).arg(package).args(&self.options),
        )
    }
}
