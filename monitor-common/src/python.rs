//! How the functions that a CPython interpreter evaluates are found in its memory, and how a user stack holds them.
//!
//! ```text
//! _PyRuntime -> key of thread states -> that of the thread -> its innermost frame -> the frame before it -> ...
//! ```
//!
//! Contract: one call of `_PyEval_EvalFrameDefault` evaluates one frame of Python or, since 3.11, several that call each other. It keeps
//! something on the C stack that the interpreter's memory leads to, so a walk knows which of the native frames it is. In a user stack the
//! words of its Python frames come right behind its own address, innermost first.

/// A member that this version does not have.
pub const NO_MEMBER: u32 = u32::MAX;

/// Where the members are that a walk reads, by version. Offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PythonLayout {
    /// `_PyRuntimeState` to the key of thread states: a word that says whether it is there, and the key.
    pub runtime_key: u32,
    /// `_PyRuntimeState` to the first interpreter.
    pub runtime_interpreter: u32,
    /// `PyInterpreterState` to its first thread state.
    pub interpreter_thread: u32,
    /// `PyThreadState` to the next one.
    pub thread_next: u32,
    /// `PyThreadState` to what `pthread_self` says in its thread.
    pub thread_id: u32,
    /// `PyThreadState` to its innermost frame, or to the record on the C stack that has it.
    pub thread_frame: u32,
    /// That record to the innermost frame; [`NO_MEMBER`] if there is none.
    pub record_frame: u32,
    /// That record to the one before it. [`NO_MEMBER`] if what tells the native frame is a frame of Python's that lies on the C stack.
    pub record_previous: u32,
    /// `_PyInterpreterFrame` to its code.
    pub frame_code: u32,
    /// `_PyInterpreterFrame` to the one before it.
    pub frame_previous: u32,
    /// `_PyInterpreterFrame` to the byte that says whether the evaluation began with it. [`NO_MEMBER`] as for `record_previous`.
    pub frame_is_entry: u32,
    /// `_PyInterpreterFrame` to the byte that says who owns it.
    pub frame_owner: u32,
    /// What that byte is of one on the C stack, which has no function.
    pub owner_c_stack: u32,
    /// `PyCodeObject` to the number of its first line.
    pub code_line: u32,
    /// `PyCodeObject` to its name, at most 64 bytes after it.
    pub code_name: u32,
    /// From what `pthread_self` says to the values of the first 32 keys of a thread; [`NO_MEMBER`] if that is not known.
    pub thread_values: u32,
}

const _: () = assert!(size_of::<PythonLayout>() == 64);

impl PythonLayout {
    /// Whether a walk reads within what it has room for.
    pub fn is_sound(&self) -> bool {
        let within = |offset: u32| (offset as usize) < FRAME_BYTES;
        let pointers = [self.frame_code, self.frame_previous];
        let bytes = [self.frame_owner, self.frame_is_entry];
        let first = self.code_line & !7;
        pointers.iter().all(|&at| within(at) && at.is_multiple_of(8))
            && bytes.iter().all(|&at| at == NO_MEMBER || within(at))
            && self.code_line.is_multiple_of(4)
            && self.code_name.is_multiple_of(8)
            && self.code_name.checked_sub(first).is_some_and(|at| (at as usize) < CODE_BYTES)
    }
}

/// Read of a frame at once.
pub const FRAME_BYTES: usize = 72;
/// Read of a code object at once, from the word on that has its first line.
pub const CODE_BYTES: usize = 64;
/// Layouts that are known at once.
pub const MAX_LAYOUTS: u32 = 64;
/// Python frames of a stack.
pub const MAX_PYTHON_FRAMES: usize = 255;
/// Calls of the interpreter that are told apart in a stack.
pub const MAX_EVALUATIONS: usize = 64;
/// Threads of an interpreter that are looked at where a thread's own values cannot be told.
pub const MAX_THREADS: u32 = 64;

const ADDRESS_BITS: u32 = 48;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;
const CHECK: u64 = (1 << 14) - 1;
/// Words of a user stack whose two upper bits are these are no addresses on any machine of ours.
const MARK: u64 = 0b10;

/// The word of a frame that could not be read.
pub const UNREADABLE: u64 = MARK << 62;
/// Set in the words that a walk collects, in the last of an evaluation.
pub const LAST: u64 = 1;

/// The word of a function in a user stack: where its code object lies, and what tells another one there from it.
#[inline(always)]
pub const fn word(code: u64, line: u32, name: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let check = (name ^ (line as u64) << 40).wrapping_mul(GOLDEN) >> 50;
    MARK << 62 | (check & CHECK) << ADDRESS_BITS | (code & ADDRESS & !7)
}

/// Whether a word of a user stack is a function of Python's, and no address.
#[inline(always)]
pub const fn is_python(word: u64) -> bool {
    word >> 62 == MARK
}

/// Where its code object lies; 0 if it could not be read.
pub const fn code_of(word: u64) -> u64 {
    word & ADDRESS & !7
}

/// How the head of a process's mappings names its interpreter: the number of its layout from 1 on, and where `_PyRuntime` lies. 0 for
/// a process that has none.
pub const fn interpreter(layout: u32, runtime: u64) -> u64 {
    (layout as u64 + 1) << ADDRESS_BITS | runtime & ADDRESS
}

/// The number of the layout, and where `_PyRuntime` lies. To be asked only of what is not 0.
#[inline(always)]
pub const fn of_interpreter(interpreter: u64) -> (u32, u64) {
    ((interpreter >> ADDRESS_BITS) as u32 - 1, interpreter & ADDRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_addresses() {
        let function = word(0x7fff_1234_5678, 12, 0x7fff_0000_0010);
        assert!(is_python(function) && is_python(UNREADABLE));
        assert_eq!((code_of(function), code_of(UNREADABLE)), (0x7fff_1234_5678, 0));
        assert_eq!(function & LAST, 0);
        for address in [0, 0x40_0000, 0x7fff_ffff_ffff, 0xffff_ffff_ff60_0000, u64::MAX] {
            assert!(!is_python(address), "{address:x}");
        }
    }

    #[test]
    fn another_function_at_the_same_place_has_another_word() {
        let of = |line, name| word(0x7f00_0000_1000, line, name);
        let mut words = [0; 127];
        for line in 0..64 {
            words[line as usize] = of(line, 0x7f00_0000_2000);
        }
        for name in 1..64 {
            words[63 + name as usize] = of(7, 0x7f00_0000_2000 + 48 * name);
        }
        words.sort_unstable();
        let differ = 1 + words.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(differ >= 125, "{differ} of 127");
    }

    #[test]
    fn interpreters_are_read_back() {
        for (layout, runtime) in [(0, 0xa5_b740), (63, 0x7fff_ffff_fff8)] {
            assert_eq!(of_interpreter(interpreter(layout, runtime)), (layout, runtime));
        }
    }
}
