//! Bounded memory for what repeats: names, and frames by address.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// A cache of two generations that holds at most `capacity` entries.
///
/// New and used entries live in the young generation; when it is full it becomes the old one and
/// the former old one is dropped. What is used within `capacity / 2` insertions therefore stays,
/// as in an LRU list, without a list to keep.
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
    evicted: u64,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1), evicted: 0 }
    }

    /// The entry; asking for it counts as a use.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Adds an entry.
    pub fn insert(&mut self, key: K, value: V) {
        self.young.insert(key, value);
        if self.young.len() >= self.half {
            self.age();
        }
    }

    /// Entries dropped so far to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets what was not asked for since the last time.
    pub fn age(&mut self) {
        let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.evicted += dropped.len() as u64;
    }

    /// Forgets the entries for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.young.retain(|key, _| keep(key));
        self.old.retain(|key, _| keep(key));
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// Names, each kept once.
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    limit: usize,
}

/// Names kept before those no longer used are dropped. At a hundred bytes each: 26 MB.
const NAMES_MAX: usize = 1 << 18;

impl Names {
    pub fn new() -> Self {
        Self { known: HashSet::new(), limit: NAMES_MAX }
    }

    /// The shared copy of `name`.
    pub fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.limit {
            self.sweep();
            // Were all of them in use, the next sweep would come with the next name.
            self.limit = NAMES_MAX.max(self.known.len() * 2);
        }
        let name: Arc<str> = name.into();
        self.known.insert(Arc::clone(&name));
        name
    }

    /// Forgets those that nobody has any more.
    pub fn sweep(&mut self) {
        self.known.retain(|name| Arc::strong_count(name) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut cache = Generations::new(100);
        for key in 0..10_000_u64 {
            cache.insert(key, key);
            // Use all there is, so that whole generations move.
            for used in key.saturating_sub(100)..key {
                cache.get(&used);
            }
            assert!(cache.len() <= 100, "{}", cache.len());
        }
        assert!(cache.evicted() > 9_000);
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Generations::new(100);
        cache.insert(-1, "used");
        for key in 0..10_000 {
            assert_eq!(cache.get(&-1), Some("used"), "after {key} insertions");
            cache.insert(key, "not used");
        }
        assert_eq!(cache.get(&0), None);
    }

    #[test]
    fn what_is_not_asked_for_between_two_agings_is_forgotten() {
        let mut cache = Generations::new(100);
        cache.insert(1, "used");
        cache.insert(2, "not used");
        for _ in 0..3 {
            cache.age();
            assert_eq!(cache.get(&1), Some("used"));
        }
        assert_eq!((cache.get(&2), cache.len(), cache.evicted()), (None, 1, 1));
    }

    #[test]
    fn a_name_is_kept_once_and_as_long_as_somebody_has_it() {
        let mut names = Names::new();
        let main = names.intern("main");
        assert!(Arc::ptr_eq(&main, &names.intern("main")));
        names.intern("gone");
        names.sweep();
        assert_eq!(names.known.iter().collect::<Vec<_>>(), [&main]);
    }
}
