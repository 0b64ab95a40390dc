//! Walking a user stack by tables, in code that keeps no frame pointers.
//!
//! Contract: called for the running thread, from any program type. Frames go to the scratch record of this CPU. User space
//! writes the tables while walks run: it fills a table before a mapping leads to it, and frees it only after every walk that may
//! have seen it has ended. A slice names the program it was made for, so one that is out of date is not used.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::{Array, HashMap},
};
#[cfg(bpf_target_arch = "aarch64")]
use monitor_common::walk::Aarch64;
#[cfg(bpf_target_arch = "x86_64")]
use monitor_common::walk::X86_64;
use monitor_common::{
    stack::MAX_FRAMES,
    unwind::{
        BY_FRAME_POINTER, CfaKind, MAPPING_STEPS, MAX_USER_FRAMES, Mapping, NO_TABLE, PAGE_BITS,
        PAGE_BYTES, PackedRow, PackedRows, PageRows, ROW_STEPS, Row, SliceHead, WalkEnd,
    },
    walk::{Memory, Registers},
};

use crate::{
    config::offset,
    kernel::{self, Direct, Read, Task},
    profile, python,
};

/// Process id to the head of its mappings.
#[map]
static UNWIND_PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

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

/// The machine that the programs are built for. The words of its registers at the entry to the kernel are those of `struct pt_regs`.
#[cfg(bpf_target_arch = "x86_64")]
type Here = X86_64;
#[cfg(bpf_target_arch = "aarch64")]
type Here = Aarch64;
/// For each DWARF register of x86-64, from the lowest 4 bits up, its word. Frame and stack pointer have kinds of their own.
#[cfg(bpf_target_arch = "x86_64")]
const WORDS: u64 = 0x0123_6789_04ed_5bca;
/// Frame pointer and link register of arm64.
#[cfg(bpf_target_arch = "aarch64")]
const WORD_OF_FP_LINK: (u32, u32) = (29, 30);

/// As much of the stack as is read at once. Most frames are less than 100 bytes, and a helper call for each costs 30 ns.
const WINDOW_BYTES: u64 = 512;
/// Pages of user memory: a window lies in one, so that it never asks for memory that the frame itself would not.
const USER_PAGE_BYTES: u64 = 4096;
/// Rows that are remembered on each CPU: the stacks of a program have most of their frames in common. 24 KiB.
const KNOWN_BITS: u32 = 10;

/// The state of one walk. It lies in a map: of what lies on the stack the verifier knows the values, and would go through the
/// loop again for each of them.
#[repr(C)]
pub struct Walk {
    registers: Registers,
    /// That of the slice.
    generation: u64,
    /// The mapping that the last address that was looked for lay in.
    mapping: Mapping,
    /// The first mapping of the process.
    first_mapping: u32,
    mappings: u32,
    /// Where the user frames begin in the sample.
    first_frame: u32,
    frames: u32,
    end: u32,
    /// Whether the next frames are those of Python that the last one evaluates.
    is_python: u32,
    /// An address in the next native frame that evaluates Python: beyond all of them if there is none.
    python_at: u64,
    stack: Stack,
}

/// What of the stack was read last.
#[repr(C)]
struct Stack {
    /// The registers at the entry to the kernel.
    registers: u64,
    /// Where the window was read.
    window_at: u64,
    /// How much of it, less 7 bytes: where a word may begin.
    window_end: u64,
    window: [u64; (WINDOW_BYTES / 8) as usize],
}

/// The row of an address, as it was found before. It is that of the address as long as the slice is not written anew.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnownRow {
    at: u64,
    generation: u64,
    row: Row,
}

/// What each CPU remembers.
pub type KnownRows = [KnownRow; 1 << KNOWN_BITS];

/// What the callback needs. It lies on the stack, from where the verifier knows what the pointer is to.
#[repr(C)]
struct Context {
    scratch: *mut profile::Scratch,
}

/// Walks the user stack of the running thread into the scratch sample, from `first_frame` on: how many frames, and a [`WalkEnd`].
/// `start_stack` tells which program it runs. `None` if the process is not known.
#[inline(always)]
pub fn walk(task: Task<Direct>, start_stack: u64, first_frame: u32) -> Option<(u32, u32)> {
    // SAFETY: the value is read at once.
    let head_at = *unsafe { UNWIND_PROCESSES.get(task.tgid()) }?;
    let head = UNWIND_SLICES.get_ptr(head_at)?.cast::<SliceHead>();
    // SAFETY: an entry of the array; user space writes it while we read.
    let (made_for, mappings, generation, interpreter) = unsafe {
        (
            (&raw const (*head).start_stack).read_volatile(),
            (&raw const (*head).mappings).read_volatile(),
            (&raw const (*head).generation).read_volatile(),
            (&raw const (*head).interpreter).read_volatile(),
        )
    };
    if made_for != start_stack || start_stack == 0 {
        return None;
    }
    let entry = kernel::user_registers(task);
    let mut context = Context { scratch: profile::scratch()? };
    let python_at = python::collect(task, interpreter, context.scratch);
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    let walk = unsafe { &mut (*context.scratch).walk };
    (walk.is_python, walk.python_at) = (0, python_at);
    walk.registers = registers_at(entry);
    walk.stack.registers = entry as u64;
    walk.stack.window_end = 0;
    walk.generation = generation;
    // Empty, as the window is.
    (walk.mapping.start, walk.mapping.end) = (0, 0);
    (walk.first_mapping, walk.mappings) = (head_at + 1, mappings as u32);
    (walk.first_frame, walk.frames) = (first_frame, 0);
    walk.end = WalkEnd::TooDeep as u32;
    // SAFETY: the context outlives the call.
    unsafe {
        let context = (&raw mut context).cast::<c_void>();
        bpf_loop(MAX_USER_FRAMES as u32 + 1, step as *mut c_void, context, 0);
    }
    // SAFETY: as above.
    let walk = unsafe { &(*context.scratch).walk };
    // As many as it may be: the verifier does not know what the callback left there.
    const { assert!(MAX_USER_FRAMES == 0xff) };
    Some((walk.frames & 0xff, walk.end))
}

/// The registers of user code at its entry to the kernel.
#[inline(always)]
fn registers_at(entry: *const c_void) -> Registers {
    #[cfg(bpf_target_arch = "x86_64")]
    let (fp, link) = (Direct::at(entry, offset!(regs_bp)), 0);
    #[cfg(bpf_target_arch = "aarch64")]
    let (fp, link) =
        (Direct::at(entry, 8 * WORD_OF_FP_LINK.0), Direct::at(entry, 8 * WORD_OF_FP_LINK.1));
    Registers {
        pc: Direct::at(entry, offset!(regs_ip)),
        sp: Direct::at(entry, offset!(regs_sp)),
        fp,
        link,
        is_exact: 1,
        is_fp_lost: 0,
    }
}

/// One frame; 1 ends the walk.
extern "C" fn step(index: u64, context: *mut Context) -> u64 {
    // SAFETY: the record of this CPU; its parts are apart.
    let (walk, frames, known, python) = unsafe {
        let scratch = (*context).scratch;
        let frames = (&raw mut (*scratch).sample.frames).cast::<u64>();
        let known = (&raw mut (*scratch).known_rows).cast::<KnownRow>();
        (&mut (*scratch).walk, frames, known, &mut (*scratch).python)
    };
    match frame(walk, frames, known, python, index) {
        Ok(()) => 0,
        Err(end) => {
            walk.end = end;
            1
        }
    }
}

/// Notes the frame and goes on to its caller; else a [`WalkEnd`].
#[inline(always)]
fn frame(
    walk: &mut Walk,
    frames: *mut u64,
    known: *mut KnownRow,
    python: &mut python::PythonWalk,
    index: u64,
) -> Result<(), u32> {
    // In the width of a pointer: what it is widened from again is another number to the verifier.
    let place = u64::from(walk.first_frame) + index;
    if index >= MAX_USER_FRAMES as u64 || place >= (MAX_FRAMES + MAX_USER_FRAMES) as u64 {
        return Err(WalkEnd::TooDeep as u32);
    }
    let is_python = walk.is_python != 0;
    let mut word = walk.registers.pc;
    if is_python {
        let (of_python, ended) = python::next(python);
        if let Some(python_at) = ended {
            (walk.is_python, walk.python_at) = (0, python_at);
        }
        word = of_python;
    }
    // SAFETY: the place is within the frames.
    unsafe { frames.add(place as usize).write(word) };
    walk.frames = index as u32 + 1;
    if is_python {
        return Ok(());
    }

    let at = walk.registers.at();
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let place = at.wrapping_mul(GOLDEN) >> (64 - KNOWN_BITS);
    // SAFETY: the place is within what is remembered.
    let known = unsafe { &mut *known.add(place as usize) };
    if known.at != at || known.generation != walk.generation {
        let row = find(walk, at);
        *known = KnownRow { at, generation: walk.generation, row: Row(row) };
    }
    walk.registers.step::<Here>(known.row, index == 0, &mut walk.stack)?;
    walk.is_python = u32::from(walk.registers.sp > walk.python_at);
    Ok(())
}

/// The bits of the row of an address.
#[inline(never)]
fn find(walk: &mut Walk, at: u64) -> u64 {
    if at < walk.mapping.start || at >= walk.mapping.end {
        if let Err(end) = find_mapping(walk, at) {
            return Row::nothing(end).0;
        }
    }
    match walk.mapping.pages {
        BY_FRAME_POINTER => Row::bare(0, CfaKind::ByFramePointer).0,
        NO_TABLE => Row::nothing(WalkEnd::NoTable).0,
        _ => match find_row(walk, at) {
            Ok(row) => row.0,
            Err(end) => Row::nothing(end).0,
        },
    }
}

/// The last mapping that begins at or before the address, if it reaches that far.
#[inline(always)]
fn find_mapping(walk: &mut Walk, at: u64) -> Result<(), WalkEnd> {
    let mut low = 0;
    // Not cut to its limit: halving a number with a limit ends at one the verifier knows, and from there on it keeps every path
    // through the loop apart.
    let mut high = walk.mappings;
    for _ in 0..MAPPING_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let mapping = UNWIND_SLICES.get(walk.first_mapping + middle).ok_or(WalkEnd::NoMapping)?;
        if mapping.start <= at {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return Err(WalkEnd::NoMapping);
    }
    let found = UNWIND_SLICES.get(walk.first_mapping + low - 1).ok_or(WalkEnd::NoMapping)?;
    if at >= found.end {
        return Err(WalkEnd::NoMapping);
    }
    walk.mapping = *found;
    Ok(())
}

/// The last row at or before the address.
#[inline(always)]
fn find_row(walk: &Walk, at: u64) -> Result<Row, WalkEnd> {
    let within = at.wrapping_sub(walk.mapping.bias);
    let page = within >> PAGE_BITS;
    if page >= u64::from(walk.mapping.pages) {
        return Err(WalkEnd::NoRow);
    }
    let rows = UNWIND_PAGES.get(walk.mapping.first_page + page as u32).ok_or(WalkEnd::NoTable)?;
    let (mut low, mut high) = (rows.first, rows.end);
    let wanted = (within & (PAGE_BYTES - 1)) as u32;
    for _ in 0..ROW_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        if row(middle)?.within_page() <= wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // Before the first row of a page holds the last of the pages before it.
    let rules = UNWIND_RULES.get(row(low.wrapping_sub(1))?.rules()).ok_or(WalkEnd::NoTable)?;
    Ok(Row::of_rules(*rules))
}

/// A row of the array.
#[inline(always)]
fn row(index: u32) -> Result<PackedRow, WalkEnd> {
    let rows = UNWIND_ROWS.get_ptr(index / 2).ok_or(WalkEnd::NoTable)?.cast::<PackedRow>();
    // SAFETY: the slot has two.
    Ok(unsafe { rows.add(index as usize & 1).read() })
}

impl Memory for Stack {
    /// A word of the stack, which lies in the window or brings it there.
    #[inline(always)]
    fn word(&mut self, at: u64) -> Option<u64> {
        let mut within = at.wrapping_sub(self.window_at);
        if within >= self.window_end || within & 7 != 0 {
            if fill(self, at) != 0 {
                return None;
            }
            within = 0;
        }
        // Never: said to the verifier.
        if within > WINDOW_BYTES - 8 {
            return None;
        }
        // SAFETY: within the window, and aligned as its words are.
        Some(unsafe { (&raw const self.window).byte_add(within as usize).cast::<u64>().read() })
    }

    #[inline(always)]
    fn register(&mut self, number: u64) -> Option<u64> {
        #[cfg(bpf_target_arch = "x86_64")]
        let word = WORDS >> (4 * (number & 15)) & 15;
        #[cfg(bpf_target_arch = "aarch64")]
        let word = number & 31;
        let mut value = 0u64;
        let at = (self.registers + 8 * word) as *const c_void;
        // SAFETY: the helper checks the address.
        let failed = unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, at) };
        (failed == 0).then_some(value)
    }
}

/// Reads the window from an address on, as far as its page goes; not 0 if that fails.
#[inline(never)]
fn fill(stack: &mut Stack, at: u64) -> u64 {
    let rest = USER_PAGE_BYTES - (at & (USER_PAGE_BYTES - 1));
    // A word that lies in two pages is read for itself.
    let bytes = if rest < 8 {
        8
    } else if rest < WINDOW_BYTES {
        rest
    } else {
        WINDOW_BYTES
    };
    let window = (&raw mut stack.window).cast::<c_void>();
    // SAFETY: the helper checks the address; the window has so many bytes.
    let failed = unsafe { bpf_probe_read_user(window, bytes as u32, at as *const c_void) };
    if failed != 0 {
        stack.window_end = 0;
        return 1;
    }
    (stack.window_at, stack.window_end) = (at, bytes - 7);
    0
}

/// A child has the mappings of its parent until it executes a program.
#[inline(always)]
pub fn inherit(parent_tgid: u32, child_tgid: u32) {
    // SAFETY: the value is copied at once.
    if let Some(slice) = unsafe { UNWIND_PROCESSES.get(parent_tgid) } {
        let slice = *slice;
        // A full table leaves the child unknown, which its samples say.
        let _ = UNWIND_PROCESSES.insert(child_tgid, slice, 0);
    }
}
