//! The paths runtimes really make, one row each.

use super::*;
use Runtime::*;

const A: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";
const B: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";

/// Path (`{A}`, `{B}` are ids), runtime, id, cgroup of the owner as a number of components.
const CONTAINERS: &[(&str, Runtime, &str, usize)] = &[
    // Docker
    ("/docker/{A}", Docker, "{A}", 2),
    ("/docker/{A}/init.scope", Docker, "{A}", 2),
    ("/system.slice/docker-{A}.scope", Docker, "{A}", 2),
    ("/system.slice/docker-{A}.scope/system.slice/nginx.service", Docker, "{A}", 2),
    ("/{A}", Docker, "{A}", 1),
    ("/actions_job/{A}", Docker, "{A}", 2),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", Docker, "{A}", 5),
    ("/ecs/55091c13-b8cf-4801-b527-f4601742204d/{A}", Docker, "{A}", 3),
    // Docker in docker, in LXC, kind in docker: the innermost
    ("/docker/{A}/docker/{B}", Docker, "{B}", 4),
    ("/lxc/101/ns/docker/{B}", Docker, "{B}", 5),
    (
        "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
         kubelet-kubepods-besteffort-pod3bd4d4a3_cb5e_4d6b_9f3c_b06d0fb3a5ad.slice/cri-containerd-{B}.scope",
        Containerd,
        "{B}",
        7,
    ),
    // podman
    ("/libpod_parent/libpod-{A}", Podman, "{A}", 2),
    ("/machine.slice/libpod-{A}.scope", Podman, "{A}", 2),
    ("/machine.slice/libpod-{A}.scope/container", Podman, "{A}", 2),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope", Podman, "{A}", 5),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container/system.slice/x.service",
        Podman,
        "{A}",
        5,
    ),
    ("/system.slice/nginx.service/libpod-payload-{A}", Podman, "{A}", 3),
    ("/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", Podman, "{A}", 3),
    ("/machine.slice/libpod-{A}.scope/container/libpod_parent/libpod-{B}", Podman, "{B}", 5),
    // containerd
    (
        "/kubepods.slice/kubepods-burstable.slice/\
         kubepods-burstable-podefad3b34_a18a_4d25_a7d3_7da3dfa1f4e1.slice/cri-containerd-{A}.scope",
        Containerd,
        "{A}",
        4,
    ),
    ("/kubepods/besteffort/pod74c13223-5a00-11e9-b385-42010a80018d/{A}", Containerd, "{A}", 4),
    ("/kubepods/pod74c13223-5a00-11e9-b385-42010a80018d/{A}", Containerd, "{A}", 3),
    ("/default/{A}", Containerd, "{A}", 2),
    ("/default/redis-1", Containerd, "redis-1", 2),
    ("/system.slice/nerdctl-{A}.scope", Containerd, "{A}", 2),
    ("/system.slice:cri-containerd:{A}", Containerd, "{A}", 1),
    ("/system.slice/system.slice:nerdctl:{A}", Containerd, "{A}", 2),
    (
        "/system.slice/containerd.service/\
         kubepods-burstable-podefad3b34_a18a_4d25_a7d3_7da3dfa1f4e1.slice:cri-containerd:{A}",
        Containerd,
        "{A}",
        3,
    ),
    (
        "/ecs/5a0d5ceddf6c44c1928d367a815d890f/5a0d5ceddf6c44c1928d367a815d890f-2532564911",
        Containerd,
        "5a0d5ceddf6c44c1928d367a815d890f-2532564911",
        3,
    ),
    // CRI-O
    (
        "/kubepods.slice/kubepods-besteffort.slice/\
         kubepods-besteffort-podaaaa2b4a_f398_41c0_928b_049e1cc4ec40.slice/crio-{A}.scope",
        CriO,
        "{A}",
        4,
    ),
    (
        "/kubepods.slice/kubepods-podaaaa2b4a_f398_41c0_928b_049e1cc4ec40.slice/crio-{A}.scope/container",
        CriO,
        "{A}",
        3,
    ),
    ("/kubepods/besteffort/podaaaa2b4a-f398-41c0-928b-049e1cc4ec40/crio-{A}", CriO, "{A}", 4),
    // Docker under Kubernetes
    (
        "/kubepods.slice/kubepods-podaaaa2b4a_f398_41c0_928b_049e1cc4ec40.slice/docker-{A}.scope",
        Docker,
        "{A}",
        3,
    ),
    // LXC, LXD, Proxmox
    ("/lxc/web", Lxc, "web", 2),
    ("/lxc.payload.web", Lxc, "web", 1),
    ("/lxc.payload/web/init.scope", Lxc, "web", 2),
    ("/lxc.payload.my-project_web-1/system.slice/nginx.service", Lxc, "my-project_web-1", 1),
    ("/lxc/101/ns/system.slice/cron.service", Lxc, "101", 2),
    ("/lxc/outer/ns/lxc/inner", Lxc, "inner", 5),
    ("/osctl/pool.tank/group.default/user.alice/ct.ct1/user-owned/lxc.payload.ct1", Lxc, "ct1", 7),
    (r"/machine.slice/machine-lxc\x2d4\x2dweb.scope", Lxc, "web", 2),
    // systemd-nspawn
    (r"/machine.slice/machine-my\x2dbox.scope/payload/init.scope", Nspawn, "my-box", 2),
    ("/machine.slice/systemd-nspawn@arch.service/payload", Nspawn, "arch", 2),
    // Others
    ("/system.slice/runc-job-7.scope", Runc, "job-7", 2),
    ("/user.slice/crun-mybox.scope/container", Runc, "mybox", 2),
    ("/garden/6a1b1d3c-3a0e-4d5b-5f1f-0a8f", Runc, "6a1b1d3c-3a0e-4d5b-5f1f-0a8f", 2),
    ("/docker/buildkit/wzmt3o3d0onl4ue4olf4dbklo", Runc, "wzmt3o3d0onl4ue4olf4dbklo", 3),
];

/// Path, runtime, name, cgroup of the owner.
const OTHERS: &[(&str, Runtime, &str, &str)] = &[
    ("/", Host, "host", "/"),
    ("/init.scope", Systemd, "init.scope", "/init.scope"),
    ("/system.slice/docker.service", Systemd, "docker.service", "/system.slice/docker.service"),
    ("/system.slice/a.service/sub/b", Systemd, "a.service", "/system.slice/a.service"),
    (
        "/system.slice/system-getty.slice/getty@tty1.service",
        Systemd,
        "getty@tty1.service",
        "/system.slice/system-getty.slice/getty@tty1.service",
    ),
    (
        "/user.slice/user-1000.slice/session-3.scope",
        Systemd,
        "session-3.scope",
        "/user.slice/user-1000.slice/session-3.scope",
    ),
    (
        r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-a\x2db.scope",
        Systemd,
        "user@1000.service/app-a-b.scope",
        r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-a\x2db.scope",
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
        Systemd,
        "user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service",
    ),
    (
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/vcpu0",
        Systemd,
        "machine-qemu-1-vm.scope",
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope",
    ),
    (
        "/machine.slice/libpod-conmon-{A}.scope",
        Systemd,
        "conmon of 4aa65076bd42",
        "/machine.slice/libpod-conmon-{A}.scope",
    ),
    (
        "/libpod_parent/libpod-conmon-{A}",
        Cgroup,
        "conmon of 4aa65076bd42",
        "/libpod_parent/libpod-conmon-{A}",
    ),
    (
        "/system.slice/crio-conmon-{A}.scope",
        Systemd,
        "conmon of 4aa65076bd42",
        "/system.slice/crio-conmon-{A}.scope",
    ),
    (
        "/system.slice/nginx.service/runtime",
        Systemd,
        "nginx.service",
        "/system.slice/nginx.service",
    ),
    ("/lxc.monitor.web", Cgroup, "monitor of web", "/lxc.monitor.web"),
    ("/lxc.monitor/101", Cgroup, "monitor of 101", "/lxc.monitor/101"),
    ("/lxc", Cgroup, "/lxc", "/lxc"),
    ("/docker", Cgroup, "/docker", "/docker"),
    ("/libpod_parent/conmon", Cgroup, "/libpod_parent/conmon", "/libpod_parent/conmon"),
    ("/kubepods/burstable", Cgroup, "/kubepods/burstable", "/kubepods/burstable"),
    ("/system.slice", Cgroup, "/system.slice", "/system.slice"),
    (
        "/system.slice/docker-proxy.service",
        Systemd,
        "docker-proxy.service",
        "/system.slice/docker-proxy.service",
    ),
    (
        "/system.slice/docker-{A}.scope.mount",
        Cgroup,
        "/system.slice/docker-{A}.scope.mount",
        "/system.slice/docker-{A}.scope.mount",
    ),
    ("/my:odd:dir", Cgroup, "/my:odd:dir", "/my:odd:dir"),
    ("//a//b/", Cgroup, "/a/b", "/a/b"),
];

fn fill(text: &str) -> String {
    text.replace("{A}", A).replace("{B}", B)
}

#[test]
fn containers_are_told_by_their_paths() {
    for (path, runtime, id, depth) in CONTAINERS {
        let path = fill(path);
        let found = identify(&path);
        assert_eq!(found.runtime, *runtime, "{path}");
        assert_eq!(found.id.as_str(), fill(id), "{path}");
        let cgroup: Vec<&str> = path.split('/').take(depth + 1).collect();
        assert_eq!(found.cgroup, cgroup.join("/"), "{path}");
        assert!(found.runtime.is_container(), "{path}");
    }
}

#[test]
fn the_rest_belongs_to_its_unit_or_to_itself() {
    for (path, runtime, name, cgroup) in OTHERS {
        let path = fill(path);
        let found = identify(&path);
        assert_eq!(found.runtime, *runtime, "{path}");
        assert_eq!(found.name, fill(name), "{path}");
        assert_eq!(found.cgroup, fill(cgroup), "{path}");
        assert_eq!(found.id.as_str(), found.cgroup, "{path}");
        assert!(!found.runtime.is_container(), "{path}");
    }
}

#[test]
fn an_owner_owns_itself() {
    for path in CONTAINERS.iter().map(|row| row.0).chain(OTHERS.iter().map(|row| row.0)) {
        let owner = identify(&fill(path));
        assert_eq!(identify(&owner.cgroup), owner, "{path}");
    }
}

#[test]
fn hexadecimal_ids_are_short_only_as_names() {
    let found = identify(&fill("/docker/{A}"));
    assert_eq!((found.name.as_str(), found.id.as_str()), ("4aa65076bd42", A));
    let longer = format!("{A}{B}");
    assert_eq!(identify(&format!("/docker/{longer}")).id.as_str(), longer);
}

#[test]
fn pods_and_units_are_read_on_the_way() {
    let uid = |path: &str| identify(&fill(path)).pod_uid;
    let systemd = "/kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-podefad3b34_a18a_4d25_a7d3_7da3dfa1f4e1.slice";
    let expected = Some("efad3b34-a18a-4d25-a7d3-7da3dfa1f4e1".to_owned());
    assert_eq!(uid(&format!("{systemd}/cri-containerd-{{A}}.scope")), expected);
    assert_eq!(uid(systemd), expected);
    assert_eq!(
        uid("/x/kubepods-podefad3b34_a18a_4d25_a7d3_7da3dfa1f4e1.slice:cri-containerd:{A}"),
        expected
    );
    assert_eq!(uid("/kubepods/burstable/podefad3b34-a18a-4d25-a7d3-7da3dfa1f4e1/{A}"), expected);
    // A static pod's uid is a bare hash.
    let static_pod =
        "/kubepods.slice/kubepods-pod6a1b1d3c3a0e4d5b5f1f0a8f6a1b1d3c.slice/crio-{A}.scope";
    assert_eq!(uid(static_pod), Some("6a1b1d3c3a0e4d5b5f1f0a8f6a1b1d3c".to_owned()));
    assert_eq!(
        uid("/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope"),
        Some(B.to_owned())
    );
    assert_eq!(uid("/podcast/{A}"), None);

    let quadlet = identify(&fill("/system.slice/nginx.service/libpod-payload-{A}"));
    assert_eq!(quadlet.unit.as_deref(), Some("nginx.service"));
    assert_eq!(quadlet.slice.as_deref(), Some("system.slice"));
    let plain = identify(r"/my.slice/my-a\x2db.slice");
    assert_eq!((plain.unit, plain.slice.as_deref()), (None, Some("my-a-b.slice")));
}

proptest::proptest! {
    #[test]
    fn any_path_has_an_owner_that_is_an_ancestor(path in "(/([a-z.:@-]{1,9}|lxc|docker|[0-9a-f]{64}|[^/]{1,6})){0,6}") {
        let owner = identify(&path);
        let clean = join(&path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>());
        let below = clean.strip_prefix(&owner.cgroup).map(|rest| rest.is_empty() || rest.starts_with('/'));
        proptest::prop_assert!(owner.runtime == Host || below == Some(true));
        proptest::prop_assert!(!owner.id.as_str().is_empty() && !owner.name.is_empty());
        proptest::prop_assert_eq!(identify(&owner.cgroup), owner);
    }
}
