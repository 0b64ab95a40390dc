//! Bare OCI runtimes: the state runc, crun and youki keep of each container, which names its cgroup.
//!
//! Engines drive the same runtimes, so the same files say when a container of theirs started.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::read::{self, Stamp, StateError};
use super::{Facts, below};
use crate::container::model::short;
use crate::container::rfc3339;
use crate::container::runtime::Runtime;
use crate::kernel::cgroupfs::Hierarchy;
use crate::metric::WallTimeNs;

/// Most states that are kept parsed.
const MAX_STATES: usize = 4096;

/// runc's and youki's `state.json`, crun's `status`: the fields both need.
#[derive(Deserialize)]
struct StateFile {
    created: Option<String>,
    /// runc: controller to directory; the empty controller is v2.
    cgroup_paths: Option<HashMap<String, String>>,
    /// crun: path from the root of the hierarchy.
    #[serde(rename = "cgroup-path")]
    cgroup_path: Option<String>,
}

/// What is kept of a state file.
#[derive(Clone)]
struct State {
    /// The cgroup's path in the hierarchy of identity.
    cgroup: Option<String>,
    started_at_ns: Option<WallTimeNs>,
}

/// The states read so far.
pub struct States {
    hierarchy: Hierarchy,
    mount: String,
    known: HashMap<PathBuf, (Stamp, State)>,
}

impl States {
    pub fn new(hierarchy: &Hierarchy, mount: &Path) -> Self {
        Self {
            hierarchy: hierarchy.clone(),
            mount: mount.to_string_lossy().into_owned(),
            known: HashMap::new(),
        }
    }

    /// The container whose id is known.
    pub fn by_id(&mut self, root: &Path, id: &str) -> Result<Option<Facts>, StateError> {
        let mut trouble = None;
        for (directory, runtime) in directories(root) {
            match self.state(&directory.join(id)) {
                Ok(Some(state)) => return Ok(Some(facts(runtime, None, &state))),
                Ok(None) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// The container whose cgroup is `path`. A state that cannot be read hides only its own container.
    pub fn by_path(&mut self, root: &Path, path: &str) -> Result<Option<Facts>, StateError> {
        let mut trouble = None;
        for (directory, runtime) in directories(root) {
            for container in read::directories(&directory) {
                match self.state(&container) {
                    Ok(Some(state)) if state.cgroup.as_deref() == Some(path) => {
                        let id = container.file_name().map(|id| id.to_string_lossy().into_owned());
                        return Ok(Some(facts(runtime, id, &state)));
                    }
                    Ok(_) => {}
                    Err(error) => trouble = trouble.or(Some(error)),
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    fn state(&mut self, container: &Path) -> Result<Option<State>, StateError> {
        for file in ["state.json", "status"] {
            let path = container.join(file);
            let Some(stamp) = read::stamp(&path) else {
                self.known.remove(&path);
                continue;
            };
            if let Some((_, state)) = self.known.get(&path).filter(|(known, _)| *known == stamp) {
                return Ok(Some(state.clone()));
            }
            let Some(file) = read::json::<StateFile>(&path)? else { continue };
            let state = State {
                cgroup: self.cgroup(&file),
                started_at_ns: file.created.as_deref().and_then(rfc3339::parse),
            };
            if self.known.len() >= MAX_STATES {
                self.known.clear();
            }
            self.known.insert(path, (stamp, state.clone()));
            return Ok(Some(state));
        }
        Ok(None)
    }

    fn cgroup(&self, file: &StateFile) -> Option<String> {
        if let Some(path) = &file.cgroup_path {
            // crun's own subgroup is inside the container's directory.
            let path = path.strip_suffix("/container").unwrap_or(path);
            return Some(format!("/{}", path.trim_matches('/')));
        }
        let paths = file.cgroup_paths.as_ref()?;
        let controller = match &self.hierarchy {
            Hierarchy::V2 => "",
            Hierarchy::V1 { controller } => controller,
        };
        self.below_mount(paths.get(controller)?)
    }

    /// The path below the hierarchy's mount: ours, or the usual one where we see it elsewhere.
    fn below_mount(&self, directory: &str) -> Option<String> {
        let inside =
            |mount: &str| directory.strip_prefix(mount).filter(|rest| rest.starts_with('/'));
        let usual = || match &self.hierarchy {
            Hierarchy::V2 => inside("/sys/fs/cgroup/unified").or_else(|| inside("/sys/fs/cgroup")),
            Hierarchy::V1 { .. } => {
                let rest = inside("/sys/fs/cgroup")?;
                rest[1..].find('/').map(|at| &rest[at + 1..])
            }
        };
        inside(&self.mount).or_else(usual).map(str::to_owned)
    }
}

fn facts(runtime: Runtime, id: Option<String>, state: &State) -> Facts {
    Facts {
        runtime: Some(runtime),
        name: id.as_deref().map(|id| short(id).to_owned()),
        id,
        started_at_ns: state.started_at_ns,
        ..Facts::default()
    }
}

/// The directories that hold one directory a container, and who drives the runtime there.
fn directories(root: &Path) -> Vec<(PathBuf, Runtime)> {
    let bare = ["/run/runc", "/run/crun", "/run/youki"].into_iter().map(|path| below(root, path));
    let users = read::directories(&below(root, "/run/user"));
    let rootless = users.into_iter().flat_map(|user| [user.join("runc"), user.join("crun")]);
    let bare = bare.chain(rootless).map(|path| (path, Runtime::Runc));
    let containerd = read::directories(&below(root, "/run/containerd/runc")).into_iter();
    let containerd = containerd.map(|path| {
        let moby = path.file_name().is_some_and(|name| name == "moby");
        (path, if moby { Runtime::Docker } else { Runtime::Containerd })
    });
    let docker = ["/run/docker/runtime-runc", "/run/docker/runtime-crun"].into_iter();
    let docker = docker.flat_map(|path| read::directories(&below(root, path)));
    bare.chain(containerd).chain(docker.map(|path| (path, Runtime::Docker))).collect()
}
