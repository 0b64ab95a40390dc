//! Tables in the arrays of the kernel half: one for each content, shared by all processes and files that have it.
//!
//! Contract: a table is keyed by all that it is made of, so that a file that only claims to be another (a build id is easily
//! forged) gets a table of its own. Tables that no process uses stay until their room is wanted, the longest unused first.

use std::{
    collections::HashMap,
    fs::File,
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use monitor_common::unwind::{BY_FRAME_POINTER, Mapping, NO_TABLE};

use super::{
    compile,
    elf::{ElfError, Image, Segment},
    range::Ranges,
};
use crate::{
    probe::{UnwindMemory, UnwindSizes},
    symbol::FileKey,
};

/// Files remembered, with or without a table: some 100 bytes each.
const FILES_MAX: usize = 8192;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TableId(u64);

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its table.
    Table(TableId),
    /// It has code but no `.eh_frame`, as Go's programs: they keep frame pointers.
    FramePointers,
    /// It is damaged, or for another machine.
    Nothing,
    /// There was no room, when the store had freed so many tables.
    NoRoom(u64),
}

struct Stored {
    content: u64,
    rows: Range<u32>,
    pages: Range<u32>,
    base: u64,
    code: Vec<Segment>,
    /// Length of the section it is made of.
    frame_bytes: u64,
    /// Slices that lead to it.
    users: u32,
    used: u64,
}

/// All tables.
pub(super) struct Store {
    files: HashMap<FileKey, Found>,
    contents: HashMap<u64, TableId>,
    tables: HashMap<TableId, Stored>,
    rows: Ranges,
    pages: Ranges,
    hasher: RandomState,
    next: u64,
    clock: u64,
    /// Tables dropped so far to make room.
    pub evicted: u64,
    /// Tables that found no room so far.
    pub refused: u64,
}

impl Store {
    pub fn new(sizes: UnwindSizes) -> Self {
        Self {
            files: HashMap::new(),
            contents: HashMap::new(),
            tables: HashMap::new(),
            rows: Ranges::new(sizes.rows),
            pages: Ranges::new(sizes.pages),
            hasher: RandomState::new(),
            next: 0,
            clock: 0,
            evicted: 0,
            refused: 0,
        }
    }

    /// What is known of a file, without opening it. Room that was freed since it found none is reason to look again.
    pub fn known(&self, key: &FileKey) -> Option<Found> {
        let found = *self.files.get(key)?;
        let is_stale = matches!(found, Found::NoRoom(evicted) if evicted != self.evicted);
        (!is_stale).then_some(found)
    }

    /// Makes the table of a file, or finds the one with the same content.
    pub fn add(&mut self, key: FileKey, file: &File, memory: &UnwindMemory) -> Found {
        let found = match Image::read(file) {
            Ok(image) => self.of_image(&image, memory),
            Err(ElfError::NoFrames) => Found::FramePointers,
            Err(_) => Found::Nothing,
        };
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        self.files.insert(key, found);
        found
    }

    fn of_image(&mut self, image: &Image, memory: &UnwindMemory) -> Found {
        let content =
            self.hasher.hash_one((&image.code, image.entry, image.frame_address, &image.frame));
        if let Some(known) = self.contents.get(&content) {
            return Found::Table(*known);
        }
        let table = match compile::table(image) {
            Ok(table) => table,
            Err(ElfError::NoFrames) => return Found::FramePointers,
            Err(_) => return Found::Nothing,
        };
        let wanted = (table.rows.len() as u32, table.pages() as u32);
        let Some((rows, pages)) = self.room(wanted) else {
            self.refused += 1;
            return Found::NoRoom(self.evicted);
        };
        memory.write_rows(rows.start, &table.rows);
        memory.write_pages(pages.start, table.index(rows.start));
        self.next += 1;
        self.clock += 1;
        let id = TableId(self.next);
        let (base, code) = (table.base, image.code.clone());
        let frame_bytes = image.frame.len() as u64;
        let stored =
            Stored { content, rows, pages, base, code, frame_bytes, users: 0, used: self.clock };
        self.tables.insert(id, stored);
        self.contents.insert(content, id);
        Found::Table(id)
    }

    /// Room for so many rows and pages, if need be by dropping tables that nobody uses.
    fn room(&mut self, (rows, pages): (u32, u32)) -> Option<(Range<u32>, Range<u32>)> {
        loop {
            if let Some(taken) = self.rows.take(rows) {
                if let Some(pages) = self.pages.take(pages) {
                    return Some((taken, pages));
                }
                self.rows.give_back(taken);
            }
            if self.rows.has_resting() || self.pages.has_resting() {
                super::grace::wait_for_walks();
                self.rows.wake();
                self.pages.wake();
                continue;
            }
            let unused = self.tables.iter().filter(|(_, table)| table.users == 0);
            let oldest = unused.min_by_key(|(_, table)| table.used).map(|(id, _)| *id)?;
            self.drop_table(oldest);
        }
    }

    fn drop_table(&mut self, id: TableId) {
        let Some(table) = self.tables.remove(&id) else { return };
        self.contents.remove(&table.content);
        self.files.retain(|_, found| *found != Found::Table(id));
        self.rows.give_back(table.rows);
        self.pages.give_back(table.pages);
        self.evicted += 1;
    }

    /// The mapping of a file at `start..end` from `offset` of the file on, as the kernel half takes it.
    pub fn mapping(&self, found: Found, start: u64, end: u64, offset: u64) -> Mapping {
        let plain = |pages| Mapping { start, end, bias: 0, first_page: 0, pages };
        match found {
            Found::FramePointers => plain(BY_FRAME_POINTER),
            Found::Nothing | Found::NoRoom(_) => plain(NO_TABLE),
            Found::Table(id) => match self.tables.get(&id) {
                Some(table) => match shift(&table.code, end - start, offset) {
                    Some(shift) => Mapping {
                        start,
                        end,
                        // The address within the table of an address of the process.
                        bias: start
                            .wrapping_sub(offset.wrapping_add(shift))
                            .wrapping_add(table.base),
                        first_page: table.pages.start,
                        pages: table.pages.end - table.pages.start,
                    },
                    None => plain(NO_TABLE),
                },
                None => plain(NO_TABLE),
            },
        }
    }

    /// Notes that a slice leads to tables.
    pub fn begin_use(&mut self, tables: &[TableId]) {
        self.clock += 1;
        for id in tables {
            if let Some(table) = self.tables.get_mut(id) {
                table.users += 1;
                table.used = self.clock;
            }
        }
    }

    /// Notes that a slice is gone.
    pub fn end_use(&mut self, tables: &[TableId]) {
        for id in tables {
            if let Some(table) = self.tables.get_mut(id) {
                table.users = table.users.saturating_sub(1);
                table.used = self.clock;
            }
        }
    }

    /// How many tables there are.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Bytes of the sections that the tables are made of.
    pub fn frame_bytes(&self) -> u64 {
        self.tables.values().map(|table| table.frame_bytes).sum()
    }

    /// Bytes of the rows and pages in use.
    pub fn used_bytes(&self) -> u64 {
        8 * (u64::from(self.rows.used()) + u64::from(self.pages.used()))
    }
}

/// What has to be added to an offset in the file to get the address the linker gave it. Linkers let segments share a page of
/// the file, so a mapping may begin before its segment: the one that has most of the mapping is meant.
fn shift(code: &[Segment], bytes: u64, offset: u64) -> Option<u64> {
    let end = offset.saturating_add(bytes);
    let overlap = |segment: &Segment| {
        let (first, last) = (segment.offset, segment.offset.saturating_add(segment.bytes));
        last.min(end).saturating_sub(first.max(offset))
    };
    let best = code.iter().max_by_key(|segment| overlap(segment))?;
    (overlap(best) > 0).then(|| best.address.wrapping_sub(best.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_belongs_to_the_segment_that_fills_it() {
        let segment = |offset, address, bytes| Segment { offset, address, bytes };
        // As lld lays a program out: each segment a page further on than in the file.
        let code = [segment(0x6c0, 0x16c0, 0x1e0), segment(0x8a0, 0x28a0, 0x2000)];
        assert_eq!(shift(&code, 0x1000, 0), Some(0x2000));
        assert_eq!(shift(&code[..1], 0x1000, 0), Some(0x1000));
        assert_eq!(shift(&code, 0x2000, 0x1000), Some(0x2000));
        assert_eq!(shift(&code, 0x1000, 0x9000), None);
        assert_eq!(shift(&code, u64::MAX, u64::MAX), None);
    }
}
