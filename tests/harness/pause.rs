//! Reading two accounts of a container at one instant: it is stopped, so that neither moves while both are read.
//!
//! SIGSTOP and not the freezer: a cgroup v1 freezer wakes every thread out of its wait, a stop leaves a blocked thread
//! blocked for all the tests here care about, and needs no controller.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result};

use crate::command::wait_until;
use crate::container::Container;
use crate::daemon::Daemon;
use crate::scrape::Scrape;

/// What the daemon says and what the kernel says, at an instant when nothing of the container runs.
#[derive(Debug, Clone)]
pub struct Still<T> {
    /// When the last container had come to a stop.
    pub at: Instant,
    /// When the tick of `scrape` was seen.
    pub tick_at: Instant,
    /// What the daemon says.
    pub scrape: Scrape,
    /// What the kernel says.
    pub truth: T,
}

/// The same at two instants.
#[derive(Debug, Clone)]
pub struct Span<T> {
    /// At the beginning.
    pub before: Still<T>,
    /// At the end.
    pub after: Still<T>,
}

impl<T> Span<T> {
    /// From stop to stop.
    pub fn length(&self) -> Duration {
        self.after.at - self.before.at
    }

    /// How far something rose by the daemon, and by the kernel.
    pub fn rise(&self, seen: impl Fn(&Scrape) -> f64, truth: impl Fn(&T) -> u64) -> (f64, f64) {
        let seen = seen(&self.after.scrape) - seen(&self.before.scrape);
        let truth = truth(&self.after.truth) as i64 - truth(&self.before.truth) as i64;
        (seen, truth as f64)
    }
}

/// Lets `containers` run for `length` between two instants at which they are stopped and both accounts are read.
///
/// # Errors
/// When a container ends meanwhile, or those of `truth`.
pub fn between_stops<T>(
    daemon: &Daemon,
    containers: &[&Container],
    length: Duration,
    mut truth: impl FnMut() -> Result<T>,
) -> Result<Span<T>> {
    let mut still = || -> Result<Still<T>> {
        for container in containers {
            stop(container)?;
        }
        let at = Instant::now();
        let (scrape, tick_at) = daemon.next_tick()?;
        Ok(Still { at, tick_at, scrape, truth: truth()? })
    };
    let before = still()?;
    for container in containers {
        signal(container, libc::SIGCONT)?;
    }
    thread::sleep(length);
    let after = still()?;
    for container in containers {
        signal(container, libc::SIGCONT)?;
    }
    Ok(Span { before, after })
}

/// Does `what` while nothing of `containers` runs.
///
/// # Errors
/// When a container ends meanwhile, or those of `what`.
pub fn while_stopped<T>(containers: &[&Container], what: impl FnOnce() -> Result<T>) -> Result<T> {
    for container in containers {
        stop(container)?;
    }
    let done = what();
    for container in containers {
        signal(container, libc::SIGCONT)?;
    }
    done
}

/// Stops every process of a container, those born meanwhile too.
fn stop(container: &Container) -> Result<()> {
    wait_until("the container to stand still", Duration::from_secs(5), || {
        signal(container, libc::SIGSTOP)?;
        let pids = container.pids()?;
        Ok(pids.iter().all(|&pid| is_stopped(pid)).then_some(()))
    })
    .with_context(|| format!("stopping {}", container.name()))
}

fn signal(container: &Container, number: i32) -> Result<()> {
    for pid in container.pids()? {
        // One that has ended meanwhile is still as well.
        // SAFETY: kill takes plain integers; the ids are of processes in a container of ours.
        unsafe { libc::kill(pid as i32, number) };
    }
    Ok(())
}

/// Whether all threads of a process are stopped, or it is dead.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('T' | 'Z' | 'X'))
    })
}
