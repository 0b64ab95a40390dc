//! Where the members of an interpreter's structures are, by its version.
//!
//! Contract: 3.11 and 3.12 are fixed by their headers (`Include/internal/pycore_runtime.h`, `pycore_frame.h`, `cpython/pystate.h`,
//! `cpython/code.h`, `cpython/unicodeobject.h`); 3.13 says it itself, at the beginning of `_PyRuntime` (`_Py_DebugOffsets`), but for its key
//! of thread states.

use monitor_common::python::{NO_MEMBER, PythonLayout};

/// glibc for x86-64: `struct pthread` to its first block of thread-specific values. Checked in each stack: what is found there must
/// say that it belongs to the thread.
const GLIBC_THREAD_VALUES: u32 = 0x310;
/// `FRAME_OWNED_BY_CSTACK`.
const OWNED_BY_C_STACK: u32 = 3;
/// No owner: 3.11 has no such frames.
const NO_OWNER: u32 = u32::MAX;

/// Where the name of a code object is, beside what the kernel half reads. Offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameLayout {
    /// `PyObject` to its type.
    pub object_type: u32,
    /// `PyCodeObject` to its file.
    pub code_file: u32,
    /// `PyCodeObject` to its name with those of the classes and functions around it.
    pub code_qualified_name: u32,
    /// `PyASCIIObject` to the number of characters.
    pub text_length: u32,
    /// `PyASCIIObject` to the word that says how they are stored.
    pub text_state: u32,
    /// Its size: ASCII characters follow.
    pub ascii_bytes: u32,
    /// The size of `PyCompactUnicodeObject`: other characters follow.
    pub compact_bytes: u32,
}

/// All that is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub layout: PythonLayout,
    pub names: NameLayout,
}

const NAMES_3_12: NameLayout = NameLayout {
    object_type: 8,
    code_file: 112,
    code_qualified_name: 128,
    text_length: 16,
    text_state: 32,
    ascii_bytes: 40,
    compact_bytes: 56,
};

const PYTHON_3_11: Version = Version {
    layout: PythonLayout {
        runtime_key: 592,
        runtime_interpreter: 40,
        interpreter_thread: 16,
        thread_next: 8,
        thread_id: 152,
        thread_frame: 56,
        record_frame: 8,
        record_previous: 16,
        frame_code: 32,
        frame_previous: 48,
        frame_is_entry: 68,
        frame_owner: 69,
        owner_c_stack: NO_OWNER,
        code_line: 72,
        code_name: 120,
        thread_values: GLIBC_THREAD_VALUES,
    },
    names: NameLayout { ascii_bytes: 48, compact_bytes: 72, ..NAMES_3_12 },
};

const PYTHON_3_12: Version = Version {
    layout: PythonLayout {
        runtime_key: 1544,
        runtime_interpreter: 40,
        interpreter_thread: 72,
        thread_next: 8,
        thread_id: 136,
        thread_frame: 56,
        record_frame: 0,
        record_previous: NO_MEMBER,
        frame_code: 0,
        frame_previous: 8,
        frame_is_entry: NO_MEMBER,
        frame_owner: 70,
        owner_c_stack: OWNED_BY_C_STACK,
        code_line: 68,
        code_name: 120,
        thread_values: GLIBC_THREAD_VALUES,
    },
    names: NAMES_3_12,
};

/// The key of thread states in 3.13.0: a build that has it elsewhere is told by what is found there.
const KEY_3_13: u32 = 2160;

/// Read of `_PyRuntime`: as much of `_Py_DebugOffsets` as is of use.
pub(super) const DEBUG_OFFSETS_BYTES: usize = 584;

impl Version {
    /// By the number that `Py_Version` has, and what `_PyRuntime` begins with in the file. `None` for a version that is not known.
    pub fn of(number: u64, runtime: &[u8]) -> Option<Self> {
        let version = match number >> 16 {
            0x030b => PYTHON_3_11,
            0x030c => PYTHON_3_12,
            0x030d => Self::told_by(number, runtime)?,
            _ => return None,
        };
        version.layout.is_sound().then_some(version)
    }

    /// 3.13, by its own account.
    fn told_by(number: u64, runtime: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = runtime.get(8 * index..8 * index + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let offset = |index| u32::try_from(word(index)?).ok().filter(|at| *at < 1 << 20);
        // 3.13 alone has them in this order. One that runs without a global lock has other objects.
        let (is_told, is_free_threaded) = (runtime.starts_with(b"xdebugpy"), word(2)? != 0);
        if !is_told || word(1)? >> 16 != number >> 16 || is_free_threaded {
            return None;
        }
        let ascii_bytes = offset(70)?;
        Some(Self {
            layout: PythonLayout {
                runtime_key: KEY_3_13,
                runtime_interpreter: offset(5)?,
                interpreter_thread: offset(9)?,
                thread_next: offset(21)?,
                thread_id: offset(24)?,
                thread_frame: offset(23)?,
                record_frame: NO_MEMBER,
                record_previous: NO_MEMBER,
                frame_code: offset(30)?,
                frame_previous: offset(29)?,
                frame_is_entry: NO_MEMBER,
                frame_owner: offset(33)?,
                owner_c_stack: OWNED_BY_C_STACK,
                code_line: offset(39)?,
                code_name: offset(36)?,
                thread_values: GLIBC_THREAD_VALUES,
            },
            names: NameLayout {
                object_type: offset(45)?,
                code_file: offset(35)?,
                code_qualified_name: offset(37)?,
                text_length: offset(69)?,
                text_state: offset(68)?,
                ascii_bytes,
                compact_bytes: ascii_bytes + 16,
            },
        })
    }
}
