//! Kills for want of memory. Each within a limit of its own, far from this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, Daemon, Scrape, mounts, wait_until};

use crate::limits::{LIMIT_BYTES, limited};
use crate::user::{User, read_until};
use crate::{ALONE, PATIENCE};

/// Killed, and had others killed.
fn kills_and_causes(scrape: &Scrape, user: &User) -> (u64, u64) {
    (user.count(scrape, "oom_kills_total", &[]), user.count(scrape, "oom_causes_total", &[]))
}

fn who_eats_too_much_is_killed(flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let glutton = User::start(limited(), "glutton", &["--eat-mb", "200"])?;
    let bystander = User::start(limited(), "bystander", &["--eat-mb", "10"])?;
    let (before, _) = daemon.next_tick()?;
    assert_eq!(kills_and_causes(&before, &glutton), (0, 0));
    bystander.run()?;
    glutton.begin()?;
    assert_eq!(glutton.container.wait_exit(PATIENCE)?, 128 + libc::SIGKILL);
    let scrape = read_until(&daemon, |scrape| kills_and_causes(scrape, &glutton) == (1, 1))?;
    assert_eq!(kills_and_causes(&scrape, &glutton), (1, 1));
    let by_itself = [("culprit", glutton.container.name())];
    assert_eq!(glutton.count(&scrape, "oom_kills_total", &by_itself), 1);
    assert_eq!(kills_and_causes(&scrape, &bystander), (0, 0));
    // Beyond the end of its cgroup.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(kills_and_causes(&daemon.scrape()?, &glutton), (1, 1));
    Ok(())
}

#[test]
fn who_eats_too_much_is_killed_by_tp_btf() -> Result<()> {
    who_eats_too_much_is_killed(&["--hook", "tp_btf"])
}

#[test]
fn who_eats_too_much_is_killed_by_raw_tp() -> Result<()> {
    who_eats_too_much_is_killed(&["--hook", "raw_tp"])
}

/// The kernel marks each thread that needs memory to end; the process is killed once.
#[test]
fn a_process_of_many_threads_is_killed_once() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let eat = ["--eat-mb", "400", "--threads", "8"];
    for round in 0..3 {
        let glutton = User::start(limited(), "glutton", &eat)?;
        glutton.begin()?;
        assert_eq!(glutton.container.wait_exit(PATIENCE)?, 128 + libc::SIGKILL);
        let scrape = read_until(&daemon, |scrape| kills_and_causes(scrape, &glutton).0 > 0)?;
        assert_eq!(kills_and_causes(&scrape, &glutton), (1, 1), "round {round}");
    }
    Ok(())
}

/// A cgroup that holds containers. Runtimes make it and leave it behind.
struct Parent(String);

impl Parent {
    fn argument(&self) -> String {
        format!("--cgroup-parent=/{}", self.0)
    }

    fn set_limit(&self, bytes: u64) -> Result<()> {
        let (root, name) = match mounts::cgroup_v1_root("memory")? {
            Some(root) => (root, "memory.limit_in_bytes"),
            None => (mounts::cgroup_v2_root()?, "memory.max"),
        };
        let path = root.join(&self.0).join(name);
        fs::write(&path, bytes.to_string()).with_context(|| path.display().to_string())
    }

    fn in_all_hierarchies(&self) -> impl Iterator<Item = PathBuf> {
        let mount = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
        let all = below.chain([mount.to_owned()]).map(|hierarchy| hierarchy.join(&self.0));
        all.filter(|path| path.exists())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for left in self.in_all_hierarchies() {
            let gone = wait_until("the parent to be empty", Duration::from_secs(5), || {
                // Of podman's monitor; not there on v2.
                let _ = fs::remove_dir(left.join("conmon"));
                Ok(fs::remove_dir(&left).ok())
            });
            if let Err(error) = gone {
                eprintln!("{} left behind: {error:#}", left.display());
            }
        }
    }
}

/// Two containers under one limit, and the kernel was told which to sacrifice.
#[test]
fn a_kill_has_a_victim_and_a_culprit() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let parent = Parent(format!("cgscope-test-oom-{}", std::process::id()));
    let under = |score: &str| {
        ContainerOptions::new()
            .argument(&parent.argument())
            .argument(&format!("--oom-score-adj={score}"))
    };
    let victim = User::start(under("1000"), "victim", &["--eat-mb", "20"])?;
    let culprit = User::start(under("0"), "culprit", &["--eat-mb", "36"])?;
    parent.set_limit(LIMIT_BYTES)?;
    victim.run()?;
    culprit.run()?;
    assert_eq!(victim.container.wait_exit(PATIENCE)?, 128 + libc::SIGKILL);
    let scrape = read_until(&daemon, |scrape| kills_and_causes(scrape, &victim).0 == 1)?;
    assert_eq!(kills_and_causes(&scrape, &victim), (1, 0), "it asked for nothing");
    assert_eq!(kills_and_causes(&scrape, &culprit), (0, 1), "it lives");
    let by_culprit =
        [("culprit", culprit.container.name()), ("culprit_id", culprit.container.id())];
    assert_eq!(victim.count(&scrape, "oom_kills_total", &by_culprit), 1);
    Ok(())
}
