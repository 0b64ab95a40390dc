//! Where users keep rootless containers: their home directories.

use std::path::{Path, PathBuf};

use super::{below, read};

/// Most homes that are looked at for a container whose owner is not known.
const MAX_HOMES: usize = 256;

/// One user's places.
pub struct Home {
    pub uid: u32,
    /// Below the root directory.
    pub directory: PathBuf,
    /// As `/etc/passwd` writes it.
    pub on_host: String,
}

/// The homes that may hold a container: that of `uid` if it is known and listed, else all.
pub fn candidates(root: &Path, uid: Option<u32>) -> Vec<Home> {
    let passwd = read::config_text(&below(root, "/etc/passwd")).unwrap_or_default();
    let mut homes: Vec<Home> = passwd.lines().filter_map(|line| home(root, line)).collect();
    if let Some(uid) = uid.filter(|uid| homes.iter().any(|home| home.uid == *uid)) {
        homes.retain(|home| home.uid == uid);
    }
    homes.sort_by(|a, b| (&a.on_host, a.uid).cmp(&(&b.on_host, b.uid)));
    homes.dedup_by(|a, b| a.on_host == b.on_host);
    homes.truncate(MAX_HOMES);
    homes
}

/// `web:x:1000:1000:Web:/home/web:/bin/sh`; accounts without a home have `/` or a path that is not there.
fn home(root: &Path, line: &str) -> Option<Home> {
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let on_host = fields.nth(2)?.trim_end_matches('/').to_owned();
    let directory = below(root, &on_host);
    (!on_host.is_empty() && directory.is_dir()).then_some(Home { uid, directory, on_host })
}
