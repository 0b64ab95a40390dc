//! Where `containers/storage` keeps its files: the defaults, or what `storage.conf` says.

use std::path::{Path, PathBuf};

use super::{below, homes, read};

/// One storage of podman or CRI-O.
#[derive(Debug, PartialEq, Eq)]
pub struct Storage {
    /// Kept over reboots: `containers.json`, images.
    pub graph_root: PathBuf,
    /// Gone at reboot; the lists are here in transient mode.
    pub run_root: PathBuf,
}

impl Storage {
    /// The directories that hold the lists and one directory a container, one a storage driver.
    pub fn container_directories(&self) -> Vec<PathBuf> {
        [&self.graph_root, &self.run_root]
            .into_iter()
            .flat_map(|root| ending(root, "-containers"))
            .collect()
    }

    /// The directories that hold `images.json`.
    pub fn image_directories(&self) -> Vec<PathBuf> {
        ending(&self.graph_root, "-images")
    }
}

fn ending(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = read::directories(directory);
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end)));
    found
}

/// The storage of root.
pub fn rootful(root: &Path) -> Storage {
    let files = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];
    let text = files.iter().find_map(|file| read::config_text(&below(root, file)));
    let text = text.unwrap_or_default();
    let place = |key, default: &str| below(root, value(&text, key).unwrap_or(default));
    Storage {
        graph_root: place("graphroot", "/var/lib/containers/storage"),
        run_root: place("runroot", "/run/containers/storage"),
    }
}

/// The storages of the users who may own a container.
pub fn rootless(root: &Path, uid: Option<u32>) -> Vec<Storage> {
    let system =
        read::config_text(&below(root, "/etc/containers/storage.conf")).unwrap_or_default();
    let homes = homes::candidates(root, uid);
    let storage = |home: homes::Home| {
        let own = read::text(&home.directory.join(".config/containers/storage.conf"));
        let own = own.ok().flatten().unwrap_or_default();
        let chosen = value(&own, "graphroot").or_else(|| value(&system, "rootless_storage_path"));
        let uid = home.uid.to_string();
        let expand = |path: &str| {
            let path = path.replace("$HOME", &home.on_host).replace("$UID", &uid);
            below(root, &path)
        };
        Storage {
            graph_root: chosen
                .map_or_else(|| home.directory.join(".local/share/containers/storage"), expand),
            run_root: value(&own, "runroot")
                .map_or_else(|| below(root, &format!("/run/user/{uid}/containers")), expand),
        }
    };
    homes.into_iter().map(storage).collect()
}

/// The quoted value of `key = "value"` in TOML text; lines of another form are not looked at.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let value = value[1..].split(quote).next()?;
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_comments_are_not_values() {
        let text = "[storage]\n# graphroot = \"/old\"\n graphroot=\"/data/c\" # big\nrunroot = '/r'\nx = 1\n";
        assert_eq!(value(text, "graphroot"), Some("/data/c"));
        assert_eq!(value(text, "runroot"), Some("/r"));
        assert_eq!(value(text, "x"), None);
        assert_eq!(value("graphroot = \"\"", "graphroot"), None);
        assert_eq!(value("graphroot_old = \"/x\"", "graphroot"), None);
    }
}
