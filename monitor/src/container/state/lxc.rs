//! LXC and Proxmox: a container's name is in its path; Proxmox numbers them and keeps the hostname apart.

use std::path::Path;

use super::read::{self, StateError};
use super::{Facts, below};

/// Whether the name is a number, as Proxmox's are.
pub fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The hostname of container number `id`.
pub fn look_up(root: &Path, id: &str) -> Result<Option<Facts>, StateError> {
    let proxmox = read::text(&below(root, &format!("/etc/pve/lxc/{id}.conf")))?;
    let mut name = proxmox.as_deref().and_then(|text| value(text, ':', &["hostname"]));
    if name.is_none() {
        let own = read::text(&below(root, &format!("/var/lib/lxc/{id}/config")))?;
        name = own.as_deref().and_then(|text| value(text, '=', &["lxc.uts.name", "lxc.utsname"]));
    }
    Ok(name.map(|name| Facts { name: Some(name), ..Facts::default() }))
}

/// The last value of a key before the first `[section]`, where Proxmox keeps snapshots.
fn value(text: &str, separator: char, keys: &[&str]) -> Option<String> {
    text.lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(separator))
        .filter(|(key, _)| keys.contains(&key.trim()))
        .map(|(_, value)| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_do_not_rename() {
        let text = "arch: amd64\n#hostname: no\nhostname: web\n\n[before-upgrade]\nhostname: old\n";
        assert_eq!(value(text, ':', &["hostname"]).as_deref(), Some("web"));
        let text = "lxc.arch = amd64\nlxc.utsname = a\nlxc.uts.name = b\n";
        assert_eq!(value(text, '=', &["lxc.uts.name", "lxc.utsname"]).as_deref(), Some("b"));
        assert_eq!(value("hostname:\n", ':', &["hostname"]), None);
    }
}
