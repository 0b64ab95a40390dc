//! What a container has used so far, kept per owner so that it outlives slots, and let go when its owner has been gone for
//! a while.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the account of an owner without slots is still shown: long enough for every window of live data.
const SHOWN_AFTER_END: Duration = Duration::from_secs(300);

/// Accounts by owner.
#[derive(Debug)]
pub struct Accounts<T> {
    by_owner: BTreeMap<Arc<str>, (T, Instant)>,
}

impl<T> Default for Accounts<T> {
    fn default() -> Self {
        Self { by_owner: BTreeMap::new() }
    }
}

impl<T: Default> Accounts<T> {
    /// The account of an owner that has a slot now.
    pub fn of(&mut self, owner: &Arc<str>, now: Instant) -> &mut T {
        let entry = self.by_owner.entry(Arc::clone(owner)).or_insert_with(|| (T::default(), now));
        entry.1 = now;
        &mut entry.0
    }

    /// Lets go of those whose owners have had no slot for long.
    pub fn expire(&mut self, now: Instant) {
        self.by_owner.retain(|_, (_, seen)| now.duration_since(*seen) < SHOWN_AFTER_END);
    }

    /// Every account.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut T)> {
        self.by_owner.iter_mut().map(|(owner, (account, _))| (owner, account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_outlive_their_owner_for_a_while() {
        let mut accounts = Accounts::<u64>::default();
        let start = Instant::now();
        *accounts.of(&"a".into(), start) += 7;
        accounts.expire(start + Duration::from_secs(60));
        assert_eq!(accounts.iter_mut().map(|(_, total)| *total).sum::<u64>(), 7);
        accounts.expire(start + SHOWN_AFTER_END);
        assert_eq!(accounts.iter_mut().count(), 0);
    }
}
