//! Walking a user stack by tables, in code that keeps no frame pointers.
//!
//! Contract: called for the running thread, from any program type. Frames go to the scratch record of this CPU. User space
//! writes the tables while walks run: it fills a table before a mapping leads to it, and frees it only after every walk that may
//! have seen it has ended. A slice names the program it was made for, so one that is out of date is not used.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::HashMap,
};
#[cfg(bpf_target_arch = "aarch64")]
use monitor_common::walk::Aarch64;
#[cfg(bpf_target_arch = "x86_64")]
use monitor_common::walk::X86_64;
use monitor_common::{
    known::{Cursor, KnownRows},
    stack::MAX_FRAMES,
    unwind::{MAX_USER_FRAMES, WalkEnd},
    walk::{Memory, Registers},
};

use crate::{
    config::offset,
    kernel::{self, Direct, Read, Task},
    profile, python,
    rows::{self, Head, Search},
};

/// Process id to the head of its mappings.
#[map]
static UNWIND_PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

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
/// Processes that are remembered.
const KNOWN_PROCESSES: usize = 8;
/// Frames that each call of the callback walks: the call and its return cost as much as a frame, and the verifier looks at each of them.
const FRAMES_PER_STEP: u32 = 4;
/// As often as it is called: the last time notes that there were more frames than there is room for.
const STEPS: u32 = MAX_USER_FRAMES as u32 / FRAMES_PER_STEP + 1;
/// Pages of user memory: a window lies in one, so that it never asks for memory that the frame itself would not.
const USER_PAGE_BYTES: u64 = 4096;

/// The state of one walk. It lies in a map: of what lies on the stack the verifier knows the values, and would go through the
/// loop again for each of them.
#[repr(C)]
pub struct Walk {
    registers: Registers,
    search: Search,
    cursor: Cursor,
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

/// A process, and where it was found that its mappings are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnownProcess {
    tgid: u32,
    head_at: u32,
    /// Those of the head.
    generation: u32,
    stamp: u32,
}

/// What each CPU remembers, by the last bits of the number.
pub type KnownProcesses = [KnownProcess; KNOWN_PROCESSES];

/// What the callback needs. It lies on the stack, from where the verifier knows what the pointer is to.
#[repr(C)]
struct Context {
    scratch: *mut profile::Scratch,
}

/// Walks the user stack of the running thread into the scratch sample, from `first_frame` on: how many frames, and a [`WalkEnd`].
/// `start_stack` tells which program it runs. `None` if the process is not known.
#[inline(always)]
pub fn walk(task: Task<Direct>, start_stack: u64, first_frame: u32) -> Option<(u32, u32)> {
    let mut context = Context { scratch: profile::scratch()? };
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    let known = unsafe { (&raw mut (*context.scratch).known_processes).cast::<KnownProcess>() };
    let head = head_of(task.tgid(), start_stack, known)?;
    if head.start_stack != start_stack || start_stack == 0 {
        return None;
    }
    let entry = kernel::user_registers(task);
    let python_at = python::collect(task, head.interpreter, context.scratch);
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    let walk = unsafe { &mut (*context.scratch).walk };
    walk.search.begin(head);
    // SAFETY: as above.
    walk.cursor = unsafe { (*context.scratch).known_rows.begin(head.generation) };
    (walk.is_python, walk.python_at) = (0, python_at);
    walk.registers = registers_at(entry);
    walk.stack.registers = entry as u64;
    walk.stack.window_end = 0;
    (walk.first_frame, walk.frames) = (first_frame, 0);
    walk.end = WalkEnd::TooDeep as u32;
    // SAFETY: the context outlives the call.
    unsafe {
        let context = (&raw mut context).cast::<c_void>();
        bpf_loop(STEPS, step as *mut c_void, context, 0);
    }
    // SAFETY: as above.
    let walk = unsafe { &(*context.scratch).walk };
    // As many as it may be: the verifier does not know what the callback left there.
    const { assert!(MAX_USER_FRAMES == 0xff) };
    Some((walk.frames & 0xff, walk.end))
}

/// The head of the mappings of a process, which is remembered or looked up.
#[inline(always)]
fn head_of(tgid: u32, start_stack: u64, known: *mut KnownProcess) -> Option<Head> {
    // SAFETY: one of the eight.
    let known = unsafe { &mut *known.add(tgid as usize % KNOWN_PROCESSES) };
    if known.tgid == tgid {
        let head = Head::read(known.head_at)?;
        let is_same = head.generation == known.generation && head.stamp == known.stamp;
        if is_same && head.start_stack == start_stack {
            return Some(head);
        }
    }
    // SAFETY: the value is read at once.
    let look_up = || unsafe { UNWIND_PROCESSES.get(tgid) }.copied();
    let head_at = look_up()?;
    let head = Head::read(head_at)?;
    // A slice that the process has left since then has this stamp for ever.
    if look_up() == Some(head_at) {
        let Head { generation, stamp, .. } = head;
        *known = KnownProcess { tgid, head_at, generation, stamp };
    }
    Some(head)
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

/// Some frames; 1 ends the walk.
extern "C" fn step(_: u64, context: *mut Context) -> u64 {
    // SAFETY: the record of this CPU; its parts are apart.
    let (walk, frames, known, python) = unsafe {
        let scratch = (*context).scratch;
        let frames = (&raw mut (*scratch).sample.frames).cast::<u64>();
        let known = &mut (*scratch).known_rows;
        (&mut (*scratch).walk, frames, known, &mut (*scratch).python)
    };
    for _ in 0..FRAMES_PER_STEP {
        if let Err(end) = frame(walk, frames, known, python) {
            walk.end = end;
            return 1;
        }
    }
    0
}

/// Notes the frame and goes on to its caller; else a [`WalkEnd`].
#[inline(always)]
fn frame(
    walk: &mut Walk,
    frames: *mut u64,
    known: &mut KnownRows,
    python: &mut python::PythonWalk,
) -> Result<(), u32> {
    let index = u64::from(walk.frames);
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
    let Walk { search, cursor, .. } = walk;
    let row = known.row(cursor, at, |known, cursor| rows::seek(search, known, cursor, at));
    walk.registers.step::<Here>(row, index == 0, &mut walk.stack)?;
    walk.is_python = u32::from(walk.registers.sp > walk.python_at);
    Ok(())
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
