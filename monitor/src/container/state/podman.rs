//! podman and CRI-O: the lists and bundles of `containers/storage`.
//!
//! `<graph root>/<driver>-containers/containers.json` lists what is kept over a reboot,
//! `volatile-containers.json` beside it (or in the run root) the rest. CRI-O's names are annotations in each
//! container's `userdata/config.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::read::{self, Stamp, StateError};
use super::storage_conf::{self, Storage};
use super::{Facts, containerd};
use crate::container::model::Container;
use crate::container::runtime::Runtime;
use crate::container::{rfc3339, unit};

/// Most lists that are kept parsed.
const MAX_LISTS: usize = 64;

/// An entry of `containers.json` or `images.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    names: Option<Vec<String>>,
    image: Option<String>,
    /// JSON in a string.
    metadata: Option<String>,
    created: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
}

/// Lists as last read, by file: at start-up one list names all containers.
#[derive(Default)]
pub struct Lists(HashMap<PathBuf, (Stamp, Arc<Vec<Entry>>)>);

impl Lists {
    fn get(&mut self, path: &Path) -> Result<Option<Arc<Vec<Entry>>>, StateError> {
        let Some(stamp) = read::stamp(path) else {
            self.0.remove(path);
            return Ok(None);
        };
        if let Some((_, list)) = self.0.get(path).filter(|(known, _)| *known == stamp) {
            return Ok(Some(Arc::clone(list)));
        }
        let Some(list) = read::json::<Vec<Entry>>(path)? else { return Ok(None) };
        if self.0.len() >= MAX_LISTS {
            self.0.clear();
        }
        let list = Arc::new(list);
        self.0.insert(path.to_owned(), (stamp, Arc::clone(&list)));
        Ok(Some(list))
    }
}

/// A podman container, in root's storage or in a user's.
pub fn look_up(
    root: &Path,
    lists: &mut Lists,
    of: &Container,
) -> Result<Option<Facts>, StateError> {
    let uid = unit::owner_uid(&of.cgroup);
    let mut storages = storage_conf::rootless(root, uid);
    // A path below a user's manager is that user's; any other is root's first.
    let at = if uid.is_some() { storages.len() } else { 0 };
    storages.insert(at, storage_conf::rootful(root));
    let mut trouble = None;
    for storage in &storages {
        match in_storage(storage, lists, of.id.as_str()) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    trouble.map_or(Ok(None), Err)
}

fn in_storage(storage: &Storage, lists: &mut Lists, id: &str) -> Result<Option<Facts>, StateError> {
    for directory in storage.container_directories() {
        for file in ["containers.json", "volatile-containers.json"] {
            let Some(list) = lists.get(&directory.join(file))? else { continue };
            let Some(entry) = list.iter().find(|entry| entry.id == id) else { continue };
            return Ok(Some(Facts {
                runtime: Some(Runtime::Podman),
                name: entry.names.iter().flatten().next().cloned(),
                image: image(storage, lists, entry),
                created_at_ns: entry.created.as_deref().and_then(rfc3339::parse),
                ..Facts::default()
            }));
        }
    }
    Ok(None)
}

/// The image's name as podman noted it, else its first name in the list of images, else its id.
fn image(storage: &Storage, lists: &mut Lists, entry: &Entry) -> Option<String> {
    let noted =
        entry.metadata.as_deref().and_then(|text| serde_json::from_str::<Metadata>(text).ok());
    if let Some(name) = noted.and_then(|noted| noted.image_name).filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let id = entry.image.as_ref().filter(|id| !id.is_empty())?;
    let named = storage.image_directories().iter().find_map(|directory| {
        let list = lists.get(&directory.join("images.json")).ok()??;
        list.iter().find(|image| image.id == *id)?.names.iter().flatten().next().cloned()
    });
    named.or_else(|| Some(id.clone()))
}

/// A CRI-O container, by the annotations of its bundle.
pub fn crio(root: &Path, id: &str) -> Result<Option<Facts>, StateError> {
    let mut trouble = None;
    for directory in storage_conf::rootful(root).container_directories() {
        match containerd::bundle(&directory.join(id).join("userdata/config.json")) {
            // podman keeps its bundles here too.
            Ok(Some(bundle)) if bundle.is_crio() => return Ok(Some(bundle.crio_facts())),
            Ok(_) => {}
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    trouble.map_or(Ok(None), Err)
}
