//! The rows of one file, as the kernel half searches them.

use std::ops::Range;

use monitor_common::unwind::{CfaKind, PAGE_BITS, PAGE_BYTES, PageRows, Row};

/// Pages of 4 GB: no code is larger.
const PAGES_MAX: u64 = 1 << 20;
/// A gap between two functions of less is padding: nothing runs there, and it gets no row of its own.
const PADDING_BYTES: u64 = 16;

/// The rows of one file, sorted, with where those of each page begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The address its first page begins at.
    pub base: u64,
    /// For each page the first row that lies in it or after it, and the number of rows at last.
    starts: Vec<u32>,
    /// What holds from each address on.
    pub rows: Vec<Row>,
}

impl Table {
    /// How many pages of code it covers.
    pub fn pages(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The index, for rows that begin at `first_row` of the array.
    pub fn index(&self, first_row: u32) -> impl Iterator<Item = PageRows> {
        self.starts
            .windows(2)
            .map(move |pair| PageRows { first: first_row + pair[0], end: first_row + pair[1] })
    }

    /// Appends it as bytes of this machine.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.base.to_ne_bytes());
        bytes.extend((self.starts.len() as u64).to_ne_bytes());
        bytes.extend((self.rows.len() as u64).to_ne_bytes());
        self.starts.iter().for_each(|start| bytes.extend(start.to_ne_bytes()));
        self.rows.iter().for_each(|row| bytes.extend(row.0.to_ne_bytes()));
    }

    /// From what [`Self::put`] wrote; `None` if it is no table.
    pub fn take(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<24>()?;
        let word = |at: usize| Some(u64::from_ne_bytes(*head[at..].first_chunk()?));
        let (base, starts, rows) = (word(0)?, word(8)?, word(16)?);
        let starts_bytes = usize::try_from(starts.checked_mul(4)?).ok()?;
        let (starts, words) = rest.split_at_checked(starts_bytes)?;
        if rows.checked_mul(8)? != words.len() as u64 {
            return None;
        }
        let starts: Vec<u32> =
            starts.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        let rows: Vec<Row> =
            words.as_chunks().0.iter().map(|word| Row(u64::from_ne_bytes(*word))).collect();
        let is_sound = starts.is_sorted()
            && starts.first() == Some(&0)
            && starts.last().is_some_and(|last| *last as usize == rows.len());
        is_sound.then_some(Self { base, starts, rows })
    }

    /// Where nothing is known of so many bytes in a row.
    pub fn gaps(&self, bytes_min: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut begun: Option<u64> = None;
        for (index, pair) in self.starts.windows(2).enumerate() {
            let page = self.base + ((index as u64) << PAGE_BITS);
            for row in self.rows.get(pair[0] as usize..pair[1] as usize).unwrap_or_default() {
                let address = page + (row.address() & (PAGE_BYTES - 1));
                if let Some(start) = begun.take()
                    && address.saturating_sub(start) >= bytes_min
                {
                    gaps.push(start..address);
                }
                begun = (row.cfa() == CfaKind::None as u8).then_some(address);
            }
        }
        gaps
    }

    /// Says of some of the [`Self::gaps`] that their code keeps frame pointers.
    pub fn set_by_frame_pointer(&mut self, gaps: &[Range<u64>]) {
        for gap in gaps {
            let page = ((gap.start - self.base) >> PAGE_BITS) as usize;
            let of_page = self.starts[page] as usize..self.starts[page + 1] as usize;
            let low = (gap.start - self.base) & 0xffff;
            if let Some(row) = self.rows[of_page].iter_mut().find(|row| row.address() == low) {
                *row = Row::bare(low, CfaKind::ByFramePointer);
            }
        }
    }

    /// What holds at an address, found as the kernel half does.
    #[cfg(test)]
    pub fn find(&self, address: u64) -> Option<Row> {
        let within = address.checked_sub(self.base)?;
        let page = (within >> PAGE_BITS) as usize;
        let (first, end) = (*self.starts.get(page)?, *self.starts.get(page + 1)?);
        let in_page = &self.rows[first as usize..end as usize];
        let low = within & 0xffff;
        let after = first as usize + in_page.partition_point(|row| row.address() <= low);
        Some(self.rows[after.checked_sub(1)?])
    }
}

/// Makes a table of functions that come by rising address.
pub(super) struct Builder {
    base: u64,
    pages: u64,
    /// Up to where functions are known.
    covered: u64,
    addresses: Vec<u32>,
    rows: Vec<Row>,
}

impl Builder {
    /// For code from `first` up to `end`; `None` if that is more than any code has.
    pub fn new(first: u64, end: u64) -> Option<Self> {
        let base = first & !(PAGE_BYTES - 1);
        let pages = end.checked_sub(base)?.div_ceil(PAGE_BYTES);
        let mut builder =
            Self { base, pages, covered: base, addresses: Vec::new(), rows: Vec::new() };
        builder.push(base, Row::none(base));
        (1..=PAGES_MAX).contains(&pages).then_some(builder)
    }

    /// Begins a function; the part of it that is not covered yet, if there is one.
    pub fn begin(&mut self, start: u64, end: u64) -> Option<Range<u64>> {
        let limit = self.base + self.pages * PAGE_BYTES;
        let (start, end) = (start.max(self.covered), end.min(limit));
        if start >= end {
            return None;
        }
        if start - self.covered >= PADDING_BYTES {
            self.push(self.covered, Row::none(self.covered));
        }
        self.covered = end;
        Some(start..end)
    }

    /// Adds the rules of a row to the function that was begun, within its part.
    pub fn push(&mut self, address: u64, row: Row) {
        let within = (address - self.base) as u32;
        let row = row.at(u64::from(within));
        match self.rows.last_mut() {
            Some(last) if last.rules() == row.rules() => {}
            Some(last) if self.addresses.last() == Some(&within) => *last = row,
            _ => {
                self.addresses.push(within);
                self.rows.push(row);
            }
        }
    }

    /// The table.
    pub fn finish(mut self) -> Table {
        self.push(self.covered, Row::none(self.covered));
        let mut starts = Vec::with_capacity(self.pages as usize + 1);
        for (index, within) in self.addresses.iter().enumerate() {
            let page = (within >> PAGE_BITS) as usize;
            while starts.len() <= page.min(self.pages as usize) {
                starts.push(index as u32);
            }
        }
        starts.resize(self.pages as usize + 1, self.rows.len() as u32);
        self.rows.shrink_to_fit();
        Table { base: self.base, starts, rows: self.rows }
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::unwind::FrameKind;

    use super::*;

    fn row(address: u64, offset: i64) -> Row {
        Row::new(address, CfaKind::Stack, offset, 0, FrameKind::Same, 0).unwrap()
    }

    /// The parameter at an address, -1 where nothing is known.
    fn at(table: &Table, address: u64) -> Option<i64> {
        let row = table.find(address)?;
        Some(if row.cfa() == CfaKind::None as u8 { -1 } else { row.wide() })
    }

    #[test]
    fn rows_hold_until_the_next_over_pages() {
        let mut builder = Builder::new(0x1_f123, 0x2_5000).unwrap();
        for (start, end, offset) in [(0x1_f123, 0x1_f140, 8), (0x1_f150, 0x2_2008, 16)] {
            let part = builder.begin(start, end).unwrap();
            builder.push(part.start, row(part.start, offset));
        }
        let part = builder.begin(0x2_2014, 0x2_2020).unwrap();
        builder.push(part.start, row(part.start, 24));
        let table = builder.finish();
        assert_eq!((table.base, table.pages()), (0x1_f000, 6));
        assert_eq!(at(&table, 0x1_efff), None);
        for (address, offset) in [
            (0x1_f000, -1),
            (0x1_f122, -1),
            (0x1_f123, 8),
            (0x1_f13f, 8),
            (0x1_f140, -1),
            (0x1_f150, 16),
            (0x2_0000, 16),
            (0x2_1fff, 16),
            // Padding takes the row before it.
            (0x2_2010, 16),
            (0x2_2014, 24),
            (0x2_2020, -1),
            (0x2_4fff, -1),
        ] {
            assert_eq!(at(&table, address), Some(offset), "{address:#x}");
        }
        assert_eq!(at(&table, 0x2_5000), None);
    }

    #[test]
    fn gaps_are_where_no_function_is() {
        let mut builder = Builder::new(0x1_f123, 0x8_5000).unwrap();
        for (start, end) in [(0x1_f123, 0x1_f140), (0x4_f150, 0x5_2008), (0x5_2108, 0x5_3000)] {
            let part = builder.begin(start, end).unwrap();
            builder.push(part.start, row(part.start, 8));
        }
        let mut table = builder.finish();
        assert_eq!(table.gaps(0x100), [0x1_f000..0x1_f123, 0x1_f140..0x4_f150, 0x5_2008..0x5_2108]);
        let large = table.gaps(0x1000);
        assert_eq!((large.len(), &large[0]), (1, &(0x1_f140..0x4_f150)));
        table.set_by_frame_pointer(&large);
        for address in [0x1_f140, 0x2_f140, 0x4_f14f] {
            let row = table.find(address).unwrap();
            assert_eq!(row.cfa(), CfaKind::ByFramePointer as u8, "{address:#x}");
        }
        for (address, parameter) in [(0x1_f122, -1), (0x1_f13f, 8), (0x4_f150, 8), (0x5_2010, -1)] {
            assert_eq!(at(&table, address), Some(parameter), "{address:#x}");
        }
        assert_eq!(table.gaps(0x1000), []);
    }

    #[test]
    fn functions_that_overlap_are_cut() {
        let mut builder = Builder::new(0x1000, 0x2000).unwrap();
        assert_eq!(builder.begin(0x1000, 0x1800), Some(0x1000..0x1800));
        assert_eq!(builder.begin(0x1400, 0x1900), Some(0x1800..0x1900));
        assert_eq!(builder.begin(0x1500, 0x1700), None);
        assert_eq!(builder.begin(0x1f00, u64::MAX), Some(0x1f00..0x2000));
    }

    #[test]
    fn code_without_end_is_refused() {
        assert!(Builder::new(0x1000, u64::MAX).is_none());
        assert!(Builder::new(0x1000, 0x1000).is_none());
        assert!(Builder::new(0x2000, 0x1000).is_none());
    }
}
