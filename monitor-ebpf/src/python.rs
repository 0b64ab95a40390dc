//! The functions that a CPython interpreter evaluates, read from its memory beside the walk of the native stack.
//!
//! Contract: called for the running thread, in the scratch record of this CPU. What is read belongs to a process and may change or
//! lie: each pointer is read by a helper, each loop has an end, and no more is kept than there is room for. A program that is no
//! interpreter costs one comparison a frame.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_loop, bpf_probe_read_user},
    macros::map,
    maps::Array,
};
use monitor_common::{
    drops::DropReason,
    offset::ABSENT,
    python::{
        CODE_BYTES, FRAME_BYTES, LAST, MAX_EVALUATIONS, MAX_LAYOUTS, MAX_PYTHON_FRAMES,
        MAX_THREADS, NO_MEMBER, PythonLayout, UNREADABLE, of_interpreter, word,
    },
};

use crate::{
    config::offset,
    drops,
    kernel::{Direct, Read, Task},
    profile,
};

/// Where the members are, by the version of the interpreter.
#[map]
static PYTHON_LAYOUTS: Array<PythonLayout> = Array::with_max_entries(MAX_LAYOUTS, 0);

/// Frames that are looked at: those that have no room are still gone through, up to the native frame that evaluates them. Python's
/// own limit is 1,000.
const STEPS: u32 = 1_200;
/// Keys of a thread that lie within its own memory.
const KEYS: u64 = 32;
/// A key, with its number, and its value.
const KEY_BYTES: u64 = 16;

/// What is collected of one stack. It lies in a map, as the walk of the native stack does.
#[repr(C)]
pub struct PythonWalk {
    /// Where `_PyRuntime` lies.
    runtime: u64,
    /// What `pthread_self` says in this thread.
    thread_pointer: u64,
    /// Its state, or the one that is looked at for it.
    thread: u64,
    /// The next frame.
    frame: u64,
    /// The record on the C stack of the call that evaluates it.
    record: u64,
    layout: u32,
    /// Words collected, and where those of the evaluation begin that is gone through.
    words: u32,
    first_word: u32,
    evaluations: u32,
    /// The word that is next to be put into the stack, and its evaluation.
    next_word: u32,
    next_evaluation: u32,
    is_thread_found: u32,
    padding: u32,
    /// What was read last.
    read: [u64; 16],
    /// Where on the C stack the native frame lies that evaluates: an address within it.
    places: [u64; MAX_EVALUATIONS],
    collected: [u64; MAX_PYTHON_FRAMES + 1],
}

const _: () = assert!(FRAME_BYTES <= 8 * 16 && CODE_BYTES <= 8 * 16 && MAX_EVALUATIONS == 64);

/// What the callbacks need.
#[repr(C)]
struct Context {
    scratch: *mut profile::Scratch,
}

/// Collects the Python frames of the running thread. The answer is an address in the first native frame that evaluates some;
/// `u64::MAX` if there is none.
#[inline(always)]
pub fn collect(task: Task<Direct>, interpreter: u64, scratch: *mut profile::Scratch) -> u64 {
    if interpreter == 0 || offset!(task_thread_pointer) == ABSENT {
        return u64::MAX;
    }
    // SAFETY: the record of this CPU; samples of one CPU do not nest.
    let walk = unsafe { &mut (*scratch).python };
    (walk.layout, walk.runtime) = of_interpreter(interpreter);
    walk.thread_pointer = Direct::at(task.as_ptr(), offset!(task_thread_pointer));
    (walk.words, walk.first_word, walk.evaluations) = (0, 0, 0);
    (walk.next_word, walk.next_evaluation, walk.is_thread_found) = (0, 0, 0);
    let mut context = Context { scratch };
    let context = (&raw mut context).cast::<c_void>();
    let has_list = find_thread(walk);
    // SAFETY: the context outlives the calls.
    unsafe {
        if has_list != 0 {
            bpf_loop(MAX_THREADS, match_thread as *mut c_void, context, 0);
        }
        let walk = &mut (*scratch).python;
        if walk.is_thread_found != 0 && find_frame(walk) == 0 {
            bpf_loop(STEPS, step as *mut c_void, context, 0);
        }
        let walk = &(*scratch).python;
        if walk.evaluations == 0 { u64::MAX } else { walk.places[0] }
    }
}

/// The next word of the stack and, if it is the last of its evaluation, an address in the native frame that evaluates the next.
#[inline(always)]
pub fn next(walk: &mut PythonWalk) -> (u64, Option<u64>) {
    let collected = walk.collected[(walk.next_word & 0xff) as usize];
    walk.next_word += 1;
    if collected & LAST == 0 {
        return (collected, None);
    }
    walk.next_evaluation += 1;
    let place = if walk.next_evaluation < walk.evaluations {
        walk.places[(walk.next_evaluation & 63) as usize]
    } else {
        u64::MAX
    };
    (collected & !LAST, Some(place))
}

/// The state of the thread, by the key that its thread has for it; 1 if the list of all threads is to be gone through instead.
#[inline(never)]
fn find_thread(walk: &mut PythonWalk) -> u64 {
    let Some(layout) = PYTHON_LAYOUTS.get(walk.layout) else { return 0 };
    let own = walk.thread_pointer;
    let Some(key) = user_word(walk.runtime + u64::from(layout.runtime_key)) else { return 0 };
    let (is_made, key) = (key as u32, key >> 32);
    if is_made == 0 {
        // The interpreter has not begun, or this version has its key elsewhere.
    } else if is_made == 1 && key < KEYS && layout.thread_values != NO_MEMBER {
        let at = own + u64::from(layout.thread_values) + key * KEY_BYTES + 8;
        match user_word(at) {
            // A thread that does not run Python.
            Some(0) => return 0,
            Some(thread) => {
                if user_word(thread + u64::from(layout.thread_id)) == Some(own) {
                    walk.thread = thread;
                    walk.is_thread_found = 1;
                    return 0;
                }
            }
            None => {}
        }
    }
    let first = user_word(walk.runtime + u64::from(layout.runtime_interpreter));
    let Some(first) = first else { return 0 };
    if first == 0 {
        return 0;
    }
    walk.thread = match user_word(first + u64::from(layout.interpreter_thread)) {
        Some(thread) => thread,
        None => 0,
    };
    1
}

/// Whether the state that is looked at is that of this thread, else the next; 1 ends.
extern "C" fn match_thread(_: u64, context: *mut Context) -> u64 {
    // SAFETY: the record of this CPU.
    let walk = unsafe { &mut (*(*context).scratch).python };
    let Some(layout) = PYTHON_LAYOUTS.get(walk.layout) else { return 1 };
    let thread = walk.thread;
    if thread == 0 {
        return 1;
    }
    if user_word(thread + u64::from(layout.thread_id)) == Some(walk.thread_pointer) {
        walk.is_thread_found = 1;
        return 1;
    }
    match user_word(thread + u64::from(layout.thread_next)) {
        Some(next) => {
            walk.thread = next;
            0
        }
        None => 1,
    }
}

/// The innermost frame of the thread; not 0 if it cannot be read.
#[inline(never)]
fn find_frame(walk: &mut PythonWalk) -> u64 {
    let Some(layout) = PYTHON_LAYOUTS.get(walk.layout) else { return 1 };
    let at = walk.thread + u64::from(layout.thread_frame);
    let Some(found) = user_word(at) else { return unreadable() };
    walk.record = found;
    walk.frame = found;
    if layout.record_frame != NO_MEMBER {
        let Some(frame) = user_word(found + u64::from(layout.record_frame)) else {
            return unreadable();
        };
        walk.frame = frame;
    }
    0
}

/// One frame of Python; 1 ends.
extern "C" fn step(_: u64, context: *mut Context) -> u64 {
    // SAFETY: the record of this CPU.
    let walk = unsafe { &mut (*(*context).scratch).python };
    let Some(layout) = PYTHON_LAYOUTS.get(walk.layout) else { return 1 };
    let frame = walk.frame;
    if frame == 0 {
        return 1;
    }
    if read(walk, frame, FRAME_BYTES as u32) != 0 {
        return unreadable();
    }
    walk.frame = walk.read[(layout.frame_previous >> 3 & 15) as usize];
    if byte(walk, layout.frame_owner) == u64::from(layout.owner_c_stack) {
        return end_evaluation(walk, frame);
    }
    let is_entry = layout.frame_is_entry != NO_MEMBER && byte(walk, layout.frame_is_entry) != 0;
    if walk.words < MAX_PYTHON_FRAMES as u32 {
        let code = walk.read[(layout.frame_code >> 3 & 15) as usize] & !7;
        let first = layout.code_line & !7;
        let function = if read(walk, code.wrapping_add(u64::from(first)), CODE_BYTES as u32) == 0 {
            let line = walk.read[0] >> (8 * (layout.code_line & 4)) & 0xffff_ffff;
            word(code, line as u32, walk.read[((layout.code_name - first) >> 3 & 15) as usize])
        } else {
            unreadable();
            UNREADABLE
        };
        walk.collected[(walk.words & 0xff) as usize] = function;
        walk.words += 1;
    }
    if !is_entry {
        return 0;
    }
    let record = walk.record;
    walk.record = match user_word(record.wrapping_add(u64::from(layout.record_previous))) {
        Some(previous) => previous,
        None => 0,
    };
    end_evaluation(walk, record)
}

/// Notes that an evaluation began here, and where on the C stack its native frame is; 1 if there is no room for more.
#[inline(always)]
fn end_evaluation(walk: &mut PythonWalk, place: u64) -> u64 {
    let words = walk.words;
    // One that has no frame yet.
    if words == walk.first_word || words == 0 {
        return 0;
    }
    walk.collected[((words - 1) & 0xff) as usize] |= LAST;
    let evaluation = walk.evaluations;
    walk.places[(evaluation & 63) as usize] = place;
    walk.evaluations = evaluation + 1;
    walk.first_word = words;
    u64::from(words >= MAX_PYTHON_FRAMES as u32 || evaluation + 1 >= MAX_EVALUATIONS as u32)
}

#[inline(always)]
fn byte(walk: &PythonWalk, offset: u32) -> u64 {
    walk.read[(offset >> 3 & 15) as usize] >> (8 * (offset & 7)) & 0xff
}

/// Reads so many bytes; not 0 if that fails.
#[inline(always)]
fn read(walk: &mut PythonWalk, at: u64, bytes: u32) -> i64 {
    let place = (&raw mut walk.read).cast::<c_void>();
    // SAFETY: the helper checks the address; there is room for so many.
    unsafe { bpf_probe_read_user(place, bytes, at as *const c_void) }
}

#[inline(always)]
fn user_word(at: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the helper checks the address.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, at as *const c_void) };
    (failed == 0).then_some(value)
}

#[inline(always)]
fn unreadable() -> u64 {
    drops::count(DropReason::InterpreterUnreadable);
    1
}
