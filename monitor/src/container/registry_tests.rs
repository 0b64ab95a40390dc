//! The registry over a directory that stands for cgroupfs and another that stands for the host.

use std::fs;
use std::path::Path;

use super::*;
use crate::container::Runtime;
use crate::kernel::cgroupfs::Hierarchy;

const A: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";
const LIST: &str = "var/lib/containers/storage/overlay-containers/containers.json";
const SOON: Duration = Duration::from_secs(20);

fn tree(mount: &Path) -> CgroupTree {
    CgroupTree {
        hierarchy: Hierarchy::V2,
        hierarchy_id: HierarchyId::V2,
        mount: mount.to_owned(),
        reason: String::new(),
    }
}

struct Host {
    cgroups: tempfile::TempDir,
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let temporary = || tempfile::tempdir().expect("tempdir");
        Self { cgroups: temporary(), root: temporary() }
    }

    fn make(&self, path: &str) -> CgroupId {
        let tree = tree(self.cgroups.path());
        fs::create_dir_all(tree.path_of(path)).expect("mkdir");
        tree.id_of(path).expect("just made")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, content).expect("write");
    }

    fn start(&self, retries: &[u64]) -> Registry {
        let options = Options {
            root: self.root.path().to_owned(),
            retries: retries.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            ..Options::default()
        };
        Registry::start_with(tree(self.cgroups.path()), options)
    }
}

fn list(name: &str) -> String {
    format!(r#"[{{"id":"{A}","names":["{name}"]}}]"#)
}

fn libpod() -> String {
    format!("/libpod_parent/libpod-{A}")
}

/// Waits for what another thread does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_runs_at_the_start_is_named() {
    let host = Host::new();
    let outer = host.make(&libpod());
    let inner = host.make(&format!("{}/container", libpod()));
    let service = host.make("/system.slice/nginx.service");
    host.write(LIST, &list("web"));
    let registry = host.start(&[]);
    assert!(registry.wait_for_names(SOON));
    for id in [outer, inner] {
        let container = registry.of(id).expect("known");
        assert_eq!((container.name.as_str(), container.id.as_str()), ("web", A));
        assert_eq!(container.started_at_ns, None);
    }
    assert_eq!(registry.of(service).expect("known").runtime, Runtime::Systemd);
    let names = |all| -> Vec<String> {
        registry.containers(false, all).iter().map(|c| c.name.clone()).collect()
    };
    assert_eq!(names(false), ["web"]);
    assert_eq!(names(true), ["/libpod_parent", "/system.slice", "host", "nginx.service", "web"]);
    let mut own = registry.cgroups_of(&A.into());
    own.sort();
    let mut expected = [outer, inner];
    expected.sort();
    assert_eq!(own, expected);
    assert_eq!(registry.find("4aa6").expect("prefix").name, "web");
}

#[test]
fn a_name_written_after_the_birth_is_found_by_a_retry() {
    let host = Host::new();
    let registry = host.start(&[50, 100, 10_000]);
    registry.born(CgroupId(77), &libpod());
    assert_eq!(registry.of(CgroupId(77)).expect("at once").name, "4aa65076bd42");
    assert!(registry.wait_for_names(SOON));
    assert_eq!(registry.of(CgroupId(77)).expect("known").name, "4aa65076bd42");
    host.write(LIST, &list("late"));
    eventually("the retry", || registry.of(CgroupId(77)).expect("known").name == "late");
    registry.died(CgroupId(77));
    let dead = registry.of(CgroupId(77)).expect("remembered");
    assert_eq!(dead.name, "late");
    assert!(dead.started_at_ns.is_some() && dead.died_at_ns >= dead.started_at_ns);
    assert!(registry.containers(false, false).is_empty());
    assert_eq!(registry.containers(true, false).len(), 1);
    assert_eq!(registry.find("late").expect("the dead are found too").id.as_str(), A);
}

#[test]
fn what_never_gets_a_name_is_counted_with_its_reason() {
    let host = Host::new();
    host.write(LIST, "{ broken");
    let registry = host.start(&[1, 2]);
    registry.born(CgroupId(77), &libpod());
    eventually("giving up", || registry.stats().names_unknown == 1);
    let stats = registry.stats();
    assert_eq!((stats.state_errors, stats.names_waiting), (3, 0));
    assert!(stats.last_state_error.expect("kept").contains("containers.json"));
    assert_eq!(registry.of(CgroupId(77)).expect("known").id.as_str(), A);
}

#[test]
fn a_plain_cgroup_of_an_engine_gets_the_engines_name() {
    let host = Host::new();
    let id = host.make("/custom/place");
    let state =
        format!(r#"{{"cgroup_paths":{{"":"{}/custom/place"}}}}"#, host.cgroups.path().display());
    host.write(&format!("run/docker/runtime-runc/moby/{A}/state.json"), &state);
    host.write(&format!("var/lib/docker/containers/{A}/config.v2.json"), r#"{"Name":"/odd"}"#);
    let registry = host.start(&[]);
    assert!(registry.wait_for_names(SOON));
    let container = registry.of(id).expect("known");
    assert_eq!((container.name.as_str(), container.id.as_str()), ("odd", A));
    assert_eq!(container.runtime, Runtime::Docker);
}

#[test]
fn another_hierarchy_leads_to_the_same_container() {
    let host = Host::new();
    host.make(&libpod());
    let blkio = tempfile::tempdir().expect("tempdir");
    let other = CgroupTree { hierarchy_id: HierarchyId(7), ..tree(blkio.path()) };
    fs::create_dir_all(other.path_of(&libpod())).expect("mkdir");
    let registry = host.start(&[]);
    registry.also(&other);
    let id = other.id_of(&libpod()).expect("made");
    assert_eq!(registry.of_in(HierarchyId(7), id).expect("known").id.as_str(), A);
    assert_eq!(registry.keys_of(&A.into()).len(), 2);
    assert_eq!(registry.cgroups_of(&A.into()).len(), 1);
}

#[test]
fn resync_makes_up_for_lost_events() {
    let host = Host::new();
    host.make("/lxc/gone");
    let registry = host.start(&[]);
    fs::remove_dir(host.cgroups.path().join("lxc/gone")).expect("rmdir");
    let new = host.make("/lxc/new");
    registry.resync();
    assert_eq!(registry.of(new).expect("found").name, "new");
    assert!(!registry.find("gone").expect("remembered").is_alive());
    let alive: Vec<_> = registry.containers(false, false).iter().map(|c| c.name.clone()).collect();
    assert_eq!(alive, ["new"]);
}

#[test]
fn the_hot_calls_do_not_wait_for_files() {
    let host = Host::new();
    let file = host.root.path().join(LIST);
    fs::create_dir_all(file.parent().expect("parent")).expect("mkdir");
    // A list of almost four megabytes holds the thread up; it names all of them.
    let entry = |n: u64| format!(r#"{{"id":"{n:064x}","names":["n{n}"]}}"#);
    let many: Vec<String> = (0..40_000).map(entry).collect();
    fs::write(&file, format!("[{}]", many.join(","))).expect("write");
    let registry = host.start(&[]);
    let mut unnamed_at_once = 0;
    for n in 0..1000_u64 {
        registry.born(CgroupId(1000 + n), &format!("/libpod_parent/libpod-{n:064x}"));
        let container = registry.of(CgroupId(1000 + n)).expect("known at once");
        unnamed_at_once += usize::from(container.name == "000000000000");
    }
    assert!(unnamed_at_once > 0, "each birth waited for its name");
    assert!(registry.wait_for_names(SOON));
    assert_eq!(registry.of(CgroupId(1999)).expect("known").name, "n999");
}
