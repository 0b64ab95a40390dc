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
    maps::{HashMap, Map, MapData},
};
use monitor_common::unwind::{Mapping, PageRows, Row, SliceHead};

use super::{
    MappedArray, ProbeError,
    load::{map_error, take},
};
use crate::kernel::ids::Tgid;

/// How many entries each array has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindSizes {
    /// Rows of 8 bytes.
    pub rows: u32,
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
        let rows = (bytes / 8).max(64);
        let processes = (rows / 256).clamp(64, 8_192);
        Self { rows, pages: (rows / 32).max(64), mappings: processes * 4, processes }
    }
}

/// The arrays, not mapped.
pub struct UnwindMaps {
    /// How many entries each has.
    pub sizes: UnwindSizes,
    rows: OwnedFd,
    pages: OwnedFd,
    slices: OwnedFd,
    processes: HashMap<MapData, u32, u32>,
}

/// The arrays, mapped.
pub struct UnwindMemory {
    rows: MappedArray<Row>,
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
        let (rows, pages, slices) = (fd("UNWIND_ROWS")?, fd("UNWIND_PAGES")?, fd("UNWIND_SLICES")?);
        let processes = HashMap::try_from(take(ebpf, "UNWIND_PROCESSES")?).map_err(map_error)?;
        Ok(Self { sizes, rows, pages, slices, processes })
    }

    /// Maps the arrays.
    ///
    /// # Errors
    /// The kernel's, when there is no address space for them.
    pub fn open(&self) -> io::Result<UnwindMemory> {
        Ok(UnwindMemory {
            rows: MappedArray::new(self.rows.as_fd(), self.sizes.rows)?,
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
    pub fn write_rows(&self, first: u32, rows: &[Row]) {
        write(&self.rows, first, rows.iter().copied());
    }

    /// Writes entries of the index.
    pub fn write_pages(&self, first: u32, pages: impl Iterator<Item = PageRows>) {
        write(&self.pages, first, pages);
    }

    /// Writes the mappings of a program behind their head, and the head last: a walk that sees it sees them whole.
    pub fn write_slice(&self, head_at: u32, start_stack: u64, mappings: &[Mapping]) {
        self.clear_slice(head_at);
        write(&self.slices, head_at + 1, mappings.iter().copied());
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        let head = self.slices.as_ptr(head_at as usize).cast::<SliceHead>();
        // SAFETY: inside the mapping; a head is as large as a mapping.
        unsafe {
            (&raw mut (*head).mappings).write_volatile(mappings.len() as u64);
            std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
            (&raw mut (*head).start_stack).write_volatile(start_stack);
        }
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
