//! A sum over members that come and go, as one counter.

use std::{collections::HashMap, hash::Hash};

/// What all members together have gained.
#[derive(Clone, Debug)]
pub struct Growth<K> {
    last: HashMap<K, u64>,
    total: u64,
}

impl<K> Default for Growth<K> {
    fn default() -> Self {
        Self { last: HashMap::new(), total: 0 }
    }
}

impl<K: Hash + Eq> Growth<K> {
    /// Adds what each member gained since the last time and gives the sum so far: a new member brings what it has, one that
    /// is not there any more takes nothing away.
    pub fn advance(&mut self, members: impl Iterator<Item = (K, u64)>) -> u64 {
        let now: HashMap<K, u64> = members.collect();
        for (member, &value) in &now {
            let before = self.last.get(member).copied().filter(|&before| before <= value);
            self.total += value - before.unwrap_or(0);
        }
        self.last = now;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_come_and_go_take_nothing_away() {
        let mut growth = Growth::default();
        assert_eq!(growth.advance([("a", 10)].into_iter()), 10);
        assert_eq!(growth.advance([("a", 12), ("b", 5)].into_iter()), 17);
        assert_eq!(growth.advance([("b", 6)].into_iter()), 18);
        assert_eq!(growth.advance([("b", 2)].into_iter()), 20, "it began anew");
    }
}
