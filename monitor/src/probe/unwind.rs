//! The arrays that the walk of user stacks goes by: filled by whoever compiles tables, read by the kernel half.
//!
//! Contract: the arrays are sized at load and mapped only while somebody fills them, since the kernel counts mapped pages as
//! resident. What lies where in them is decided by the writer.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData},
};
use monitor_common::{
    python::{MAX_LAYOUTS, PythonLayout, interpreter},
    unwind::{MAX_RULES, Mapping, PackedRow, PackedRows, PageRows, SliceHead},
};

use super::{
    MappedArray, ProbeError,
    load::{map_error, take},
};
use crate::kernel::ids::Tgid;

/// How many entries each array has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindSizes {
    /// Rows of 4 bytes.
    pub rows: u32,
    /// Different rules that the rows may have, 8 bytes each.
    pub rules: u32,
    /// Pages of code, 8 bytes each.
    pub pages: u32,
    /// Mappings and heads, 32 bytes each.
    pub mappings: u32,
    /// Processes.
    pub processes: u32,
}

impl UnwindSizes {
    /// Sizes for so many bytes of rows. A page of 4 KiB of code has some 70 rows; room for one page in 32 rows suits all but
    /// files that are nearly empty.
    pub fn for_bytes(bytes: u32) -> Self {
        let rows = (bytes / 4).max(128);
        let processes = (rows / 512).clamp(64, 8_192);
        Self {
            rows,
            rules: (rows / 32).clamp(64, MAX_RULES),
            pages: (rows / 32).max(64),
            mappings: processes * 4,
            processes,
        }
    }

    /// Bytes of tables that there is room for.
    pub fn table_bytes(self) -> u64 {
        4 * u64::from(self.rows) + 8 * (u64::from(self.rules) + u64::from(self.pages))
    }
}

/// The arrays, not mapped.
pub struct UnwindMaps {
    /// How many entries each has.
    pub sizes: UnwindSizes,
    rows: OwnedFd,
    rules: OwnedFd,
    pages: OwnedFd,
    slices: OwnedFd,
    processes: HashMap<MapData, u32, u32>,
    layouts: Array<MapData, PythonLayout>,
    /// Those in the array, in its order.
    known_layouts: Vec<PythonLayout>,
}

/// The arrays, mapped.
pub struct UnwindMemory {
    rows: MappedArray<PackedRows>,
    rules: MappedArray<u64>,
    pages: MappedArray<PageRows>,
    slices: MappedArray<Mapping>,
}

impl UnwindMaps {
    pub(super) fn new(ebpf: &mut Ebpf, sizes: UnwindSizes) -> Result<Self, ProbeError> {
        let fd = |name| {
            let map = ebpf.map(name);
            let Some(Map::Array(data)) = map else { return Err(super::load::missing_map(name)) };
            data.fd().as_fd().try_clone_to_owned().map_err(|source| ProbeError::Refused {
                what: format!("a second descriptor of {name}"),
                reason: source.to_string(),
            })
        };
        let (rows, rules) = (fd("UNWIND_ROWS")?, fd("UNWIND_RULES")?);
        let (pages, slices) = (fd("UNWIND_PAGES")?, fd("UNWIND_SLICES")?);
        let processes = HashMap::try_from(take(ebpf, "UNWIND_PROCESSES")?).map_err(map_error)?;
        let layouts = Array::try_from(take(ebpf, "PYTHON_LAYOUTS")?).map_err(map_error)?;
        Ok(Self {
            sizes,
            rows,
            rules,
            pages,
            slices,
            processes,
            layouts,
            known_layouts: Vec::new(),
        })
    }

    /// Maps the arrays.
    ///
    /// # Errors
    /// The kernel's, when there is no address space for them.
    pub fn open(&self) -> io::Result<UnwindMemory> {
        Ok(UnwindMemory {
            rows: MappedArray::new(self.rows.as_fd(), self.sizes.rows.div_ceil(2))?,
            rules: MappedArray::new(self.rules.as_fd(), self.sizes.rules)?,
            pages: MappedArray::new(self.pages.as_fd(), self.sizes.pages)?,
            slices: MappedArray::new(self.slices.as_fd(), self.sizes.mappings)?,
        })
    }

    /// Lets walks of a process go by the slice whose head lies there.
    ///
    /// # Errors
    /// The kernel's, when there are more processes than room for them.
    pub fn set_process(&mut self, process: Tgid, head: u32) -> io::Result<()> {
        self.processes
            .insert(process.0, head, 0)
            .map_err(|error| io::Error::other(error.to_string()))
    }

    /// Where the head of the slice lies that walks of a process go by.
    pub fn head_of(&self, process: Tgid) -> Option<u32> {
        self.processes.get(&process.0, 0).ok()
    }

    /// What a slice says of the interpreter that its program is: of that layout, with `_PyRuntime` there. 0 if it cannot be walked.
    pub fn interpreter(&mut self, (layout, runtime): (PythonLayout, u64)) -> u64 {
        let known = self.known_layouts.iter().position(|known| *known == layout);
        let number = known.unwrap_or(self.known_layouts.len()) as u32;
        if known.is_none() {
            if number >= MAX_LAYOUTS || self.layouts.set(number, layout, 0).is_err() {
                return 0;
            }
            self.known_layouts.push(layout);
        }
        interpreter(number, runtime)
    }

    /// Lets walks of a process go by frame pointers again.
    pub fn forget_process(&mut self, process: Tgid) {
        // Not there is as good.
        let _ = self.processes.remove(&process.0);
    }

    /// Every process that the kernel half knows: children are added by itself.
    pub fn processes(&self) -> Vec<Tgid> {
        self.processes.keys().flatten().map(Tgid).collect()
    }
}

impl UnwindMemory {
    /// Writes rows.
    ///
    /// # Panics
    /// If they lie beyond the array, as all of these do.
    pub fn write_rows(&self, first: u32, rows: impl Iterator<Item = PackedRow>) {
        for (index, row) in (first as usize..).zip(rows) {
            let slot = self.rows.as_ptr(index / 2).cast::<PackedRow>();
            // SAFETY: a slot of the array has two. The other may be another table's, so it is not written again.
            unsafe { slot.add(index & 1).write_volatile(row) };
        }
    }

    /// Writes the rules of a number, [`Row::rules`](monitor_common::unwind::Row::rules), before any row has the number.
    pub fn write_rule(&self, number: u32, rules: u64) {
        self.rules.write(number as usize, rules);
    }

    /// Writes entries of the index.
    pub fn write_pages(&self, first: u32, pages: impl Iterator<Item = PageRows>) {
        write(&self.pages, first, pages);
    }

    /// Writes the mappings of a program behind their head, and the head last: a walk that sees it sees them whole.
    /// Another `generation` for each, from 1 on; `interpreter` is what [`UnwindMaps::interpreter`] gave, or 0.
    pub fn write_slice(
        &self,
        head_at: u32,
        start_stack: u64,
        generation: u64,
        interpreter: u64,
        mappings: &[Mapping],
    ) {
        self.clear_slice(head_at);
        write(&self.slices, head_at + 1, mappings.iter().copied());
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        let head = self.slices.as_ptr(head_at as usize).cast::<SliceHead>();
        // SAFETY: inside the mapping; a head is as large as a mapping.
        unsafe {
            (&raw mut (*head).mappings).write_volatile(mappings.len() as u32);
            (&raw mut (*head).generation).write_volatile(generation);
            (&raw mut (*head).interpreter).write_volatile(interpreter);
            std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
            (&raw mut (*head).start_stack).write_volatile(start_stack);
        }
    }

    /// Lets nobody go by this slice of whom it is only remembered: a process has ceased to, and others may do still.
    pub fn stamp_slice(&self, head_at: u32) {
        let head = self.slices.as_ptr(head_at as usize).cast::<SliceHead>();
        // SAFETY: as above.
        unsafe {
            let stamp = &raw mut (*head).stamp;
            stamp.write_volatile(stamp.read_volatile().wrapping_add(1));
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
    }

    /// Lets no walk begin by this slice any more.
    pub fn clear_slice(&self, head_at: u32) {
        let head = self.slices.as_ptr(head_at as usize).cast::<SliceHead>();
        // SAFETY: as above.
        unsafe { (&raw mut (*head).start_stack).write_volatile(0) };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
    }
}

fn write<T: super::mapping::Record>(
    array: &MappedArray<T>,
    first: u32,
    values: impl Iterator<Item = T>,
) {
    for (index, value) in (first as usize..).zip(values) {
        array.write(index, value);
    }
}
