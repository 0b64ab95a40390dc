//! Whom a container waited for, and how long: on a CPU or in the queue of a disk.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a culprit that does nothing more is shown under its own name: as long as a container that has ended.
const SHOWN_AFTER_LAST: Duration = Duration::from_secs(300);

/// Culprits of one container that are shown by name; of more, those that stood still for longest become `ended`.
const MOST_CULPRITS: usize = 64;

/// The culprits of one container.
#[derive(Debug, Default)]
pub struct Culprits(BTreeMap<Arc<str>, Culprit>);

#[derive(Debug)]
struct Culprit {
    waited_ns: u64,
    last: Instant,
}

impl Culprits {
    /// Adds a wait for `culprit`.
    pub fn add(&mut self, culprit: Arc<str>, waited_ns: u64, now: Instant) {
        let entry = self.0.entry(culprit).or_insert(Culprit { waited_ns: 0, last: now });
        entry.waited_ns += waited_ns;
        entry.last = now;
    }

    /// Whom, and how long, ns.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.0.iter().map(|(id, culprit)| (id, culprit.waited_ns))
    }

    /// Adds those that have stood still for long, and the eldest of too many, to `ended`.
    pub fn forget_old(&mut self, now: Instant) {
        const ENDED: &str = "ended";
        let Self(culprits) = self;
        let ended = culprits.remove(ENDED);
        let mut ended_ns = ended.map_or(0, |culprit| culprit.waited_ns);
        culprits.retain(|_, culprit| {
            let stays = now.duration_since(culprit.last) < SHOWN_AFTER_LAST;
            ended_ns += if stays { 0 } else { culprit.waited_ns };
            stays
        });
        while culprits.len() > MOST_CULPRITS {
            let eldest = culprits.iter().min_by_key(|(_, culprit)| culprit.last);
            let Some(eldest) = eldest.map(|(id, _)| Arc::clone(id)) else { break };
            ended_ns += culprits.remove(&eldest).map_or(0, |culprit| culprit.waited_ns);
        }
        if ended_ns > 0 {
            culprits.insert(ENDED.into(), Culprit { waited_ns: ended_ns, last: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn culprits_that_are_gone_are_added_up_and_nothing_is_lost() {
        let start = Instant::now();
        let mut culprits = Culprits::default();
        for i in 0..100 {
            culprits.add(format!("{i}").into(), i, start + Duration::from_secs(i));
        }
        let has = |culprits: &Culprits, id: &str| culprits.iter().any(|(known, _)| &**known == id);
        culprits.forget_old(start + Duration::from_secs(310));
        assert_eq!(culprits.iter().count(), MOST_CULPRITS + 1);
        assert!(has(&culprits, "99") && !has(&culprits, "10"));
        assert_eq!(culprits.iter().map(|(_, ns)| ns).sum::<u64>(), 4_950);
        culprits.forget_old(start + Duration::from_secs(1_000));
        let left: Vec<_> = culprits.iter().map(|(id, ns)| (&**id, ns)).collect();
        assert_eq!(left, [("ended", 4_950)]);
    }
}
