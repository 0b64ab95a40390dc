//! What a cgroup path says about its owner. Pure: text in, identity out.
//!
//! A path may pass through several containers (docker in docker, systemd in podman): the innermost one
//! owns it. A path through none belongs to its innermost systemd service or scope, else to itself. Ids are
//! never shortened. Helpers of a runtime (`conmon`, LXC's monitor) are not the container they serve.

use super::model::{ContainerId, short};
use super::runtime::Runtime;
use super::unit::{self, Unit};

/// The owner of a cgroup, as far as its path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub runtime: Runtime,
    /// The whole id of a container, else the path of the owner's cgroup.
    pub id: ContainerId,
    /// What to call it until more is known.
    pub name: String,
    /// The path of the owner's cgroup: the path given, or an ancestor of it.
    pub cgroup: String,
    /// The innermost systemd unit that holds it, decoded.
    pub unit: Option<String>,
    /// The slice of that unit, decoded.
    pub slice: Option<String>,
    /// The Kubernetes pod's uid with dashes, or podman's pod id.
    pub pod_uid: Option<String>,
}

/// Tells the owner of the cgroup at `path` (from the hierarchy's root, `/` being the root itself).
pub fn identify(path: &str) -> Identity {
    let components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if components.is_empty() {
        return Identity {
            runtime: Runtime::Host,
            id: "/".into(),
            name: "host".to_owned(),
            cgroup: "/".to_owned(),
            unit: None,
            slice: None,
            pod_uid: None,
        };
    }
    let found = (0..components.len())
        .rev()
        .find_map(|at| container_at(&components[..at], components[at]).map(|found| (at, found)));
    match found {
        Some((at, found)) => container(&components[..=at], found),
        None => not_a_container(&components),
    }
}

fn container(components: &[&str], found: Found) -> Identity {
    let unit = unit::innermost(components);
    Identity {
        runtime: found.runtime,
        name: found.name.unwrap_or_else(|| short(&found.id).to_owned()),
        id: found.id.into(),
        cgroup: join(components),
        slice: slice_of(unit.as_ref(), components),
        unit: unit.map(|unit| unit.name),
        pod_uid: pod_uid(components),
    }
}

fn not_a_container(components: &[&str]) -> Identity {
    let unit = unit::innermost(components);
    let depth = unit.as_ref().map_or(components.len(), |unit| unit.depth);
    let own = &components[..depth];
    let cgroup = join(own);
    let name = helper_name(own).unwrap_or_else(|| match &unit {
        // Two users may run units of one name: the manager tells them apart.
        Some(Unit { name, manager: Some(manager), .. }) => format!("{manager}/{name}"),
        Some(unit) => unit.name.clone(),
        None => cgroup.clone(),
    });
    Identity {
        runtime: if unit.is_some() { Runtime::Systemd } else { Runtime::Cgroup },
        id: cgroup.as_str().into(),
        name,
        slice: slice_of(unit.as_ref(), own),
        unit: unit.map(|unit| unit.name),
        pod_uid: pod_uid(own),
        cgroup,
    }
}

fn slice_of(unit: Option<&Unit>, components: &[&str]) -> Option<String> {
    let nearest = || components.iter().rfind(|part| part.ends_with(".slice"));
    unit.map_or_else(|| nearest().map(|part| unit::decode(part)), |unit| unit.slice.clone())
}

fn join(components: &[&str]) -> String {
    components.iter().flat_map(|part| ["/", part]).collect()
}

/// A directory that is a container.
struct Found {
    runtime: Runtime,
    id: String,
    /// Where the id is no name.
    name: Option<String>,
}

impl Found {
    fn new(runtime: Runtime, id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self { runtime, id: id.to_owned(), name: None })
    }

    fn named(runtime: Runtime, name: String) -> Option<Self> {
        (!name.is_empty()).then(|| Self { runtime, id: name.clone(), name: Some(name) })
    }
}

/// Directory names of the form prefix and hexadecimal id, with or without `.scope`.
const PREFIXES: [(&str, Runtime); 7] = [
    ("libpod-payload-", Runtime::Podman), // podman --cgroups=split, as Quadlet does
    ("libpod-", Runtime::Podman),
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("kata_", Runtime::Containerd),
    ("crio-", Runtime::CriO),
];

/// Default scopes of bare OCI runtimes; their ids are any text.
const SCOPES: [&str; 3] = ["runc-", "crun-", "youki-"];

/// Whether the directory `part` below `above` is a container.
fn container_at(above: &[&str], part: &str) -> Option<Found> {
    if part.ends_with(".slice") || part.ends_with(".mount") {
        return None;
    }
    let parent = above.last().copied().unwrap_or_default();
    with_colons(part)
        .or_else(|| lxc(parent, part))
        .or_else(|| machine(parent, part))
        .or_else(|| prefixed(part))
        .or_else(|| below_known_parent(above, parent, part))
}

/// `system.slice:cri-containerd:<id>`: a systemd form taken literally by the cgroupfs driver.
fn with_colons(part: &str) -> Option<Found> {
    let mut fields = part.splitn(3, ':');
    let (slice, prefix, id) = (fields.next()?, fields.next()?, fields.next()?);
    if !slice.is_empty() && !slice.ends_with(".slice") {
        return None;
    }
    let prefix = format!("{prefix}-");
    let known = PREFIXES.iter().find(|(known, _)| *known == prefix);
    Found::new(known.map_or(Runtime::Runc, |(_, runtime)| *runtime), id)
}

fn lxc(parent: &str, part: &str) -> Option<Found> {
    let below = matches!(parent, "lxc" | "lxc.payload").then_some(part);
    let name = part.strip_prefix("lxc.payload.").or(below)?;
    Found::named(Runtime::Lxc, name.to_owned())
}

/// systemd-machined's scopes: nspawn, libvirt-lxc; virtual machines are no containers.
fn machine(parent: &str, part: &str) -> Option<Found> {
    if let Some(service) = part.strip_prefix("systemd-nspawn@") {
        return Found::named(Runtime::Nspawn, unit::decode(service.strip_suffix(".service")?));
    }
    let scope = part.strip_prefix("machine-")?.strip_suffix(".scope")?;
    if !parent.ends_with(".slice") {
        return None;
    }
    let machine = unit::decode(scope);
    let libvirt = |kind: &str| {
        let (number, name) = machine.strip_prefix(kind)?.split_once('-')?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.to_owned())
    };
    if libvirt("qemu-").is_some() {
        return None;
    }
    match libvirt("lxc-") {
        Some(name) => Found::named(Runtime::Lxc, name),
        None => Found::named(Runtime::Nspawn, machine),
    }
}

fn prefixed(part: &str) -> Option<Found> {
    let scope = part.strip_suffix(".scope");
    let base = scope.unwrap_or(part);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = base.strip_prefix(prefix).filter(|id| is_hex(id, 12)) {
            return Found::new(runtime, id);
        }
    }
    let id = SCOPES.iter().find_map(|prefix| scope?.strip_prefix(prefix))?;
    Found::named(Runtime::Runc, unit::decode(id))
}

/// Bare ids, told by the directory they are in.
fn below_known_parent(above: &[&str], parent: &str, part: &str) -> Option<Found> {
    if part.ends_with(".service") || part.ends_with(".scope") {
        return None;
    }
    let top = above.first().copied().unwrap_or_default();
    match parent {
        "garden" => return Found::named(Runtime::Runc, part.to_owned()),
        "buildkit" if part.len() >= 8 => return Found::new(Runtime::Runc, part),
        // ctr's ids are any text.
        "default" if above.len() == 1 => return Found::new(Runtime::Containerd, part),
        _ => {}
    }
    if top == "ecs" && fargate(part) {
        return Found::new(Runtime::Containerd, part);
    }
    if !is_hex(part, 64) {
        return None;
    }
    let in_pod = above.iter().any(|part| part.contains("kubepods"));
    let runtime = match parent {
        "k8s.io" => Runtime::Containerd,
        "libpod_parent" => Runtime::Podman,
        "docker" | "moby" => Runtime::Docker,
        // Docker's cgroupfs driver looks the same here; its state files tell.
        _ if in_pod => Runtime::Containerd,
        // `docker run --cgroup-parent` puts the bare id anywhere, and hardly anyone else does.
        _ => Runtime::Docker,
    };
    Found::new(runtime, part)
}

/// AWS Fargate: 32 hexadecimal digits, a dash, a number.
fn fargate(part: &str) -> bool {
    part.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32 && is_hex(task, 32) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_hex(text: &str, at_least: usize) -> bool {
    text.len() >= at_least && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The uid of the innermost pod along the path.
fn pod_uid(components: &[&str]) -> Option<String> {
    components.iter().enumerate().rev().find_map(|(at, part)| {
        // kubepods-burstable-pod1234_5678.slice, possibly followed by :cri-containerd:<id>
        let slice = part.split(':').next().and_then(|part| part.strip_suffix(".slice"));
        if let Some(slice) = slice {
            if let Some((_, id)) = slice.split_once("libpod_pod_") {
                return Some(id.to_owned());
            }
            let (_, uid) = slice.contains("kubepods").then(|| slice.rsplit_once("-pod"))??;
            return Some(uid.replace('_', "-"));
        }
        let inside = components[..at].iter().any(|part| part.contains("kubepods"));
        let uid = part.strip_prefix("pod").filter(|uid| inside && is_uid(uid))?;
        Some(uid.to_owned())
    })
}

fn is_uid(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// `conmon of <id>`, `monitor of <name>`: a runtime's helper, which is not the container.
fn helper_name(components: &[&str]) -> Option<String> {
    let part = components.last()?;
    let base = part.strip_suffix(".scope").unwrap_or(part);
    let id = base.strip_prefix("libpod-conmon-").or_else(|| base.strip_prefix("crio-conmon-"));
    if let Some(id) = id {
        return Some(format!("conmon of {}", short(id)));
    }
    let parent = components.len().checked_sub(2).map(|at| components[at]);
    let below = (parent == Some("lxc.monitor")).then_some(*part);
    let name = part.strip_prefix("lxc.monitor.").or(below)?;
    Some(format!("monitor of {name}"))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
