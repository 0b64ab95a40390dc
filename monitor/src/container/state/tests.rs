//! State files as the runtimes write them, in a directory that stands for the host's root.

use std::fs;

use super::*;
use crate::container::identify;

const A: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";
const B: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }

    fn with(self, path: &str, content: &str) -> Self {
        let path = below(self.0.path(), path);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, content).expect("write");
        self
    }

    fn files(&self) -> StateFiles {
        StateFiles::new(self.0.path(), &Hierarchy::V2, Path::new("/sys/fs/cgroup/unified"))
    }

    fn ask(&self, cgroup: &str) -> Result<Option<Facts>, StateError> {
        self.files().look_up(&Container::from_identity(&identify(cgroup)))
    }

    fn facts(&self, cgroup: &str) -> Facts {
        self.ask(cgroup).expect("readable").expect(cgroup)
    }
}

fn podman_list(id: &str, name: &str) -> String {
    format!(
        r#"[{{"id":"{id}","names":["{name}"],"image":"c31e","layer":"cc63","metadata":"{{\"image-name\":\"localhost/busybox:latest\",\"name\":\"{name}\"}}","created":"2026-11-20T19:12:08.069794554Z","flags":{{"Volatile":true}}}},
           {{"id":"other","names":null,"image":"c31e"}}]"#
    )
}

#[test]
fn podman_of_root() {
    let list = podman_list(A, "web");
    let host = Host::new()
        .with("/var/lib/containers/storage/overlay-containers/containers.json", "[]")
        .with("/var/lib/containers/storage/overlay-containers/volatile-containers.json", &list)
        .with(&format!("/run/runc/{A}/state.json"), r#"{"created":"2026-11-20T19:12:09Z"}"#);
    let facts = host.facts(&format!("/libpod_parent/libpod-{A}"));
    assert_eq!(facts.name.as_deref(), Some("web"));
    assert_eq!(facts.image.as_deref(), Some("localhost/busybox:latest"));
    assert_eq!(facts.created_at_ns, Some(WallTimeNs(1_795_201_928_069_794_554)));
    assert_eq!(facts.started_at_ns, Some(WallTimeNs(1_795_201_929_000_000_000)));
    assert_eq!(host.ask(&format!("/libpod_parent/libpod-{B}")).expect("readable"), None);
}

#[test]
fn podman_moved_by_storage_conf_with_image_list() {
    let host = Host::new()
        .with(
            "/etc/containers/storage.conf",
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"/data/c\"\n",
        )
        .with(
            "/data/c/vfs-containers/containers.json",
            &format!(r#"[{{"id":"{A}","names":["db"],"image":"c31e"}}]"#),
        )
        .with(
            "/data/c/vfs-images/images.json",
            r#"[{"id":"c31e","names":["docker.io/postgres:17"]}]"#,
        );
    let facts = host.facts(&format!("/machine.slice/libpod-{A}.scope/container"));
    assert_eq!(facts.name.as_deref(), Some("db"));
    assert_eq!(facts.image.as_deref(), Some("docker.io/postgres:17"));
}

#[test]
fn podman_of_a_user_is_read_in_that_users_home() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                  bob:x:1001:1001::/home/bob:/bin/sh\nnone:x:9:9::/nowhere:/bin/false\n";
    let lists = ".local/share/containers/storage/overlay-containers/containers.json";
    let host = Host::new()
        .with("/etc/passwd", passwd)
        .with(&format!("/home/ann/{lists}"), &podman_list(A, "of-ann"))
        .with(&format!("/home/bob/{lists}"), &podman_list(A, "of-bob"));
    let path = |uid: u32| {
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{A}.scope")
    };
    assert_eq!(host.facts(&path(1001)).name.as_deref(), Some("of-bob"));
    assert_eq!(host.facts(&path(1000)).name.as_deref(), Some("of-ann"));
    // The cgroupfs manager does not say whose it is: every home is asked.
    assert_eq!(host.facts(&format!("/libpod_parent/libpod-{A}")).name.as_deref(), Some("of-ann"));
}

#[test]
fn a_changed_list_is_read_again() {
    let file = "/var/lib/containers/storage/overlay-containers/containers.json";
    let host = Host::new().with(file, &podman_list(A, "first"));
    let mut files = host.files();
    let container = Container::from_identity(&identify(&format!("/libpod_parent/libpod-{A}")));
    let name =
        |files: &mut StateFiles| files.look_up(&container).expect("readable").and_then(|f| f.name);
    assert_eq!(name(&mut files).as_deref(), Some("first"));
    let _host = host.with(file, &podman_list(A, "second name"));
    assert_eq!(name(&mut files).as_deref(), Some("second name"));
}

#[test]
fn docker_names_images_and_pods() {
    let config = r#"{"Name":"/web","Created":"2026-11-20T19:12:08Z","State":{"StartedAt":"0001-01-01T00:00:00Z"},
                     "Config":{"Image":"nginx:1.27","Labels":null}}"#;
    let host = Host::new().with(&format!("/var/lib/docker/containers/{A}/config.v2.json"), config);
    let facts = host.facts(&format!("/docker/{A}"));
    assert_eq!((facts.name.as_deref(), facts.image.as_deref()), (Some("web"), Some("nginx:1.27")));
    assert_eq!((facts.runtime, facts.started_at_ns), (Some(Runtime::Docker), None));

    let labels = r#"{"Name":"/k8s_app_shop-0_prod_x_0","Config":{"Image":"sha256:1","Labels":{
        "io.kubernetes.container.name":"app","io.kubernetes.pod.name":"shop-0","io.kubernetes.pod.namespace":"prod"}}}"#;
    let host = Host::new()
        .with("/etc/docker/daemon.json", r#"{"data-root":"/data/docker"}"#)
        .with(&format!("/data/docker/containers/{A}/config.v2.json"), labels);
    // By its path alone it would be containerd's.
    let facts =
        host.facts(&format!("/kubepods/besteffort/pod74c13223-5a00-11e9-b385-42010a80018d/{A}"));
    assert_eq!(facts.runtime, Some(Runtime::Docker));
    assert_eq!(facts.name.as_deref(), Some("app"));
    let pod = facts.pod.expect("labels name a pod");
    assert_eq!((pod.name.as_deref(), pod.namespace.as_deref()), (Some("shop-0"), Some("prod")));
}

#[test]
fn containerd_annotations() {
    let task = "/run/containerd/io.containerd.runtime.v2.task";
    let cri = r#"{"ociVersion":"1.1.0","process":{"args":["x"]},"annotations":{
        "io.kubernetes.cri.container-name":"alloy","io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.image-name":"grafana/alloy:latest","io.kubernetes.cri.sandbox-name":"alloy-ltrr7",
        "io.kubernetes.cri.sandbox-namespace":"monitoring","io.kubernetes.cri.sandbox-uid":"u-1"}}"#;
    let sandbox = r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"alloy-ltrr7"}}"#;
    let host = Host::new()
        .with(&format!("{task}/k8s.io/{A}/config.json"), cri)
        .with(
            &format!("{task}/default/{B}/config.json"),
            r#"{"annotations":{"nerdctl/name":"redis"}}"#,
        )
        .with(
            &format!("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/c{A}/config.json"),
            sandbox,
        )
        .with(&format!("{task}/default/plain/config.json"), r#"{"annotations":null}"#)
        .with(
            "/run/containerd/runc/default/plain/state.json",
            r#"{"created":"2026-11-20T19:12:09Z"}"#,
        );
    let facts = host.facts(&format!("/system.slice/cri-containerd-{A}.scope"));
    assert_eq!(facts.name.as_deref(), Some("alloy"));
    assert_eq!(facts.image.as_deref(), Some("grafana/alloy:latest"));
    let pod = facts.pod.expect("annotated");
    assert_eq!(pod.name.as_deref(), Some("alloy-ltrr7"));
    assert_eq!((pod.namespace.as_deref(), pod.uid.as_deref()), (Some("monitoring"), Some("u-1")));
    assert_eq!(host.facts(&format!("/default/{B}")).name.as_deref(), Some("redis"));
    let pause = host.facts(&format!("/k8s.io/c{A}"));
    assert_eq!(pause.name.as_deref(), Some("POD"));
    let plain = host.facts("/default/plain");
    assert_eq!(
        (plain.name, plain.started_at_ns),
        (None, Some(WallTimeNs(1_795_201_929_000_000_000)))
    );
}

#[test]
fn crio_annotations() {
    let bundle = r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"container",
        "io.kubernetes.container.name":"coredns","io.kubernetes.pod.name":"coredns-5d7","io.kubernetes.pod.namespace":"kube-system",
        "io.kubernetes.pod.uid":"aaaa2b4a-f398-41c0-928b-049e1cc4ec40","io.kubernetes.cri-o.ImageName":"registry.k8s.io/coredns:v1",
        "io.kubernetes.cri-o.Created":"2026-11-20T19:12:08Z"}}"#;
    let host = Host::new().with(
        &format!("/var/lib/containers/storage/overlay-containers/{A}/userdata/config.json"),
        bundle,
    );
    let facts = host.facts(&format!("/kubepods.slice/crio-{A}.scope"));
    assert_eq!(facts.runtime, Some(Runtime::CriO));
    assert_eq!(facts.name.as_deref(), Some("coredns"));
    assert_eq!(facts.image.as_deref(), Some("registry.k8s.io/coredns:v1"));
    assert_eq!(facts.pod.and_then(|pod| pod.namespace).as_deref(), Some("kube-system"));
}

#[test]
fn proxmox_hostnames() {
    let host = Host::new()
        .with("/etc/pve/lxc/101.conf", "arch: amd64\nhostname: mail\n[snap]\nhostname: old\n")
        .with("/var/lib/lxc/102/config", "lxc.uts.name = db\n");
    assert_eq!(host.facts("/lxc/101/ns").name.as_deref(), Some("mail"));
    assert_eq!(host.facts("/lxc.payload.102").name.as_deref(), Some("db"));
    assert_eq!(host.ask("/lxc/103").expect("readable"), None);
}

#[test]
fn bare_runtimes_are_found_by_the_cgroup_they_note() {
    let host = Host::new()
        .with("/run/runc/job/state.json", r#"{"id":"job","created":"2026-11-20T19:12:09Z",
            "cgroup_paths":{"":"/sys/fs/cgroup/unified/batch/one","cpu":"/sys/fs/cgroup/cpu/other"}}"#)
        .with("/run/crun/box/status", r#"{"pid":1,"cgroup-path":"/batch/two/container","created":"2026-11-20T19:12:09Z"}"#)
        .with("/run/docker/runtime-runc/moby/abc/state.json", r#"{"cgroup_paths":{"":"/sys/fs/cgroup/unified/batch/three"}}"#)
        .with("/run/runc/broken/state.json", "{")
        .with("/run/user/1000/crun/mine/status", r#"{"cgroup-path":"/user.slice/user-1000.slice/my.scope"}"#);
    let facts = host.facts("/batch/one");
    assert_eq!((facts.id.as_deref(), facts.name.as_deref()), (Some("job"), Some("job")));
    assert_eq!(facts.runtime, Some(Runtime::Runc));
    assert_eq!(facts.started_at_ns, Some(WallTimeNs(1_795_201_929_000_000_000)));
    assert_eq!(host.facts("/batch/two").id.as_deref(), Some("box"));
    assert_eq!(host.facts("/batch/three").runtime, Some(Runtime::Docker));
    assert_eq!(host.facts("/user.slice/user-1000.slice/my.scope").id.as_deref(), Some("mine"));
    assert!(matches!(host.ask("/batch"), Err(StateError::Json { .. })));
}

#[test]
fn v1_paths_of_bare_runtimes() {
    let host = Host::new().with("/run/runc/job/state.json",
        r#"{"cgroup_paths":{"":"/sys/fs/cgroup/unified/x","cpu":"/sys/fs/cgroup/cpu,cpuacct/batch/one"}}"#);
    let v1 = Hierarchy::V1 { controller: "cpu".to_owned() };
    for mount in ["/sys/fs/cgroup/cpu,cpuacct", "/host/sys/fs/cgroup/cpu"] {
        let mut files = StateFiles::new(host.0.path(), &v1, Path::new(mount));
        let container = Container::from_identity(&identify("/batch/one"));
        let facts = files.look_up(&container).expect("readable").expect(mount);
        assert_eq!(facts.id.as_deref(), Some("job"));
    }
}

#[test]
fn hostile_files_are_errors_and_nothing_more() {
    let file = "/var/lib/containers/storage/overlay-containers/containers.json";
    let path = format!("/libpod_parent/libpod-{A}");
    let ask = |content: &str| Host::new().with(file, content).ask(&path);
    assert!(matches!(ask("not json"), Err(StateError::Json { .. })));
    assert!(matches!(ask(&"[".repeat(100_000)), Err(StateError::Json { .. })));
    assert!(matches!(ask("{}"), Err(StateError::Json { .. })));
    let huge = format!("[{}]", " ".repeat(read::MAX_BYTES as usize));
    assert!(matches!(ask(&huge), Err(StateError::TooLarge { .. })));
    let odd = Host::new().with(file, &podman_list(A, r"a\u202eb\u001b[31m")).facts(&path);
    assert_eq!(odd.name.as_deref(), Some("a\u{202e}b\u{1b}[31m"));

    let host = Host::new().with("/elsewhere", &podman_list(A, "x"));
    let place = below(host.0.path(), file);
    fs::create_dir_all(place.parent().expect("parent")).expect("mkdir");
    std::os::unix::fs::symlink(below(host.0.path(), "/elsewhere"), &place).expect("symlink");
    assert!(matches!(host.ask(&path), Err(StateError::Io { .. })));
    fs::remove_file(&place).expect("rm");
    let fifo = std::ffi::CString::new(place.as_os_str().as_encoded_bytes()).expect("no NUL");
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(matches!(host.ask(&path), Err(StateError::NotAFile { .. })));
}

#[test]
fn an_id_cannot_leave_its_directory() {
    let host = Host::new().with("/var/lib/docker/containers/config.v2.json", r#"{"Name":"/no"}"#);
    assert_eq!(host.ask("/default/..").expect("no file"), None);
}

#[test]
fn only_those_files_could_name_are_asked_for() {
    let may = |path: &str| StateFiles::may_know(&Container::from_identity(&identify(path)));
    for path in ["/docker/x/libpod-4aa65076bd4226d6", "/lxc/101", "/some/dir", "/a.slice/b.scope"] {
        assert!(may(path), "{path}");
    }
    for path in ["/", "/lxc/web", "/system.slice/nginx.service", "/machine.slice/machine-a.scope"] {
        assert!(!may(path), "{path}");
    }
}
