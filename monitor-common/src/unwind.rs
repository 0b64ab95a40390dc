//! How a user stack is walked without frame pointers: the rows that user space compiles from `.eh_frame`, where a process has
//! them, and how a walk ended.
//!
//! ```text
//! PROCESSES[tgid] -> SLICES: head, mapping, mapping, ...  -> PAGES: one entry per 4 KiB of code -> ROWS -> RULES
//! ```
//!
//! In the kernel a row is 4 bytes: its place in the page, and which rules hold from there on. Programs have few different rules:
//! all 1,331 of Debian's that were looked at, with 16.6 million rows, have 4,600.
//!
//! Contract: rows of a table are sorted; a row holds from its address to that of the next one. The first row of a table begins
//! with its first page, so every address of the table has a row.

/// Address bits within a page of the index.
pub const PAGE_BITS: u32 = 12;
/// Addresses that one entry of the index covers.
pub const PAGE_BYTES: u64 = 1 << PAGE_BITS;
/// Most user frames of a walk; each costs some 100 ns in an interrupt.
pub const MAX_USER_FRAMES: usize = 255;
/// Executable mappings of a process that are searched: the search takes this many steps at most, see [`MAPPING_STEPS`].
pub const MAX_MAPPINGS: usize = 4096;
/// Halvings of [`MAX_MAPPINGS`], with one to spare.
pub const MAPPING_STEPS: u32 = 13;
/// Halvings of the rows of a page: at most one row for each of its bytes.
pub const ROW_STEPS: u32 = PAGE_BITS + 1;

/// Where the canonical frame address (CFA) comes from.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfaKind {
    /// No information: the walk ends.
    None = 0,
    /// The outermost frame: the stack is complete.
    End = 1,
    /// Stack pointer + parameter.
    Stack = 2,
    /// Frame pointer + parameter.
    Frame = 3,
    /// In a procedure linkage table: stack pointer + 8, and 8 more from the instruction on whose offset in its 16 bytes is the
    /// parameter.
    Linkage = 4,
    /// The word at stack pointer + parameter, + addend.
    StackWord = 5,
    /// The word at frame pointer + parameter, + addend.
    FrameWord = 6,
    /// The frame of a signal handler: all registers lie on the stack.
    Signal = 7,
    /// A register that only the innermost frame has, + parameter.
    Leaf = 8,
    /// A rule that has no place in a row.
    Unsupported = 9,
    /// By frame pointers: code that keeps them and has no information. The walk notes it, too, of an address whose whole mapping is so.
    ByFramePointer = 10,
    /// Not in tables, but what the walk notes of an address: nothing is known of it, and the parameter is the [`WalkEnd`].
    Nothing = 11,
    /// The word at stack pointer + parameter + 8 times a register that only the innermost frame has, + 8. The multiplications of
    /// OpenSSL for machines without BMI2 keep the caller's stack pointer behind an array of so many words.
    LeafIndexedWord = 12,
}

/// Where the caller's frame pointer is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Unchanged.
    Same = 0,
    /// At CFA + offset.
    AtCfa = 1,
    /// At the frame pointer + offset.
    AtFrame = 2,
    /// Not known: rules that use it end the walk.
    Lost = 3,
    /// Unchanged, and the return address alone is at CFA + offset: on machines that call by a link register. There
    /// [`Self::AtCfa`] has the return address right behind the frame pointer, and [`Self::Same`] has it in its register still.
    LinkAtCfa = 4,
}

/// What holds from an address on: `address:16 | cfa:4 | frame:4 | frame_offset:16 | parameter:16 | addend:8`.
///
/// The parameter of [`CfaKind::Stack`], [`CfaKind::Frame`] has the addend's bits too: 24 signed ones. That of [`CfaKind::Leaf`]
/// and [`CfaKind::LeafIndexedWord`] is 16 signed ones, and the register's number is the addend.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row(pub u64);

impl Row {
    /// A row without information at an address.
    pub const fn none(address: u64) -> Self {
        Self::bare(address, CfaKind::None)
    }

    /// A row whose kind says all.
    pub const fn bare(address: u64, cfa: CfaKind) -> Self {
        Self(address & 0xffff | (cfa as u64) << 16 | (FrameKind::Same as u64) << 20)
    }

    /// What is noted of an address that no table says anything about.
    pub const fn nothing(end: WalkEnd) -> Self {
        Self((CfaKind::Nothing as u64) << 16 | (end as u64) << 40)
    }

    /// A row; `None` if a number does not fit.
    pub const fn new(
        address: u64,
        cfa: CfaKind,
        parameter: i64,
        addend: i64,
        frame: FrameKind,
        frame_offset: i64,
    ) -> Option<Self> {
        if frame_offset as i16 as i64 != frame_offset {
            return None;
        }
        let wide = match cfa {
            CfaKind::Stack | CfaKind::Frame => {
                if parameter << 40 >> 40 != parameter || addend != 0 {
                    return None;
                }
                parameter as u64 & 0xff_ffff
            }
            _ => {
                if parameter as i16 as i64 != parameter || addend as i8 as i64 != addend {
                    return None;
                }
                (parameter as u64 & 0xffff) | (addend as u64 & 0xff) << 16
            }
        };
        Some(Self(
            address & 0xffff
                | (cfa as u64) << 16
                | (frame as u64) << 20
                | (frame_offset as u64 & 0xffff) << 24
                | wide << 40,
        ))
    }

    /// The same rules at another address.
    pub const fn at(self, address: u64) -> Self {
        Self(self.0 & !0xffff | address & 0xffff)
    }

    /// The low 16 bits of its address from the beginning of the table.
    #[inline(always)]
    pub const fn address(self) -> u64 {
        self.0 & 0xffff
    }

    /// The [`CfaKind`].
    #[inline(always)]
    pub const fn cfa(self) -> u8 {
        (self.0 >> 16) as u8 & 15
    }

    /// The [`FrameKind`].
    #[inline(always)]
    pub const fn frame(self) -> u8 {
        (self.0 >> 20) as u8 & 15
    }

    /// The offset at which the caller's frame pointer lies, bytes.
    #[inline(always)]
    pub const fn frame_offset(self) -> i64 {
        (self.0 >> 24) as i16 as i64
    }

    /// The parameter of [`CfaKind::Stack`] and [`CfaKind::Frame`], bytes.
    #[inline(always)]
    pub const fn wide(self) -> i64 {
        self.0 as i64 >> 40
    }

    /// The parameter of the other kinds, bytes.
    #[inline(always)]
    pub const fn parameter(self) -> i64 {
        (self.0 >> 40) as i16 as i64
    }

    /// The addend, bytes.
    #[inline(always)]
    pub const fn addend(self) -> i64 {
        (self.0 >> 56) as i8 as i64
    }

    /// The same rules, whatever the address.
    pub const fn rules(self) -> u64 {
        self.0 >> 16
    }

    /// A row of these rules, without an address.
    #[inline(always)]
    pub const fn of_rules(rules: u64) -> Self {
        Self(rules << 16)
    }
}

/// Different rules that the arrays hold at most: 256 KiB.
pub const MAX_RULES: u32 = 1 << 15;

/// A [`Row`] as the array has it: `rules:20 | address:12`, the number of its rules and the address within the page.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedRow(pub u32);

/// The slots of an array that is mapped are multiples of 8 bytes.
pub type PackedRows = [PackedRow; 2];

const _: () = assert!(PAGE_BITS == 12 && MAX_RULES <= 1 << 20 && size_of::<PackedRows>() == 8);

impl PackedRow {
    /// A row at an address, by the number of its rules.
    pub const fn new(address: u64, rules: u32) -> Self {
        Self(rules << PAGE_BITS | (address as u32 & (PAGE_BYTES as u32 - 1)))
    }

    /// Its address within the page.
    #[inline(always)]
    pub const fn within_page(self) -> u32 {
        self.0 & (PAGE_BYTES as u32 - 1)
    }

    /// Which rules hold.
    #[inline(always)]
    pub const fn rules(self) -> u32 {
        self.0 >> PAGE_BITS
    }
}

/// The rows of one page of code: `first..end` in the array of rows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRows {
    /// The first whose address lies in the page.
    pub first: u32,
    /// The one after the last.
    pub end: u32,
}

/// The pages of a [`Mapping`] without tables that is walked by frame pointers.
pub const BY_FRAME_POINTER: u32 = 0;
/// The pages of a [`Mapping`] whose table is not there.
pub const NO_TABLE: u32 = u32::MAX;

/// One entry of the mapping array.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What an address of the table is less than one of the process.
    pub bias: u64,
    /// Where the table's pages begin in the index.
    pub first_page: u32,
    /// How many pages; [`BY_FRAME_POINTER`], [`NO_TABLE`].
    pub pages: u32,
}

/// What stands before the mappings of a process, in place of one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceHead {
    /// `mm->start_stack` of the program the mappings belong to: it is random at each exec, and a fork keeps it, as it keeps the
    /// mappings. 0 while the slice is written.
    pub start_stack: u64,
    /// How many mappings follow.
    pub mappings: u32,
    /// Another number whenever a process has ceased to go by the slice, which others may do still: that a process goes by it is remembered as
    /// long as this and the generation are the same.
    pub stamp: u32,
    /// Another number for each slice that was ever written, from 1 on: what is noted of an address holds as long as its slice.
    pub generation: u64,
    /// The interpreter that the program is: see [`crate::python::interpreter`]; 0 if it is none.
    pub interpreter: u64,
}

const _: () = assert!(size_of::<Mapping>() == 32);
const _: () = assert!(size_of::<SliceHead>() == size_of::<Mapping>());
const _: () = assert!(1 << MAPPING_STEPS > MAX_MAPPINGS);

/// How the walk of a user stack ended.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WalkEnd {
    /// At the outermost frame.
    #[default]
    Complete = 0,
    /// The process is not known yet: walked by frame pointers, which may miss callers.
    UnknownProcess = 1,
    /// This kernel cannot walk by tables, or it is switched off: by frame pointers.
    FramePointers = 2,
    /// More frames than are kept.
    TooDeep = 3,
    /// The address lies in no executable mapping that was seen.
    NoMapping = 4,
    /// The table of the file is not there: not made yet, no room for it, or the file cannot be read.
    NoTable = 5,
    /// The file says nothing about the address.
    NoRow = 6,
    /// The file's rule is of a form that tables do not hold.
    Unsupported = 7,
    /// The stack could not be read there: not resident, or the walk went astray.
    Unreadable = 8,
    /// A wait that had begun before it was recorded: nobody walked it.
    BeganBefore = 9,
    /// A wait that was not walked, since there were too many of its thread.
    NotWalked = 10,
}

impl WalkEnd {
    /// All ends.
    pub const ALL: [Self; 11] = [
        Self::Complete,
        Self::UnknownProcess,
        Self::FramePointers,
        Self::TooDeep,
        Self::NoMapping,
        Self::NoTable,
        Self::NoRow,
        Self::Unsupported,
        Self::Unreadable,
        Self::BeganBefore,
        Self::NotWalked,
    ];

    /// From a sample.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// Whether the walk went by frame pointers alone, so that it may have missed callers anywhere.
    pub const fn is_by_frame_pointers(self) -> bool {
        matches!(self, Self::UnknownProcess | Self::FramePointers)
    }

    /// A few words that fit into a frame of a flame graph.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::UnknownProcess => "process not known yet",
            Self::FramePointers => "frame pointers",
            Self::TooDeep => "too deep",
            Self::NoMapping => "unknown mapping",
            Self::NoTable => "no unwind table",
            Self::NoRow => "no unwind information",
            Self::Unsupported => "unwind rule not supported",
            Self::Unreadable => "stack unreadable",
            Self::BeganBefore => "waits since before",
            Self::NotWalked => "too many waits to walk each",
        }
    }

    /// A sentence with the remedy, where there is one.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Complete => "The stack is complete.",
            Self::UnknownProcess => {
                "The process was not known yet, so its stack was walked by frame pointers, which misses callers in code without \
                 them."
            }
            Self::FramePointers => {
                "Stacks are walked by frame pointers only, which misses callers in code without them: `cgscope doctor` says why."
            }
            Self::TooDeep => {
                "The stack is deeper than 255 frames: its outermost callers are missing."
            }
            Self::NoMapping => {
                "The stack leads to code that was mapped after the process was looked at."
            }
            Self::NoTable => {
                "The unwind table of a file is not there: raise --unwind-table-size if it was for want of room."
            }
            Self::NoRow => {
                "A file has no unwind information for its code: build it with -fasynchronous-unwind-tables."
            }
            Self::Unsupported => {
                "A file's unwind information is of a form that tables do not hold, as in hand-written assembly."
            }
            Self::Unreadable => "A part of the stack was not resident, or the walk went astray.",
            Self::BeganBefore => {
                "The thread waited already as the recording began: its user stack was not seen."
            }
            Self::NotWalked => {
                "The thread waits so often that not every user stack is walked, and this wait was a long one."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_packing() {
        for parameter in [-0x80_0000, -8, 0, 8, 65_536, 0x7f_ffff] {
            let row = Row::new(0x1_2345, CfaKind::Stack, parameter, 0, FrameKind::AtCfa, -16);
            let row = row.expect("it fits");
            assert_eq!((row.address(), row.cfa(), row.wide()), (0x2345, 2, parameter));
            assert_eq!((row.frame(), row.frame_offset()), (1, -16));
        }
        let row = Row::new(1, CfaKind::FrameWord, -8, 127, FrameKind::AtFrame, 32_767).unwrap();
        assert_eq!((row.parameter(), row.addend(), row.frame_offset()), (-8, 127, 32_767));
    }

    #[test]
    fn rows_are_packed_with_their_place_in_the_page() {
        let row = PackedRow::new(0x1_2fff, MAX_RULES - 1);
        assert_eq!((row.within_page(), row.rules()), (0xfff, MAX_RULES - 1));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let same = FrameKind::Same;
        assert!(Row::new(0, CfaKind::Stack, 0x80_0000, 0, same, 0).is_none());
        assert!(Row::new(0, CfaKind::Stack, 8, 1, same, 0).is_none());
        assert!(Row::new(0, CfaKind::StackWord, 40_000, 0, same, 0).is_none());
        assert!(Row::new(0, CfaKind::StackWord, 8, 200, same, 0).is_none());
        assert!(Row::new(0, CfaKind::Stack, 8, 0, FrameKind::AtCfa, -40_000).is_none());
    }

    #[test]
    fn ends_are_their_numbers() {
        for end in WalkEnd::ALL {
            assert_eq!(WalkEnd::of(end as u32), Some(end));
        }
        assert_eq!(WalkEnd::of(11), None);
    }
}
