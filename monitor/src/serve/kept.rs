//! The last recordings, so that one can be looked at again, saved in another format and compared.
//!
//! Contract: bounded in number and in stacks; the oldest go first. They are gone with the daemon.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use crate::profile::Profile;

/// Recordings.
const MOST: usize = 32;
/// Stacks of all of them together: some 100 bytes each, their frames are shared.
const MOST_STACKS: usize = 500_000;

/// A recording that is kept.
#[derive(Debug)]
pub struct Kept {
    /// Not used again, not even by the next daemon: it begins with the instant of the recording.
    pub id: String,
    /// The whole id of the container, if it is of one.
    pub container: Option<String>,
    /// What was recorded.
    pub profile: Profile,
}

/// Where they are.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    kept: VecDeque<Arc<Kept>>,
    made: u64,
}

impl Shelf {
    /// Keeps a recording.
    pub fn keep(&self, profile: Profile, container: Option<String>) -> Arc<Kept> {
        let mut inner = self.lock();
        inner.made += 1;
        let since_epoch = profile.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{:x}-{}", since_epoch.as_millis(), inner.made);
        let kept = Arc::new(Kept { id, container, profile });
        inner.kept.push_back(Arc::clone(&kept));
        let stacks = |inner: &Inner| -> usize {
            inner.kept.iter().map(|kept| kept.profile.samples.len()).sum()
        };
        // The newest stays, however large.
        while inner.kept.len() > 1 && (inner.kept.len() > MOST || stacks(&inner) > MOST_STACKS) {
            inner.kept.pop_front();
        }
        kept
    }

    /// One of them.
    pub fn find(&self, id: &str) -> Option<Arc<Kept>> {
        self.lock().kept.iter().find(|kept| kept.id == id).cloned()
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Arc<Kept>> {
        self.lock().kept.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProfileKind;

    #[test]
    fn the_oldest_go_first_and_ids_are_not_used_again() {
        let shelf = Shelf::default();
        let profile = || Profile {
            kind: ProfileKind::OnCpu,
            started_at: UNIX_EPOCH,
            duration_ns: 1,
            frequency_hz: None,
            scope: "host".to_owned(),
            containers: Default::default(),
            samples: vec![],
            lost: Default::default(),
            drawn: Default::default(),
        };
        let ids: Vec<String> =
            (0..MOST + 2).map(|_| shelf.keep(profile(), None).id.clone()).collect();
        assert_eq!(shelf.list().len(), MOST);
        assert!(shelf.find(&ids[0]).is_none() && shelf.find(&ids[1]).is_none());
        assert_eq!(shelf.find(&ids[2]).unwrap().id, ids[2]);
        assert_eq!(shelf.list()[0].id, ids[MOST + 1]);
    }
}
