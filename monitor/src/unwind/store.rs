//! Tables in the arrays of the kernel half: one for each content, shared by all processes and files that have it.
//!
//! Contract: a table is keyed by all that it is made of, so that a file that only claims to be another (a build id is easily
//! forged) gets a table of its own. Tables that no process uses stay until their room is wanted, the longest unused first.

use std::{collections::HashMap, fs::File, ops::Range, path::Path};

use monitor_common::unwind::{BY_FRAME_POINTER, Mapping, NO_TABLE};

use super::{
    compile,
    disk::{Disk, DiskCounts, Secret},
    elf::{ElfError, Image, Segment},
    gap::{self, GAP_BYTES_MIN},
    range::Ranges,
    rules::{RuleNumbers, Rules},
    table::Table,
    trampoline::{ARENA_BYTES, Layout},
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

/// All that a table is made of: a hash of what the unwind information says, and where code without it keeps frame pointers.
type Content = (u64, Gaps);

struct Stored {
    content: Content,
    room: Room,
    base: u64,
    code: Vec<Segment>,
    /// Length of the section it is made of.
    frame_bytes: u64,
    /// Slices that lead to it.
    users: u32,
    used: u64,
}

/// What a table has of the arrays.
struct Room {
    rows: Range<u32>,
    rules: RuleNumbers,
    pages: Range<u32>,
}

/// Parts of a file's code that its `.eh_frame` says nothing about.
type Gaps = Vec<Range<u64>>;

/// All tables.
pub(super) struct Store {
    files: HashMap<FileKey, Found>,
    /// Those of a content, for as long as it has a table. Most have none.
    gaps: HashMap<u64, Gaps>,
    contents: HashMap<Content, TableId>,
    tables: HashMap<TableId, Stored>,
    rows: Ranges,
    rules: Rules,
    pages: Ranges,
    secret: Secret,
    disk: Option<Disk>,
    next: u64,
    clock: u64,
    /// Tables dropped so far to make room.
    pub evicted: u64,
    /// Tables that found no room so far.
    pub refused: u64,
    /// Tables compiled so far.
    pub compiled: u64,
}

impl Store {
    /// A store that keeps copies in a directory, if it can.
    pub fn new(sizes: UnwindSizes, directory: Option<&Path>) -> Self {
        let opened = directory.map(|directory| (Disk::open(directory), directory));
        let (disk, secret) = match opened {
            Some((Ok((disk, secret)), _)) => (Some(disk), secret),
            Some((Err(error), directory)) => {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "unwind tables are compiled anew at each start");
                (None, Secret::random())
            }
            None => (None, Secret::random()),
        };
        Self {
            files: HashMap::new(),
            gaps: HashMap::new(),
            contents: HashMap::new(),
            tables: HashMap::new(),
            rows: Ranges::new(sizes.rows),
            rules: Rules::new(sizes.rules),
            pages: Ranges::new(sizes.pages),
            secret,
            disk,
            next: 0,
            clock: 0,
            evicted: 0,
            refused: 0,
            compiled: 0,
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
            Ok(image) => self.of_image(&image, file, memory),
            Err(ElfError::NoFrames) => Found::FramePointers,
            Err(_) => Found::Nothing,
        };
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        self.files.insert(key, found);
        found
    }

    fn of_image(&mut self, image: &Image, file: &File, memory: &UnwindMemory) -> Found {
        let content = self.secret.content(image);
        let framed = |gaps: &Gaps| gap::with_frame_pointers(gaps, &image.code, image.arch, file);
        let framed_known = self.gaps.get(&content).map(framed);
        if let Some(framed) = &framed_known
            && let Some(known) = self.contents.get(&(content, framed.clone()))
        {
            return Found::Table(*known);
        }
        let mut table = match self.table(content, image) {
            Ok(table) => table,
            Err(ElfError::NoFrames) => return Found::FramePointers,
            Err(_) => return Found::Nothing,
        };
        let gaps = table.gaps(GAP_BYTES_MIN);
        let framed = match framed_known {
            Some(framed) => framed,
            None => framed(&gaps),
        };
        if let Some(known) = self.contents.get(&(content, framed.clone())) {
            let known = *known;
            self.gaps.insert(content, gaps);
            return Found::Table(known);
        }
        table.set_by_frame_pointer(&framed);
        let found =
            self.put((content, framed), &table, image.code.clone(), image.frame.len(), memory);
        if matches!(found, Found::Table(_)) {
            self.gaps.insert(content, gaps);
        }
        found
    }

    /// Makes the table of an arena of trampolines, or finds it: one for all that are filled alike.
    pub fn add_trampolines(&mut self, layout: Layout, memory: &UnwindMemory) -> Found {
        // A keyed hash of a file is not so small a number.
        let content = (layout.number(), Gaps::new());
        if let Some(known) = self.contents.get(&content) {
            return Found::Table(*known);
        }
        let Some(table) = layout.table() else { return Found::Nothing };
        let code = vec![Segment { offset: 0, address: 0, bytes: ARENA_BYTES }];
        self.put(content, &table, code, 0, memory)
    }

    /// Writes a table into the arrays.
    fn put(
        &mut self,
        content: Content,
        table: &Table,
        code: Vec<Segment>,
        frame_bytes: usize,
        memory: &UnwindMemory,
    ) -> Found {
        let Some(room) = self.room(table) else {
            self.refused += 1;
            return Found::NoRoom(self.evicted);
        };
        for (number, rules) in self.rules.of(&room.rules) {
            memory.write_rule(number, rules);
        }
        memory.write_rows(room.rows.start, self.rules.pack(&table.rows));
        memory.write_pages(room.pages.start, table.index(room.rows.start));
        self.next += 1;
        self.clock += 1;
        let id = TableId(self.next);
        let stored = Stored {
            content: content.clone(),
            room,
            base: table.base,
            code,
            frame_bytes: frame_bytes as u64,
            users: 0,
            used: self.clock,
        };
        self.tables.insert(id, stored);
        self.contents.insert(content, id);
        Found::Table(id)
    }

    /// From the disk, or compiled.
    fn table(&mut self, content: u64, image: &Image) -> Result<Table, ElfError> {
        if let Some(table) = self.disk.as_mut().and_then(|disk| disk.read(content)) {
            return Ok(table);
        }
        let table = compile::table(image)?;
        self.compiled += 1;
        if let Some(disk) = &mut self.disk {
            disk.write(content, &table);
        }
        Ok(table)
    }

    /// What came of the copies on disk.
    pub fn disk(&self) -> DiskCounts {
        self.disk.as_ref().map_or_else(DiskCounts::default, |disk| disk.counts)
    }

    /// Room for a table, if need be by dropping tables that nobody uses.
    fn room(&mut self, table: &Table) -> Option<Room> {
        loop {
            if let Some(room) = self.take(table) {
                return Some(room);
            }
            if self.rows.has_resting() || self.rules.has_resting() || self.pages.has_resting() {
                super::grace::wait_for_walks();
                self.rows.wake();
                self.rules.wake();
                self.pages.wake();
                continue;
            }
            let unused = self.tables.iter().filter(|(_, table)| table.users == 0);
            let oldest = unused.min_by_key(|(_, table)| table.used).map(|(id, _)| *id)?;
            self.drop_table(oldest);
        }
    }

    /// Room for a table as things are.
    fn take(&mut self, table: &Table) -> Option<Room> {
        let rows = self.rows.take(table.rows.len() as u32)?;
        let Some(pages) = self.pages.take(table.pages() as u32) else {
            self.rows.give_unused_back(rows);
            return None;
        };
        let Some(rules) = self.rules.take(&table.rows) else {
            self.rows.give_unused_back(rows);
            self.pages.give_unused_back(pages);
            return None;
        };
        Some(Room { rows, rules, pages })
    }

    fn drop_table(&mut self, id: TableId) {
        let Some(table) = self.tables.remove(&id) else { return };
        self.contents.remove(&table.content);
        self.gaps.remove(&table.content.0);
        self.files.retain(|_, found| *found != Found::Table(id));
        self.rows.give_back(table.room.rows);
        self.rules.give_back(table.room.rules);
        self.pages.give_back(table.room.pages);
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
                        first_page: table.room.pages.start,
                        pages: table.room.pages.len() as u32,
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

    /// Bytes of the rows, rules and pages in use.
    pub fn used_bytes(&self) -> u64 {
        4 * u64::from(self.rows.used())
            + 8 * (u64::from(self.rules.used()) + u64::from(self.pages.used()))
    }
}

/// What has to be added to an offset in the file to get the address the linker gave it. Linkers let segments share a page of
/// the file, so a mapping may begin before its segment: the one that has most of the mapping is meant.
pub(super) fn shift(code: &[Segment], bytes: u64, offset: u64) -> Option<u64> {
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
