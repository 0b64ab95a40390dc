//! Docker Engine: `<data root>/containers/<id>/config.v2.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::read::{self, StateError};
use super::{Facts, below, containerd, homes};
use crate::container::model::Container;
use crate::container::runtime::Runtime;
use crate::container::{rfc3339, unit};

#[derive(Deserialize)]
struct ConfigV2 {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Created")]
    created: Option<String>,
    #[serde(rename = "State")]
    state: Option<State>,
    #[serde(rename = "Config")]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "StartedAt")]
    started_at: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct DaemonConfig {
    #[serde(rename = "data-root")]
    data_root: Option<String>,
}

/// A docker container of the system's engine or of a user's.
pub fn look_up(root: &Path, of: &Container) -> Result<Option<Facts>, StateError> {
    let mut trouble = None;
    for data_root in data_roots(root, &of.cgroup) {
        let file = data_root.join("containers").join(of.id.as_str()).join("config.v2.json");
        match read::json::<ConfigV2>(&file) {
            Ok(Some(config)) => return Ok(Some(facts(config))),
            Ok(None) => {}
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    trouble.map_or(Ok(None), Err)
}

fn data_roots(root: &Path, cgroup: &str) -> Vec<PathBuf> {
    let configured = read::config_text(&below(root, "/etc/docker/daemon.json"))
        .and_then(|text| serde_json::from_str::<DaemonConfig>(&text).ok())
        .and_then(|config| config.data_root);
    let mut roots: Vec<PathBuf> = configured.iter().map(|path| below(root, path)).collect();
    roots.push(below(root, "/var/lib/docker"));
    roots.push(below(root, "/var/snap/docker/common/var-lib-docker"));
    // A user's engine runs below the user's manager.
    if let Some(uid) = unit::owner_uid(cgroup) {
        let homes = homes::candidates(root, Some(uid)).into_iter();
        roots.extend(homes.map(|home| home.directory.join(".local/share/docker")));
    }
    roots
}

fn facts(config: ConfigV2) -> Facts {
    let (image, labels) =
        config.config.map_or((None, None), |config| (config.image, config.labels));
    let label = |key: &str| {
        let value = labels.as_ref()?.get(&format!("io.kubernetes.{key}"))?;
        (!value.is_empty()).then(|| value.clone())
    };
    let name = config.name.strip_prefix('/').unwrap_or(&config.name);
    Facts {
        runtime: Some(Runtime::Docker),
        // Under Kubernetes the engine's name is k8s_<container>_<pod>_<namespace>_<uid>_<attempt>.
        name: label("container.name").or_else(|| (!name.is_empty()).then(|| name.to_owned())),
        image: image.filter(|image| !image.is_empty()),
        pod: containerd::pod(label("pod.name"), label("pod.namespace"), label("pod.uid")),
        created_at_ns: config.created.as_deref().and_then(rfc3339::parse),
        started_at_ns: config.state.and_then(|state| rfc3339::parse(&state.started_at?)),
        ..Facts::default()
    }
}
