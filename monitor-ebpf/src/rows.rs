//! The tables that walks go by: finding the row of an address.
//!
//! Contract: user space writes the tables while walks run, see [`crate::unwind`]. What is found holds for a range of addresses, in one page and
//! one mapping, as long as the slice of the process is not written anew.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use monitor_common::{
    known::{Cursor, FoundRow, KnownRows},
    unwind::{
        BY_FRAME_POINTER, CfaKind, MAPPING_STEPS, Mapping, NO_TABLE, PAGE_BITS, PAGE_BYTES,
        PackedRow, PackedRows, PageRows, ROW_STEPS, Row, SliceHead, WalkEnd,
    },
};

/// Heads and mappings.
#[map]
static UNWIND_SLICES: Array<Mapping> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Which rows belong to which page of code.
#[map]
static UNWIND_PAGES: Array<PageRows> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The rows of all tables.
#[map]
static UNWIND_ROWS: Array<PackedRows> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The rules of all rows.
#[map]
static UNWIND_RULES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Where a process has its tables.
#[repr(C)]
pub struct Search {
    /// The mapping that the last address that was looked for lay in.
    mapping: Mapping,
    /// The first mapping of the process.
    first_mapping: u32,
    mappings: u32,
}

/// What stands before the mappings of a process.
#[derive(Clone, Copy)]
pub struct Head {
    pub at: u32,
    pub start_stack: u64,
    pub mappings: u32,
    /// With the stamp: see [`SliceHead`].
    pub generation: u32,
    pub stamp: u32,
    pub interpreter: u64,
}

impl Head {
    /// The head of a slice.
    #[inline(always)]
    pub fn read(at: u32) -> Option<Self> {
        let head = UNWIND_SLICES.get_ptr(at)?.cast::<SliceHead>();
        // SAFETY: an entry of the array; user space writes it while we read.
        unsafe {
            Some(Self {
                at,
                start_stack: (&raw const (*head).start_stack).read_volatile(),
                mappings: (&raw const (*head).mappings).read_volatile(),
                stamp: (&raw const (*head).stamp).read_volatile(),
                generation: (&raw const (*head).generation).read_volatile() as u32,
                interpreter: (&raw const (*head).interpreter).read_volatile(),
            })
        }
    }
}

impl Search {
    /// Before the first frame of a walk.
    #[inline(always)]
    pub fn begin(&mut self, head: Head) {
        // Empty.
        (self.mapping.start, self.mapping.end) = (0, 0);
        (self.first_mapping, self.mappings) = (head.at + 1, head.mappings);
    }
}

/// [`KnownRows::seek`] in the tables of a process.
#[inline(never)]
pub fn seek(search: &mut Search, known: &mut KnownRows, cursor: &mut Cursor, at: u64) -> u64 {
    known.seek(cursor, at, || find(search, at))
}

/// The row of an address by the tables.
#[inline(always)]
fn find(search: &mut Search, at: u64) -> FoundRow {
    if at < search.mapping.start || at >= search.mapping.end {
        if let Err(end) = find_mapping(search, at) {
            return nothing(end, at);
        }
    }
    let mapping = search.mapping;
    match mapping.pages {
        BY_FRAME_POINTER => {
            let row = Row::bare(0, CfaKind::ByFramePointer);
            let page = at & !(PAGE_BYTES - 1);
            FoundRow { row, start: page, end: page + PAGE_BYTES }.within(mapping.start, mapping.end)
        }
        NO_TABLE => nothing(WalkEnd::NoTable, at),
        _ => match find_row(search, at) {
            Ok(found) => found.within(mapping.start, mapping.end),
            Err(end) => nothing(end, at),
        },
    }
}

/// Nothing is known of this address.
#[inline(always)]
fn nothing(end: WalkEnd, at: u64) -> FoundRow {
    FoundRow { row: Row::nothing(end), start: at, end: at + 1 }
}

/// The last mapping that begins at or before the address, if it reaches that far.
#[inline(always)]
fn find_mapping(search: &mut Search, at: u64) -> Result<(), WalkEnd> {
    let mut low = 0;
    // Not cut to its limit: halving a number with a limit ends at one the verifier knows, and from there on it keeps every path
    // through the loop apart.
    let mut high = search.mappings;
    for _ in 0..MAPPING_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let mapping = UNWIND_SLICES.get(search.first_mapping + middle).ok_or(WalkEnd::NoMapping)?;
        if mapping.start <= at {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return Err(WalkEnd::NoMapping);
    }
    let found = UNWIND_SLICES.get(search.first_mapping + low - 1).ok_or(WalkEnd::NoMapping)?;
    if at >= found.end {
        return Err(WalkEnd::NoMapping);
    }
    search.mapping = *found;
    Ok(())
}

/// The last row at or before the address.
#[inline(always)]
fn find_row(search: &Search, at: u64) -> Result<FoundRow, WalkEnd> {
    let within = at.wrapping_sub(search.mapping.bias);
    let page = within >> PAGE_BITS;
    if page >= u64::from(search.mapping.pages) {
        return Err(WalkEnd::NoRow);
    }
    let rows = UNWIND_PAGES.get(search.mapping.first_page + page as u32).ok_or(WalkEnd::NoTable)?;
    let (mut low, mut high) = (rows.first, rows.end);
    let wanted = (within & (PAGE_BYTES - 1)) as u32;
    // Where in the page the row found begins and ends.
    let (mut start, mut end) = (0, PAGE_BYTES);
    for _ in 0..ROW_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let place = row(middle)?.within_page();
        if place <= wanted {
            low = middle + 1;
            start = u64::from(place);
        } else {
            high = middle;
            end = u64::from(place);
        }
    }
    // Before the first row of a page holds the last of the pages before it.
    let rules = UNWIND_RULES.get(row(low.wrapping_sub(1))?.rules()).ok_or(WalkEnd::NoTable)?;
    let page_at = at.wrapping_sub(u64::from(wanted));
    Ok(FoundRow {
        row: Row::of_rules(*rules),
        start: page_at.wrapping_add(start),
        end: page_at.wrapping_add(end),
    })
}

/// A row of the array.
#[inline(always)]
fn row(index: u32) -> Result<PackedRow, WalkEnd> {
    let rows = UNWIND_ROWS.get_ptr(index / 2).ok_or(WalkEnd::NoTable)?.cast::<PackedRow>();
    // SAFETY: the slot has two.
    Ok(unsafe { rows.add(index as usize & 1).read() })
}
