//! The rows of addresses that a CPU walked lately: what makes most frames cost neither a search nor another page.
//!
//! Contract: a walk asks for the rows of its frames in order. Rows stand in the order in which they were first asked for, and each leads to the
//! one that was asked for after it the last time, so a stack that was walked before is followed along neighbours in one page
//! or two. What is remembered holds for all addresses of a row, and as long as the generation, which is another one for each slice that is
//! written.

use crate::unwind::Row;

/// Rows that are remembered: 24 KiB.
const ROWS: usize = 1 << 10;
/// Places by hash: 2 KiB.
const PLACE_BITS: u32 = 10;
/// Addresses with the same hash lie in pieces of so many bytes: an innermost frame is often elsewhere in the row of another.
const PIECE_BITS: u32 = 6;
/// The row before the innermost frame. It holds for no address.
const ROOT: u16 = 0;

/// A row, and the addresses that it holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRow {
    /// What holds there.
    pub row: Row,
    /// The first address.
    pub start: u64,
    /// The one after the last, at most a page on.
    pub end: u64,
}

impl FoundRow {
    /// What of it lies in a range.
    #[inline(always)]
    pub fn within(self, start: u64, end: u64) -> Self {
        Self {
            row: self.row,
            start: if self.start < start { start } else { self.start },
            end: if self.end > end { end } else { self.end },
        }
    }
}

/// One that is remembered.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct KnownRow {
    start: u64,
    /// None is 0.
    generation: u32,
    bytes: u16,
    /// The one that was asked for after it.
    next: u16,
    row: Row,
}

/// What a CPU remembers. As it begins, all is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KnownRows {
    places: [u16; 1 << PLACE_BITS],
    rows: [KnownRow; ROWS],
    /// The one that was written last.
    newest: u64,
}

const _: () = assert!(size_of::<KnownRow>() == 24 && ROWS <= 1 << 16);

/// How far a walk is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    generation: u32,
    /// The last frame's row.
    last: u16,
    /// The one that the next frame is expected to have.
    next: u16,
}

impl KnownRow {
    #[inline(always)]
    fn holds(&self, at: u64, generation: u32) -> bool {
        at.wrapping_sub(self.start) < self.bytes as u64 && self.generation == generation
    }
}

impl KnownRows {
    /// Before the innermost frame.
    #[inline(always)]
    pub fn begin(&self, generation: u32) -> Cursor {
        Cursor { generation, last: ROOT, next: self.rows[ROOT as usize].next }
    }

    /// The row of the next frame, at an address; `seek` is to be [`Self::seek`].
    #[inline(always)]
    pub fn row(
        &mut self,
        cursor: &mut Cursor,
        at: u64,
        seek: impl FnOnce(&mut Self, &mut Cursor) -> u64,
    ) -> Row {
        let mut place = cursor.next as usize % ROWS;
        if !self.rows[place].holds(at, cursor.generation) {
            place = seek(self, cursor) as usize % ROWS;
        }
        let known = &self.rows[place];
        (cursor.last, cursor.next) = (place as u16, known.next);
        known.row
    }

    /// Where the row of an address is that was not expected: it is remembered, or else found. The last frame's row leads there from here on.
    #[inline(always)]
    pub fn seek(&mut self, cursor: &mut Cursor, at: u64, find: impl FnOnce() -> FoundRow) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = (at >> PIECE_BITS).wrapping_mul(GOLDEN) >> (64 - PLACE_BITS);
        let mut place = self.places[hash as usize] as usize % ROWS;
        if !self.rows[place].holds(at, cursor.generation) {
            let found = find();
            place = (self.newest as usize + 1) % ROWS;
            if place == ROOT as usize {
                place = ROOT as usize + 1;
            }
            self.newest = place as u64;
            self.places[hash as usize] = place as u16;
            self.rows[place] = KnownRow {
                start: found.start,
                generation: cursor.generation,
                bytes: found.end.wrapping_sub(found.start) as u16,
                next: ((place + 1) % ROWS) as u16,
                row: found.row,
            };
        }
        self.rows[cursor.last as usize % ROWS].next = place as u16;
        place as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::{boxed::Box, vec::Vec};

    /// Rows of 100 bytes: that of an address has its number as rules.
    fn found(at: u64) -> FoundRow {
        let row = at / 100;
        FoundRow { row: Row::of_rules(row), start: row * 100, end: row * 100 + 100 }
    }

    struct Walker {
        known: Box<KnownRows>,
        searches: usize,
        seeks: usize,
    }

    impl Walker {
        fn new() -> Self {
            // SAFETY: integers only.
            Self { known: Box::new(unsafe { core::mem::zeroed() }), searches: 0, seeks: 0 }
        }

        /// The rules of each frame.
        fn walk(&mut self, generation: u32, stack: &[u64]) -> Vec<u64> {
            let mut cursor = self.known.begin(generation);
            let (searches, seeks) = (&mut self.searches, &mut self.seeks);
            let mut row = |&at: &u64| {
                let seek = |known: &mut KnownRows, cursor: &mut Cursor| {
                    *seeks += 1;
                    known.seek(cursor, at, || {
                        *searches += 1;
                        found(at)
                    })
                };
                self.known.row(&mut cursor, at, seek).rules()
            };
            stack.iter().map(&mut row).collect()
        }
    }

    #[test]
    fn a_stack_that_was_walked_is_followed_without_a_search() {
        let mut walker = Walker::new();
        let stack: Vec<u64> = (1..=20).map(|n| n * 1_000 + 7).collect();
        let rules: Vec<u64> = stack.iter().map(|at| at / 100).collect();
        assert_eq!(walker.walk(1, &stack), rules);
        assert_eq!((walker.searches, walker.seeks), (20, 20));
        assert_eq!(walker.walk(1, &stack), rules);
        assert_eq!((walker.searches, walker.seeks), (20, 20), "the same stack");
        // Another way into the same callers.
        let other: Vec<u64> = [500, 600].into_iter().chain(stack[5..].iter().copied()).collect();
        walker.walk(1, &other);
        assert_eq!((walker.searches, walker.seeks), (22, 23), "leads into the old one");
        // A frame that calls itself leads to itself.
        walker.walk(1, &[500, 777, 777, 777, 777]);
        assert_eq!((walker.searches, walker.seeks), (23, 25));
        walker.walk(1, &[500, 777, 777, 777, 777]);
        assert_eq!((walker.searches, walker.seeks), (23, 25));
    }

    #[test]
    fn a_row_holds_for_all_of_its_addresses_and_no_others() {
        let mut walker = Walker::new();
        for at in 1_000..1_300 {
            assert_eq!(walker.walk(1, &[at]), [at / 100]);
        }
        // One for each piece of 64 bytes of a row.
        assert!(walker.searches < 12, "{}", walker.searches);
    }

    #[test]
    fn what_another_generation_found_is_not_used() {
        let mut walker = Walker::new();
        walker.walk(1, &[1_000, 2_000]);
        walker.walk(2, &[1_000, 2_000]);
        assert_eq!(walker.searches, 4);
    }

    #[test]
    fn more_rows_than_there_is_room_for_push_out_the_oldest() {
        let mut walker = Walker::new();
        let stack: Vec<u64> = (1..3_000).map(|n| n * 1_000).collect();
        let rules: Vec<u64> = stack.iter().map(|at| at / 100).collect();
        for _ in 0..3 {
            assert_eq!(walker.walk(1, &stack), rules);
        }
    }

    #[test]
    fn nothing_is_known_at_first() {
        let mut walker = Walker::new();
        assert_eq!(walker.walk(0, &[0, 1, 1 << 47]), [0, 0, (1 << 47) / 100]);
        assert_eq!(walker.searches, 2);
    }
}
