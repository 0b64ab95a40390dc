//! Names in the annotations of an OCI bundle's `config.json`: containerd's CRI, nerdctl and ctr; CRI-O.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::read::{self, StateError};
use super::{Facts, below};
use crate::container::model::Pod;
use crate::container::rfc3339;
use crate::container::runtime::Runtime;

/// State directories of containerd: its own, k3s and RKE2, MicroK8s, the one docker may start.
const STATE_DIRECTORIES: [&str; 4] = [
    "/run/containerd",
    "/run/k3s/containerd",
    "/var/snap/microk8s/common/run/containerd",
    "/run/docker/containerd/daemon",
];

const PLUGINS: [&str; 2] = ["io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"];

/// The name given to a pod's sandbox container, as docker and CRI-O call it.
const SANDBOX_NAME: &str = "POD";

/// The part of an OCI bundle that holds names.
#[derive(Debug, Default, Deserialize)]
pub struct Bundle {
    annotations: Option<HashMap<String, String>>,
}

/// The bundle in a `config.json`, or `None` if there is no file.
pub fn bundle(path: &Path) -> Result<Option<Bundle>, StateError> {
    read::json(path)
}

/// A containerd container of any namespace.
pub fn look_up(root: &Path, id: &str) -> Result<Option<Facts>, StateError> {
    let mut trouble = None;
    for state in STATE_DIRECTORIES {
        for plugin in PLUGINS {
            for namespace in read::directories(&below(root, state).join(plugin)) {
                match bundle(&namespace.join(id).join("config.json")) {
                    Ok(Some(bundle)) => {
                        let moby = namespace.file_name().is_some_and(|name| name == "moby");
                        let runtime = if moby { Runtime::Docker } else { Runtime::Containerd };
                        return Ok(Some(bundle.containerd_facts(runtime)));
                    }
                    Ok(None) => {}
                    Err(error) => trouble = trouble.or(Some(error)),
                }
            }
        }
    }
    trouble.map_or(Ok(None), Err)
}

impl Bundle {
    fn get(&self, key: &str) -> Option<String> {
        self.annotations.as_ref()?.get(key).filter(|value| !value.is_empty()).cloned()
    }

    fn containerd_facts(&self, runtime: Runtime) -> Facts {
        let cri = |key: &str| self.get(&format!("io.kubernetes.cri.{key}"));
        let sandbox = cri("container-type").is_some_and(|kind| kind == "sandbox");
        Facts {
            runtime: Some(runtime),
            name: cri("container-name")
                .or_else(|| self.get("nerdctl/name"))
                .or_else(|| sandbox.then(|| SANDBOX_NAME.to_owned())),
            image: cri("image-name").or_else(|| self.get("nerdctl/image-name")),
            pod: pod(cri("sandbox-name"), cri("sandbox-namespace"), cri("sandbox-uid")),
            ..Facts::default()
        }
    }

    /// Whether CRI-O wrote this bundle: podman uses a few of its annotations, but not this one.
    pub fn is_crio(&self) -> bool {
        self.get("io.kubernetes.cri-o.ContainerType").is_some()
    }

    /// What CRI-O's annotations say.
    pub fn crio_facts(&self) -> Facts {
        let kubernetes = |key: &str| self.get(&format!("io.kubernetes.{key}"));
        Facts {
            runtime: Some(Runtime::CriO),
            name: kubernetes("container.name").or_else(|| kubernetes("cri-o.ContainerName")),
            image: kubernetes("cri-o.ImageName").or_else(|| kubernetes("cri-o.Image")),
            pod: pod(
                kubernetes("pod.name").or_else(|| kubernetes("cri-o.KubeName")),
                kubernetes("pod.namespace").or_else(|| kubernetes("cri-o.Namespace")),
                kubernetes("pod.uid"),
            ),
            created_at_ns: kubernetes("cri-o.Created").as_deref().and_then(rfc3339::parse),
            ..Facts::default()
        }
    }
}

/// A pod of which at least something is known.
pub fn pod(name: Option<String>, namespace: Option<String>, uid: Option<String>) -> Option<Pod> {
    let known = name.is_some() || namespace.is_some() || uid.is_some();
    known.then_some(Pod { name, namespace, uid })
}
