//! What is known of one container, unit or plain cgroup: an immutable snapshot.
//!
//! Names are kept as their runtime wrote them (cut at [`NAME_MAX_BYTES`]), control characters and
//! direction marks included: whoever draws them escapes them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity::Identity;
use super::runtime::Runtime;
use crate::metric::WallTimeNs;

/// Longest name, image or namespace that is kept, in bytes.
pub(super) const NAME_MAX_BYTES: usize = 1024;

/// Characters of a hexadecimal id that are shown until the name is known.
pub(super) const SHORT_ID_CHARS: usize = 12;
/// The whole id its runtime gave a container; the cgroup path for what is no container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(from = "String", into = "String")]
#[schema(value_type = String)]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ContainerId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<&str> for ContainerId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The Kubernetes or podman pod a container is in. A field is `None` while it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pod {
    /// The pod's name.
    pub name: Option<String>,
    /// Its Kubernetes namespace.
    pub namespace: Option<String>,
    /// Its uid with dashes, as the API server shows it; podman's pod id for podman.
    pub uid: Option<String>,
}

/// One incarnation of a container, unit or plain cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// The whole id.
    pub id: ContainerId,
    /// The name users gave it; a short id while it is not known. Not unique: a pod may tell two of one name apart.
    pub name: String,
    /// Who made it.
    pub runtime: Runtime,
    /// The image's name, if its runtime has images and told.
    pub image: Option<String>,
    /// The pod it is in.
    pub pod: Option<Pod>,
    /// The systemd unit that holds it, decoded: the scope made for it, or the service that runs it.
    pub unit: Option<String>,
    /// The systemd slice it is in, decoded.
    pub slice: Option<String>,
    /// The path of its cgroup from the hierarchy's root. Nested cgroups belong to it as well.
    pub cgroup: String,
    /// When its runtime wrote it down, before anything of it ran.
    pub created_at_ns: Option<WallTimeNs>,
    /// When it started: the birth of its cgroup if that was seen, else its runtime's word.
    pub started_at_ns: Option<WallTimeNs>,
    /// When its cgroup was removed; `None` while it lives.
    pub died_at_ns: Option<WallTimeNs>,
}

impl Container {
    /// What the path alone tells.
    pub(super) fn from_identity(identity: &Identity) -> Self {
        Self {
            id: identity.id.clone(),
            name: bounded(identity.name.clone()),
            runtime: identity.runtime,
            image: None,
            pod: identity.pod_uid.clone().map(|uid| Pod { uid: Some(uid), ..Pod::default() }),
            unit: identity.unit.clone(),
            slice: identity.slice.clone(),
            cgroup: identity.cgroup.clone(),
            created_at_ns: None,
            started_at_ns: None,
            died_at_ns: None,
        }
    }

    /// Kernel threads, which sit in the root cgroup but are not the host's programs.
    pub fn kernel() -> Self {
        Self::pseudo(Runtime::Kernel)
    }

    /// The owner of what could not be given to anyone.
    pub fn unattributed() -> Self {
        Self::pseudo(Runtime::Unattributed)
    }

    fn pseudo(runtime: Runtime) -> Self {
        Self {
            id: runtime.as_str().into(),
            name: runtime.as_str().to_owned(),
            runtime,
            image: None,
            pod: None,
            unit: None,
            slice: None,
            cgroup: String::new(),
            created_at_ns: None,
            started_at_ns: None,
            died_at_ns: None,
        }
    }

    /// `namespace/pod/name` as far as they are known, else the name.
    pub fn qualified_name(&self) -> String {
        let pod = self.pod.as_ref();
        let parts = [
            pod.and_then(|pod| pod.namespace.as_deref()),
            pod.and_then(|pod| pod.name.as_deref()),
            Some(self.name.as_str()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }

    /// Whether its cgroup is still there.
    pub fn is_alive(&self) -> bool {
        self.died_at_ns.is_none()
    }
}

/// The first [`SHORT_ID_CHARS`] characters of a hexadecimal id; any other id whole.
pub(super) fn short(id: &str) -> &str {
    let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { id.get(..SHORT_ID_CHARS).unwrap_or(id) } else { id }
}

/// Cuts a text at [`NAME_MAX_BYTES`], between characters.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > NAME_MAX_BYTES {
        text.truncate(text.floor_char_boundary(NAME_MAX_BYTES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::identify;

    #[test]
    fn hostile_names_are_cut_between_characters_and_kept() {
        let long = "ä".repeat(NAME_MAX_BYTES);
        assert_eq!(bounded(long).len(), NAME_MAX_BYTES);
        let odd = "a\u{202e}b\n\u{1b}[31m".to_owned();
        assert_eq!(bounded(odd.clone()), odd);
    }

    #[test]
    fn only_hex_is_shortened() {
        assert_eq!(short("4aa65076bd4226d6"), "4aa65076bd42");
        assert_eq!(short("my-long-lxc-container-name"), "my-long-lxc-container-name");
        assert_eq!(short("abc"), "abc");
    }

    #[test]
    fn json_has_the_id_as_text() {
        let container = Container::from_identity(&identify("/lxc/web"));
        let json = serde_json::to_value(&container).expect("serialises");
        assert_eq!(json["id"], "web");
        assert_eq!(json["runtime"], "lxc");
        let back: Container = serde_json::from_value(json).expect("deserialises");
        assert_eq!(back, container);
    }

    #[test]
    fn the_qualified_name_says_the_pod() {
        let mut container = Container::from_identity(&identify("/lxc/web"));
        assert_eq!(container.qualified_name(), "web");
        container.pod = Some(Pod {
            name: Some("shop-0".to_owned()),
            namespace: Some("prod".to_owned()),
            uid: None,
        });
        assert_eq!(container.qualified_name(), "prod/shop-0/web");
    }
}
