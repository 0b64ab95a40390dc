//! A table of a dictionary: each entry once, the empty one first.

use std::{collections::HashMap, hash::Hash};

/// Entries in the order in which they came.
pub(super) struct Table<T> {
    places: HashMap<T, i32>,
    list: Vec<T>,
}

impl<T: Clone + Default + Eq + Hash> Table<T> {
    /// With the empty entry.
    pub fn new() -> Self {
        Self { places: HashMap::from([(T::default(), 0)]), list: vec![T::default()] }
    }

    /// Where an entry is.
    pub fn place(&mut self, entry: T) -> i32 {
        if let Some(place) = self.places.get(&entry) {
            return *place;
        }
        let place = self.list.len() as i32;
        self.list.push(entry.clone());
        self.places.insert(entry, place);
        place
    }

    /// The whole table.
    pub fn list(self) -> Vec<T> {
        self.list
    }
}
