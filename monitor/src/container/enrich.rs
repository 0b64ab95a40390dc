//! The thread that reads names: takes new records from a queue, asks the runtimes' files, and asks again a
//! little later where they say nothing yet, since a cgroup is made before its runtime writes its state.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::registry::Shared;
use super::state::{Facts, StateError, StateFiles};
use super::table::Handle;

/// A record that wants a name.
pub(super) struct Job {
    pub handle: Handle,
    /// When it became known.
    pub since: Instant,
}

/// A job that was tried before.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Again {
    due: Instant,
    handle: Handle,
    since: Instant,
    /// How many retries lie behind it.
    retries: usize,
}

/// Works until the queue's sender is gone. `delays` count from when the record became known.
pub(super) fn run(
    queue: &Receiver<Job>,
    shared: &Arc<Shared>,
    mut files: StateFiles,
    delays: &[Duration],
) {
    let mut later: BinaryHeap<Reverse<Again>> = BinaryHeap::new();
    loop {
        let next = later.peek().map(|Reverse(again)| again.due);
        let received = match next {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        let (handle, since, retries) = match received {
            Ok(job) => (job.handle, job.since, 0),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => match later.pop() {
                Some(Reverse(again)) => (again.handle, again.since, again.retries + 1),
                None => continue,
            },
        };
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let outcome = attempt(shared, &mut files, handle);
        if retries == 0 {
            shared.tried();
        }
        match delays.get(retries) {
            Some(delay) if outcome != Outcome::Complete => {
                later.push(Reverse(Again { due: since + *delay, handle, since, retries }));
            }
            _ => shared.settled(handle, outcome != Outcome::Unknown),
        }
    }
}

/// How far an attempt came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// No file knows it.
    Unknown,
    /// It has its name, but not yet the time of its start: the OCI runtime writes its state last.
    Named,
    /// Nothing more is to be learned.
    Complete,
}

fn attempt(shared: &Shared, files: &mut StateFiles, handle: Handle) -> Outcome {
    match ask(shared, files, handle) {
        Ok(None) => Outcome::Unknown,
        Ok(Some(facts)) => {
            // What was a plain cgroup a moment ago may be an engine's container: ask the engine too.
            let learned = facts.id.is_some();
            shared.write().enrich(handle, facts);
            if learned && let Ok(Some(facts)) = ask(shared, files, handle) {
                shared.write().enrich(handle, facts);
            }
            let table = shared.read();
            let container = table.get(handle);
            let started = container.is_none_or(|c| c.started_at_ns.is_some() || !c.is_alive());
            if started { Outcome::Complete } else { Outcome::Named }
        }
        Err(error) => {
            shared.state_errors.fetch_add(1, Ordering::Relaxed);
            shared.set_last_error(error.to_string());
            Outcome::Unknown
        }
    }
}

/// Nothing when the record is gone already.
fn ask(
    shared: &Shared,
    files: &mut StateFiles,
    handle: Handle,
) -> Result<Option<Facts>, StateError> {
    // The lock is not held while files are read.
    let container = shared.read().get(handle).cloned();
    container.map_or(Ok(Some(Facts::default())), |container| files.look_up(&container))
}
