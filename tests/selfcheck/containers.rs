//! A container is what its handle says it is, and is gone when the handle is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, Result};
use cgscope_tests::container::remove_leftovers;
use cgscope_tests::mounts::cgroup_v2_root;
use cgscope_tests::{Container, ContainerOptions, image_name, run_captured, truth};

use crate::PATIENCE;

fn podman_knows(name: &str) -> Result<bool> {
    Ok(run_captured(Command::new("podman").args(["container", "exists", name]))?.success())
}

#[test]
fn identity_agrees_with_proc() -> Result<()> {
    let container = Container::run("identity", &["burn", "--seconds", "60", "--threads", "3"])?;
    let pid = container.host_pid()?;
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let v2 = cgroups.lines().find_map(|line| line.strip_prefix("0::/")).context("no v2 line")?;
    assert_eq!(container.cgroup_v2()?, cgroup_v2_root()?.join(v2));
    assert_eq!(container.cgroup_v2_id()?, fs::metadata(container.cgroup_v2()?)?.ino());
    assert!(v2.contains(container.id()), "{v2} does not name {}", container.id());
    assert!(container.id().bytes().all(|byte| byte.is_ascii_hexdigit()));
    for controller in ["cpu", "cpuacct", "memory"] {
        let line = cgroups
            .lines()
            .find_map(|line| line.split_once(&format!(":{controller}:/")).map(|(_, path)| path))
            .with_context(|| format!("no line for {controller}"))?;
        assert!(container.cgroup_v1(controller)?.ends_with(line));
        assert!(container.cgroup_v1(controller)?.is_dir());
    }
    let mut tids = truth::task_ids(pid)?;
    tids.sort_unstable();
    let mut seen = container.tids()?;
    seen.sort_unstable();
    assert_eq!(seen, tids, "cgroup.threads against /proc/{pid}/task");
    assert_eq!(seen.len(), 4, "three burners and the main thread");
    assert_eq!(container.pids()?, [pid]);
    let executable = fs::read_link(format!("/proc/{pid}/exe"))?;
    assert_eq!(executable.to_str(), Some("/bin/burn"));
    Ok(())
}

#[test]
fn dropping_the_handle_removes_all() -> Result<()> {
    let container = Container::run("dropped", &["burn", "--seconds", "60"])?;
    let (name, pid, cgroup) =
        (container.name().to_owned(), container.host_pid()?, container.cgroup_v2()?);
    let started = truth::process_start_ticks(pid)?;
    assert!(podman_knows(&name)? && cgroup.is_dir());
    drop(container);
    assert!(!podman_knows(&name)?);
    assert!(!cgroup.exists());
    assert_ne!(truth::process_start_ticks(pid).ok(), Some(started));
    Ok(())
}

#[test]
fn names_are_unique() -> Result<()> {
    let first = Container::run("twin", &["burn", "--seconds", "60"])?;
    let second = Container::run("twin", &["burn", "--seconds", "60"])?;
    assert_ne!(first.name(), second.name());
    assert_ne!(first.id(), second.id());
    assert_ne!(first.cgroup_v2_id()?, second.cgroup_v2_id()?);
    Ok(())
}

#[test]
fn a_short_container_leaves_its_truth_and_cgroup_id() -> Result<()> {
    let container = Container::run("short", &["short_container"])?;
    assert_eq!(container.wait_exit(PATIENCE)?, 0);
    assert!(!container.cgroup_v2()?.exists(), "the cgroup outlived its container");
    assert!(container.cgroup_v2_id()? > 1);
    let truth = container.wait_truth(PATIENCE)?;
    let wall_ns = truth["wall_ns"].as_u64().context("wall_ns")?;
    assert!((100_000_000..1_000_000_000).contains(&wall_ns), "lived {wall_ns} ns");
    Ok(())
}

#[test]
fn exec_runs_in_the_container() -> Result<()> {
    let container = Container::run("exec", &["burn", "--seconds", "60"])?;
    let output = container.exec(&["sh", "-c", "cat /proc/self/cgroup; exit 7"])?;
    assert_eq!(output.status, Some(7));
    assert!(output.stdout.contains(container.id()), "{}", output.stdout);
    Ok(())
}

#[test]
fn stdout_is_the_containers_own() -> Result<()> {
    let script = "echo one; echo two >&2; echo three; exec sleep 60";
    let container = Container::run("stdout", &["sh", "-c", script])?;
    cgscope_tests::wait_until("three lines", PATIENCE, || {
        Ok(container.stdout()?.contains("three").then_some(()))
    })?;
    assert_eq!(container.stdout()?, "one\nthree\n");
    Ok(())
}

#[test]
fn limits_reach_the_kernel() -> Result<()> {
    let container = ContainerOptions::new()
        .cpuset("0")
        .cpu_quota(0.25)
        .run("limits", &["burn", "--seconds", "2", "--threads", "2"])?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.host_pid()?))?;
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    let cpu = container.cgroup_v1("cpu")?;
    let throttled = truth::bracket(
        || truth::cpu_stat(&cpu)?.get("throttled_time").copied().context("throttled_time"),
        || {
            std::thread::sleep(std::time::Duration::from_secs(1));
            Ok(())
        },
    )?;
    // On an idle machine for three quarters of each second; what a rival has of the CPU is not held back by the quota.
    assert!(throttled.rise() > 0, "never throttled in 1 s");
    let truth = container.wait_truth(PATIENCE)?;
    let cpu_ns = truth["cpu_ns"].as_u64().context("cpu_ns")? as f64;
    let share = cpu_ns / truth["wall_ns"].as_f64().context("wall_ns")?;
    assert!((0.15..0.35).contains(&share), "a quota of 0.25 gave {share}");
    Ok(())
}

#[test]
fn a_bound_directory_is_shared() -> Result<()> {
    let shared = tempfile::tempdir()?;
    let options = ContainerOptions::new().bind(shared.path(), "/shared");
    let container = options.run("bound", &["sh", "-c", "echo hello > /shared/word"])?;
    assert_eq!(container.wait_exit(PATIENCE)?, 0);
    assert_eq!(fs::read_to_string(shared.path().join("word"))?, "hello\n");
    Ok(())
}

#[test]
fn podman_shows_the_image_by_name() -> Result<()> {
    let container = Container::run("image", &["burn", "--seconds", "60"])?;
    let shown = run_captured(Command::new("podman").args([
        "inspect",
        "--format",
        "{{.ImageName}}",
        container.name(),
    ]))?;
    assert_eq!(shown.stdout.trim(), image_name()?);
    Ok(())
}

#[test]
fn a_fixture_that_refuses_fails_the_start_with_its_message() {
    let error = Container::run("refusing", &["states", "--states", "no_such_state"])
        .expect_err("the fixture cannot become ready");
    assert!(format!("{error:#}").contains("no state is called 'no_such_state'"), "{error:#}");
}

#[test]
fn leftovers_of_dead_runs_go_and_those_of_the_living_stay() -> Result<()> {
    let living = Container::run("living", &["burn", "--seconds", "60"])?;
    // This process's id with another start time: an earlier process that had the same id.
    let leftover = format!("leftover-{}", std::process::id());
    let label = format!("--label=cgscope-test={}-1", std::process::id());
    let created = run_captured(Command::new("podman").args([
        "create",
        "--name",
        &leftover,
        &label,
        image_name()?,
        "true",
    ]))?;
    assert!(created.success(), "{}", created.stderr);
    remove_leftovers()?;
    assert!(!podman_knows(&leftover)?);
    assert!(podman_knows(living.name())?);
    Ok(())
}
