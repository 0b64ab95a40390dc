//! Who made a cgroup.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What made and manages a cgroup. Serialised and printed by the same name: the label `runtime`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// podman, rootful or rootless.
    Podman,
    /// Docker Engine, also under Kubernetes.
    Docker,
    /// containerd: CRI, nerdctl or ctr.
    Containerd,
    /// CRI-O.
    #[serde(rename = "crio")]
    CriO,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// A bare OCI runtime (runc, crun, youki), BuildKit or Garden.
    Runc,
    /// A systemd service or scope that is no container.
    Systemd,
    /// A plain cgroup directory.
    Cgroup,
    /// Tasks of the root cgroup.
    Host,
    /// Kernel threads.
    Kernel,
    /// What could not be given to anyone.
    Unattributed,
}

impl Runtime {
    /// Whether this is a container in the everyday sense, and not a part of the host.
    pub fn is_container(self) -> bool {
        match self {
            Self::Podman
            | Self::Docker
            | Self::Containerd
            | Self::CriO
            | Self::Lxc
            | Self::Nspawn
            | Self::Runc => true,
            Self::Systemd | Self::Cgroup | Self::Host | Self::Kernel | Self::Unattributed => false,
        }
    }

    /// The name as in labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "crio",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Runc => "runc",
            Self::Systemd => "systemd",
            Self::Cgroup => "cgroup",
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Unattributed => "unattributed",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_display_agree() {
        let all = [
            Runtime::Podman,
            Runtime::Docker,
            Runtime::Containerd,
            Runtime::CriO,
            Runtime::Lxc,
            Runtime::Nspawn,
            Runtime::Runc,
            Runtime::Systemd,
            Runtime::Cgroup,
            Runtime::Host,
            Runtime::Kernel,
            Runtime::Unattributed,
        ];
        for runtime in all {
            let json = serde_json::to_string(&runtime).expect("serialises");
            assert_eq!(json, format!("\"{runtime}\""));
        }
    }
}
