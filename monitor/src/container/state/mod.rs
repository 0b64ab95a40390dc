//! Names from the state files the runtimes keep for themselves. Read only, no sockets, bounded in size.
//!
//! [`StateFiles::look_up`] asks the files of the runtime the path suggests first, then those of the others
//! that use the same form of id: a path cannot always tell docker from containerd. All paths are below a
//! root directory, `/` in production. It does file I/O: call it off the data path.

mod containerd;
mod docker;
mod homes;
mod lxc;
mod oci;
mod podman;
mod read;
mod storage_conf;

use std::path::{Path, PathBuf};

use super::model::{Container, Pod};
use super::runtime::Runtime;
use crate::kernel::cgroupfs::Hierarchy;
use crate::metric::WallTimeNs;
pub(super) use read::StateError;

/// What a runtime's files say of a container. `None` is what they do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Who wrote the files.
    pub runtime: Option<Runtime>,
    /// The whole id, where the cgroup path did not hold it.
    pub id: Option<String>,
    pub name: Option<String>,
    pub image: Option<String>,
    pub pod: Option<Pod>,
    pub created_at_ns: Option<WallTimeNs>,
    pub started_at_ns: Option<WallTimeNs>,
}

/// The state files below one root directory, with a small cache of the lists that serve many containers.
pub(super) struct StateFiles {
    root: PathBuf,
    lists: podman::Lists,
    oci: oci::States,
}

impl StateFiles {
    /// `hierarchy` and `mount` are those of the identity: bare runtimes write down whole directory paths.
    pub fn new(root: &Path, hierarchy: &Hierarchy, mount: &Path) -> Self {
        Self {
            root: root.to_owned(),
            lists: podman::Lists::default(),
            oci: oci::States::new(hierarchy, mount),
        }
    }

    /// Whether any file could say more about this owner than its path did.
    pub fn may_know(container: &Container) -> bool {
        match container.runtime {
            Runtime::Lxc => lxc::is_number(container.id.as_str()),
            Runtime::Systemd => {
                container.unit.as_deref().is_some_and(|unit| unit.ends_with(".scope"))
            }
            Runtime::Nspawn | Runtime::Host | Runtime::Kernel | Runtime::Unattributed => false,
            _ => true,
        }
    }

    /// Everything the files say about `container`; `None` when they do not know it (yet).
    ///
    /// # Errors
    /// [`StateError`] of the first file that exists and cannot be used, if no other file knows it.
    pub fn look_up(&mut self, container: &Container) -> Result<Option<Facts>, StateError> {
        let sources: &[Source] = match container.runtime {
            Runtime::Podman => &[Source::Podman],
            Runtime::CriO => &[Source::CriO],
            Runtime::Docker => {
                &[Source::Docker, Source::Containerd, Source::CriO, Source::Podman, Source::Oci]
            }
            Runtime::Containerd => &[Source::Docker, Source::Containerd],
            Runtime::Lxc => &[Source::Lxc],
            Runtime::Runc => &[Source::Oci],
            Runtime::Cgroup | Runtime::Systemd => &[Source::OciByPath],
            _ => &[],
        };
        let mut trouble = None;
        for source in sources {
            match self.ask(*source, container) {
                Ok(Some(mut facts)) => {
                    if facts.started_at_ns.is_none() {
                        let started = self.oci.by_id(&self.root, container.id.as_str());
                        facts.started_at_ns = started.ok().flatten().and_then(|f| f.started_at_ns);
                    }
                    return Ok(Some(facts));
                }
                Ok(None) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    fn ask(&mut self, source: Source, container: &Container) -> Result<Option<Facts>, StateError> {
        let (root, id) = (self.root.as_path(), container.id.as_str());
        // An id becomes a file name below: what could leave the directory is no id.
        if source != Source::OciByPath && (id.contains('/') || id.starts_with('.')) {
            return Ok(None);
        }
        match source {
            Source::Podman => podman::look_up(root, &mut self.lists, container),
            Source::CriO => podman::crio(root, id),
            Source::Docker => docker::look_up(root, container),
            Source::Containerd => containerd::look_up(root, id),
            Source::Lxc => lxc::look_up(root, id),
            Source::Oci => self.oci.by_id(root, id),
            Source::OciByPath => self.oci.by_path(root, &container.cgroup),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Podman,
    CriO,
    Docker,
    Containerd,
    Lxc,
    Oci,
    OciByPath,
}

/// `path` (absolute on the host) below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests;
