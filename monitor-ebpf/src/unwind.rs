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
use monitor_common::{
    stack::MAX_FRAMES,
    unwind::{
        BY_FRAME_POINTER, CfaKind, FrameKind, MAPPING_STEPS, MAX_USER_FRAMES, Mapping, NO_TABLE,
        PAGE_BITS, PageRows, ROW_STEPS, Row, SliceHead, WalkEnd,
    },
};

use crate::{
    config::offset,
    kernel::{self, Direct, Read, Task},
    profile,
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
static UNWIND_ROWS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Where a signal frame keeps the registers it interrupted, from the stack pointer: `struct ucontext` of x86-64.
const SIGNAL_BP: u64 = 120;
const SIGNAL_SP: u64 = 160;
const SIGNAL_IP: u64 = 168;
/// For each DWARF register, from the lowest 4 bits up, its place in `struct pt_regs` of x86-64 in words. Frame and stack pointer
/// have kinds of their own.
const PLACES: u64 = 0x0123_6789_04ed_5bca;

/// The state of one walk. It lies in a map: of what lies on the stack the verifier knows the values, and would go through the
/// loop again for each of them.
#[repr(C)]
pub struct Walk {
    pc: u64,
    sp: u64,
    bp: u64,
    /// The mapping that the last address lay in.
    mapping: Mapping,
    /// The registers at the entry to the kernel.
    registers: u64,
    /// The first mapping of the process.
    first_mapping: u32,
    mappings: u32,
    /// Where the user frames begin in the sample.
    first_frame: u32,
    frames: u32,
    /// Whether `pc` is where execution stands, and not where a call returns to.
    is_exact: u32,
    is_bp_lost: u32,
    end: u32,
    padding: u32,
}

/// Walks the user stack of the running thread into the scratch sample, from `first_frame` on: how many frames, and a [`WalkEnd`].
/// `start_stack` tells which program it runs. `None` if the process is not known.
#[inline(always)]
pub fn walk(task: Task<Direct>, start_stack: u64, first_frame: u32) -> Option<(u32, u32)> {
    // SAFETY: the value is read at once.
    let head_at = *unsafe { UNWIND_PROCESSES.get(task.tgid()) }?;
    let head = UNWIND_SLICES.get_ptr(head_at)?.cast::<SliceHead>();
    // SAFETY: an entry of the array; user space writes it while we read.
    let (made_for, mappings) = unsafe {
        (
            (&raw const (*head).start_stack).read_volatile(),
            (&raw const (*head).mappings).read_volatile(),
        )
    };
    if made_for != start_stack || start_stack == 0 {
        return None;
    }
    let registers = kernel::user_registers(task);
    let state = Walk {
        pc: Direct::at(registers, offset!(regs_ip)),
        sp: Direct::at(registers, offset!(regs_sp)),
        bp: Direct::at(registers, offset!(regs_bp)),
        mapping: Mapping { start: 0, end: 0, bias: 0, first_page: 0, pages: 0 },
        registers: registers as u64,
        first_mapping: head_at + 1,
        mappings: mappings as u32,
        first_frame,
        frames: 0,
        is_exact: 1,
        is_bp_lost: 0,
        end: WalkEnd::TooDeep as u32,
        padding: 0,
    };
    let scratch = profile::scratch()?;
    // SAFETY: the record of this CPU; samples of one CPU do not nest. The callback takes no argument of ours.
    let (frames, end) = unsafe {
        let walk = &raw mut (*scratch).walk;
        walk.write(state);
        bpf_loop(MAX_USER_FRAMES as u32 + 1, step as *mut c_void, core::ptr::null_mut(), 0);
        ((*walk).frames, (*walk).end)
    };
    // As many as it may be: the verifier does not know what the callback left there.
    const { assert!(MAX_USER_FRAMES == 0xff) };
    Some((frames & 0xff, end))
}

/// One frame; 1 ends the walk.
extern "C" fn step(index: u64, _: *mut c_void) -> u64 {
    let Some(scratch) = profile::scratch() else { return 1 };
    // SAFETY: the record of this CPU; its two parts are apart.
    let (walk, frames) =
        unsafe { (&mut (*scratch).walk, (&raw mut (*scratch).sample.frames).cast::<u64>()) };
    match frame(walk, frames, index as u32) {
        Ok(()) => 0,
        Err(end) => {
            walk.end = end as u32;
            1
        }
    }
}

/// Notes the frame and goes on to its caller.
#[inline(always)]
fn frame(walk: &mut Walk, frames: *mut u64, index: u32) -> Result<(), WalkEnd> {
    let place = walk.first_frame + index;
    if index >= MAX_USER_FRAMES as u32 || place >= (MAX_FRAMES + MAX_USER_FRAMES) as u32 {
        return Err(WalkEnd::TooDeep);
    }
    // SAFETY: the place is within the frames.
    unsafe { frames.add(place as usize).write(walk.pc) };
    walk.frames = index + 1;

    let at = walk.pc - u64::from(walk.is_exact == 0);
    if at < walk.mapping.start || at >= walk.mapping.end {
        find_mapping(walk, at)?;
    }
    match walk.mapping.pages {
        BY_FRAME_POINTER => by_frame_pointer(walk),
        NO_TABLE => Err(WalkEnd::NoTable),
        _ => {
            let row = find_row(walk, at)?;
            by_row(walk, row, index == 0)
        }
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
    let wanted = within & 0xffff;
    for _ in 0..ROW_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let row = UNWIND_ROWS.get(middle).ok_or(WalkEnd::NoTable)?;
        if row.address() <= wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // Before the first row of a page holds the last of the pages before it.
    UNWIND_ROWS.get(low.wrapping_sub(1)).copied().ok_or(WalkEnd::NoTable)
}

#[inline(always)]
fn by_row(walk: &mut Walk, row: Row, is_innermost: bool) -> Result<(), WalkEnd> {
    let kind = row.cfa();
    let uses_bp = kind == CfaKind::Frame as u8 || kind == CfaKind::FrameWord as u8;
    if uses_bp && walk.is_bp_lost != 0 {
        return Err(WalkEnd::Unsupported);
    }
    let cfa = if kind == CfaKind::Stack as u8 {
        walk.sp.wrapping_add(row.wide() as u64)
    } else if kind == CfaKind::Frame as u8 {
        walk.bp.wrapping_add(row.wide() as u64)
    } else if kind == CfaKind::End as u8 {
        return Err(WalkEnd::Complete);
    } else if kind == CfaKind::Signal as u8 {
        return by_signal_frame(walk);
    } else if kind == CfaKind::Linkage as u8 {
        walk.sp + 8 + 8 * u64::from((walk.pc & 15) as i64 >= row.parameter())
    } else if kind == CfaKind::StackWord as u8 {
        word(walk.sp.wrapping_add(row.parameter() as u64))?.wrapping_add(row.addend() as u64)
    } else if kind == CfaKind::FrameWord as u8 {
        word(walk.bp.wrapping_add(row.parameter() as u64))?.wrapping_add(row.addend() as u64)
    } else if kind == CfaKind::Leaf as u8 {
        // Only the innermost frame has its registers as they were.
        if !is_innermost {
            return Err(WalkEnd::Unsupported);
        }
        leaf_register(walk, row.addend() as u64)?.wrapping_add(row.parameter() as u64)
    } else if kind == CfaKind::None as u8 {
        return Err(WalkEnd::NoRow);
    } else {
        return Err(WalkEnd::Unsupported);
    };
    if cfa <= walk.sp {
        return Err(WalkEnd::Unreadable);
    }
    let frame = row.frame();
    let return_address = if frame == FrameKind::AtCfa as u8 && row.frame_offset() == -16 {
        // What most functions do: one read for both.
        let (bp, return_address) = two_words(cfa.wrapping_sub(16))?;
        walk.bp = bp;
        walk.is_bp_lost = 0;
        return_address
    } else {
        if frame == FrameKind::AtCfa as u8 {
            walk.bp = word(cfa.wrapping_add(row.frame_offset() as u64))?;
            walk.is_bp_lost = 0;
        } else if frame == FrameKind::AtFrame as u8 {
            walk.bp = word(walk.bp.wrapping_add(row.frame_offset() as u64))?;
        } else if frame == FrameKind::Lost as u8 {
            walk.is_bp_lost = 1;
        }
        word(cfa.wrapping_sub(8))?
    };
    walk.sp = cfa;
    go_on(walk, return_address)
}

/// The registers that a signal interrupted.
#[inline(always)]
fn by_signal_frame(walk: &mut Walk) -> Result<(), WalkEnd> {
    let sp = walk.sp;
    walk.bp = word(sp.wrapping_add(SIGNAL_BP))?;
    let (interrupted_sp, pc) = two_words(sp.wrapping_add(SIGNAL_SP))?;
    const { assert!(SIGNAL_IP == SIGNAL_SP + 8) };
    walk.sp = interrupted_sp;
    walk.is_bp_lost = 0;
    walk.pc = pc;
    walk.is_exact = 1;
    Ok(())
}

/// Code made at run time, and files without tables: those who make it keep frame pointers, or nobody can walk it.
#[inline(always)]
fn by_frame_pointer(walk: &mut Walk) -> Result<(), WalkEnd> {
    if walk.is_bp_lost != 0 {
        return Err(WalkEnd::NoRow);
    }
    if walk.bp == 0 {
        return Err(WalkEnd::Complete);
    }
    if walk.bp < walk.sp {
        return Err(WalkEnd::NoRow);
    }
    let (bp, return_address) = two_words(walk.bp)?;
    walk.sp = walk.bp + 16;
    walk.bp = bp;
    go_on(walk, return_address)
}

#[inline(always)]
fn go_on(walk: &mut Walk, return_address: u64) -> Result<(), WalkEnd> {
    if return_address == 0 {
        return Err(WalkEnd::Complete);
    }
    walk.pc = return_address;
    walk.is_exact = 0;
    Ok(())
}

/// A register of the innermost frame, by its DWARF number.
#[inline(always)]
fn leaf_register(walk: &Walk, number: u64) -> Result<u64, WalkEnd> {
    let place = PLACES >> (4 * (number & 15)) & 15;
    let mut value = 0u64;
    // SAFETY: the helper checks the address.
    let failed = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            8,
            (walk.registers + 8 * place) as *const c_void,
        )
    };
    if failed == 0 { Ok(value) } else { Err(WalkEnd::Unreadable) }
}

#[inline(always)]
fn word(at: u64) -> Result<u64, WalkEnd> {
    let mut value = 0u64;
    // SAFETY: the helper checks the address.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, at as *const c_void) };
    if failed == 0 { Ok(value) } else { Err(WalkEnd::Unreadable) }
}

#[inline(always)]
fn two_words(at: u64) -> Result<(u64, u64), WalkEnd> {
    let mut values = [0u64; 2];
    // SAFETY: the helper checks the address.
    let failed = unsafe { bpf_probe_read_user((&raw mut values).cast(), 16, at as *const c_void) };
    if failed == 0 { Ok((values[0], values[1])) } else { Err(WalkEnd::Unreadable) }
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
