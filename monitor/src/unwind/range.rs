//! Ranges of an array: who has which, and which are free.

use std::ops::Range;

/// Hands out ranges of an array. A range that is given back is *resting* until no walk can be in it any more.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Sorted, never empty, never adjacent.
    free: Vec<Range<u32>>,
    resting: Vec<Range<u32>>,
    len: u32,
}

impl Ranges {
    /// All of an array.
    pub fn new(len: u32) -> Self {
        Self { free: Vec::from_iter((len > 0).then_some(0..len)), resting: Vec::new(), len }
    }

    /// A range of that length; `None` if there is none in one piece.
    pub fn take(&mut self, len: u32) -> Option<Range<u32>> {
        let index = self.free.iter().position(|free| free.end - free.start >= len)?;
        let free = &mut self.free[index];
        let taken = free.start..free.start + len;
        free.start = taken.end;
        if free.start == free.end {
            self.free.remove(index);
        }
        Some(taken)
    }

    /// Gives a range back, to rest.
    pub fn give_back(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.resting.push(range);
        }
    }

    /// Gives a range back that nobody was told of.
    pub fn give_unused_back(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.free.push(range);
            self.join();
        }
    }

    /// Whether anything rests.
    pub fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Lets what rests be handed out again.
    pub fn wake(&mut self) {
        self.free.append(&mut self.resting);
        self.join();
    }

    fn join(&mut self) {
        self.free.sort_by_key(|range| range.start);
        self.free.dedup_by(|next, last| {
            let is_adjacent = last.end == next.start;
            if is_adjacent {
                last.end = next.end;
            }
            is_adjacent
        });
    }

    /// How many entries are in use, those that rest included.
    pub fn used(&self) -> u32 {
        self.len - self.free.iter().map(|range| range.end - range.start).sum::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_rests_is_not_handed_out() {
        let mut ranges = Ranges::new(10);
        let first = ranges.take(6).unwrap();
        assert_eq!(ranges.take(5), None);
        ranges.give_back(first);
        assert_eq!(ranges.take(5), None);
        ranges.wake();
        assert_eq!(ranges.take(10), Some(0..10));
        assert_eq!(ranges.used(), 10);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap(steps in proptest::collection::vec((any::<bool>(), 1_u32..20), 0..200)) {
            let mut ranges = Ranges::new(100);
            let mut held: Vec<Range<u32>> = Vec::new();
            for (is_take, number) in steps {
                if is_take {
                    if let Some(range) = ranges.take(number) {
                        prop_assert!(range.end <= 100 && range.end - range.start == number);
                        prop_assert!(held.iter().all(|h| range.end <= h.start || h.end <= range.start));
                        held.push(range);
                    }
                } else if !held.is_empty() {
                    ranges.give_back(held.swap_remove(number as usize % held.len()));
                    if number % 3 == 0 {
                        ranges.wake();
                    }
                }
            }
            held.into_iter().for_each(|range| ranges.give_back(range));
            ranges.wake();
            prop_assert_eq!(ranges.used(), 0);
            prop_assert_eq!(ranges.take(100), Some(0..100));
        }
    }
}
