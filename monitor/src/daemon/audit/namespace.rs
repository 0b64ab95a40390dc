//! Which network namespace each container is in: the kernel's counters of TCP are of a namespace, not of a container.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    sync::Arc,
};

use crate::{
    container::Registry,
    kernel::{accounts, cgroupfs::Hierarchy},
};

/// How many namespaces are read in a round, the host's included.
const NAMESPACES: usize = 32;

/// A network namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    /// Its number.
    pub number: u64,
    /// `host`, or the id of the first of its containers.
    pub name: Arc<str>,
    /// A process in it.
    pub process: String,
    is_host: bool,
    members: Arc<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Containers of which it is known that they are in another namespace than the host, and in which.
    apart: HashMap<String, u64>,
    /// Containers of which it is not known.
    unknown: BTreeSet<String>,
}

impl Namespace {
    /// Whether an owner's connections are counted in it. What is no container is taken to be in the host's.
    pub fn has(&self, owner: &str) -> bool {
        match self.members.apart.get(owner) {
            Some(&number) => number == self.number,
            None => self.is_host && !self.members.unknown.contains(owner),
        }
    }
}

/// Looks at containers.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// A process of each container that was found.
    processes: HashMap<String, String>,
}

impl Namespaces {
    /// Those there are now; none where the kernel does not keep whose a socket is by the identity that is used.
    pub fn now(&mut self, registry: &Registry) -> Vec<Namespace> {
        let Some(host) = accounts::network_namespace("1") else { return vec![] };
        if registry.tree().hierarchy != Hierarchy::V2 {
            return vec![];
        }
        let mut members = Members::default();
        let mut found: BTreeMap<u64, (Arc<str>, String)> = BTreeMap::new();
        let containers = registry.living().into_iter().filter(|one| one.runtime.is_container());
        let mut processes = HashMap::new();
        for container in containers {
            let id = container.id.to_string();
            let known = self.processes.remove(&id).filter(|process| is_alive(process));
            let process = known.or_else(|| {
                let directory = registry.tree().path_of(&container.cgroup);
                let text = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
                text.lines().next().map(str::to_owned)
            });
            let Some((process, number)) = process.and_then(|process| {
                Some((process.clone(), accounts::network_namespace(&process)?))
            }) else {
                members.unknown.insert(id);
                continue;
            };
            processes.insert(id.clone(), process.clone());
            if number == host {
                continue;
            }
            found.entry(number).or_insert_with(|| (id.as_str().into(), process));
            members.apart.insert(id, number);
        }
        self.processes = processes;
        let members = Arc::new(members);
        let of = |number, name, process, is_host| Namespace {
            number,
            name,
            process,
            is_host,
            members: Arc::clone(&members),
        };
        let others =
            found.into_iter().map(|(number, (name, process))| of(number, name, process, false));
        std::iter::once(of(host, "host".into(), "1".to_owned(), true))
            .chain(others)
            .take(NAMESPACES)
            .collect()
    }
}

/// Its number may be another's by now: then that one's namespace tells nothing wrong, since both counts of a round are of it.
fn is_alive(process: &str) -> bool {
    fs::exists(format!("/proc/{process}/ns/net")).unwrap_or(false)
}
