//! Names out of memory that is sound, that lies and that is not there; files that are interpreters and files that say so.

use std::fs::File;
use std::io::Write;

use monitor_common::python::{UNREADABLE, word};
use proptest::prelude::*;

use super::code::{Memory, name};
use super::file::{Interpreter, may_be_interpreter};
use super::version::{DEBUG_OFFSETS_BYTES, Version};
use crate::kernel::ids::Tgid;
use crate::symbol::fixture::compile;
use crate::symbol::frame::Word;
use crate::symbol::{Frame, Program, RawStack, Reason, Symbols, WalkEnd};

/// Where the memory of the tests begins.
const BASE: u64 = 0x7f00_0000_0000;
const CODE: u64 = BASE + 0x100;
const FUNCTION: u64 = BASE + 0x200;
const FILE: u64 = BASE + 0x400;
const TYPE: u64 = 0x9_5940;
const LINE: u32 = 12;

struct Fake(Vec<u8>);

impl Memory for Fake {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let from = at.checked_sub(BASE).and_then(|at| self.0.get(usize::try_from(at).ok()?..));
        let found = from.and_then(|from| from.get(..into.len()));
        found.is_some_and(|found| {
            into.copy_from_slice(found);
            true
        })
    }
}

impl Fake {
    fn set(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - BASE) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn set_text(&mut self, version: &Version, at: u64, length: u64, state: u32, bytes: &[u8]) {
        let names = &version.names;
        self.set(at + u64::from(names.text_length), &length.to_le_bytes());
        self.set(at + u64::from(names.text_state), &state.to_le_bytes());
        let is_ascii = state & ASCII == ASCII;
        let begins = if is_ascii { names.ascii_bytes } else { names.compact_bytes };
        self.set(at + u64::from(begins), bytes);
    }
}

/// Compact, of one byte a character, and ASCII.
const ASCII: u32 = 1 << 2 | 1 << 5 | 1 << 6;
const LATIN: u32 = 1 << 2 | 1 << 5;
const WIDE: u32 = 2 << 2 | 1 << 5;

fn versions() -> Vec<Version> {
    [0x030b_02f0, 0x030c_01f0].map(|number| Version::of(number, &[]).unwrap()).to_vec()
}

/// A function `render` of `/app/p.py`.
fn sound(version: &Version) -> Fake {
    let mut memory = Fake(vec![0; 0x1000]);
    let names = &version.names;
    let mut set =
        |offset: u32, value: u64| memory.set(CODE + u64::from(offset), &value.to_le_bytes());
    set(version.layout.code_line, LINE.into());
    set(names.object_type, TYPE);
    set(version.layout.code_name, FUNCTION);
    set(names.code_qualified_name, FUNCTION);
    set(names.code_file, FILE);
    memory.set_text(version, FUNCTION, 6, ASCII, b"render");
    memory.set_text(version, FILE, 9, ASCII, b"/app/p.py");
    memory
}

fn met() -> u64 {
    word(CODE, LINE, FUNCTION)
}

#[test]
fn a_function_has_its_name_file_and_line() {
    for version in versions() {
        let mut memory = sound(&version);
        let named =
            |memory: &Fake| name(memory, &version, TYPE, met()).map(|name| name.to_string());
        assert_eq!(named(&memory).as_deref(), Some("py::render:/app/p.py:12"));
        memory.set_text(&version, FUNCTION, 3, LATIN, b"\xe9t\xe9");
        assert_eq!(named(&memory).as_deref(), Some("py::été:/app/p.py:12"));
        memory.set_text(&version, FUNCTION, 2, WIDE, &[0x39, 0x04, 0x0a, 0x00]);
        assert_eq!(named(&memory).as_deref(), Some("py::й\u{fffd}:/app/p.py:12"));
    }
}

#[test]
fn what_lies_where_a_function_was_has_no_name() {
    for version in versions() {
        let memory = sound(&version);
        let named = |memory: &Fake, of, word| name(memory, &version, of, word);
        assert_eq!(named(&memory, TYPE + 8, met()), None, "another type");
        assert_eq!(named(&memory, TYPE, word(CODE, LINE + 1, FUNCTION)), None, "another line");
        assert_eq!(named(&memory, TYPE, word(CODE, LINE, FUNCTION + 16)), None, "another name");
        assert_eq!(named(&memory, TYPE, UNREADABLE), None);
        assert_eq!(named(&memory, TYPE, word(BASE + 0xff8, LINE, FUNCTION)), None, "at the end");
        for (length, state) in [(0, ASCII), (6, ASCII & !(1 << 5)), (6, 3 << 2 | 1 << 5), (6, 0)] {
            let mut memory = sound(&version);
            memory.set_text(&version, FUNCTION, length, state, b"render");
            assert_eq!(named(&memory, TYPE, met()), None, "{length} {state:b}");
        }
    }
}

#[test]
fn a_text_that_says_it_is_endless_is_cut() {
    for version in versions() {
        let mut memory = sound(&version);
        memory.set_text(&version, FUNCTION, u64::MAX, ASCII, &[b'a'; 0x100]);
        memory.set_text(&version, FILE, 9, ASCII, b"/app/p.py");
        let named = name(&memory, &version, TYPE, met()).unwrap();
        let characters = named.chars().count();
        assert!(characters < 600, "{characters}");
    }
}

proptest! {
    #[test]
    fn no_memory_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..0x600)) {
        for version in versions() {
            let mut memory = Fake(bytes.clone());
            name(&memory, &version, TYPE, met());
            // As far as possible into it.
            memory.0.resize(0x1000, 0xff);
            let line: [u8; 4] = LINE.to_le_bytes();
            memory.set(CODE + u64::from(version.layout.code_line), &line);
            memory.set(CODE + u64::from(version.layout.code_name), &FUNCTION.to_le_bytes());
            memory.set(CODE + 8, &TYPE.to_le_bytes());
            name(&memory, &version, TYPE, met());
        }
    }

    #[test]
    fn no_offsets_make_a_layout_that_is_not_sound(words in proptest::collection::vec(0_u64..200, 73)) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[..8].copy_from_slice(b"xdebugpy");
        bytes[8..16].copy_from_slice(&0x030d_00f0_u64.to_le_bytes());
        bytes[16..24].fill(0);
        prop_assert_eq!(bytes.len(), DEBUG_OFFSETS_BYTES);
        let told = Version::of(0x030d_00f0, &bytes);
        prop_assert!(told.is_none_or(|version| version.layout.is_sound()));
        prop_assert_eq!(Version::of(0x030d_00f0, &bytes[..16]), None);
        prop_assert_eq!(Version::of(0x030e_00f0, &bytes), None);
    }

    #[test]
    fn no_file_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..2048), at in 0_u64..2048) {
        let mut file = tempfile::tempfile().unwrap();
        let mut elf = bytes;
        elf.resize(elf.len().max(64), 0);
        elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        elf[32..40].copy_from_slice(&at.to_le_bytes());
        elf[40..48].copy_from_slice(&at.to_le_bytes());
        elf[54..64].copy_from_slice(&[56, 0, 3, 0, 64, 0, 9, 0, 1, 0]);
        file.write_all(&elf).unwrap();
        prop_assert_eq!(Interpreter::read(&file), None);
    }
}

const LIKE_PYTHON: &str = "
    char _PyRuntime[4096] = {1}; char PyCode_Type[408] = {1};
    const unsigned long Py_Version = NUMBER;
    int main(void) { return 0; }
";

#[test]
fn a_file_is_an_interpreter_by_what_it_says() {
    let read = |number: &str, flags: &[&str]| {
        let number = format!("-DNUMBER={number}");
        let flags = [&["-shared", "-fPIC", number.as_str()], flags].concat();
        Interpreter::read(&File::open(compile("gcc", LIKE_PYTHON, &flags).path).unwrap())
    };
    let found = read("0x030b02f0", &[]).unwrap();
    assert_eq!(found.version, versions()[0]);
    let (layout, runtime) = found.walked_by(0x1000);
    assert_eq!((layout, found.walked_by(0).1 + 0x1000), (versions()[0].layout, runtime));
    assert_eq!(found.version, read("0x030b02f0", &["-s"]).unwrap().version);
    // Earlier, later, and one whose offsets are not there.
    for number in ["0x030a02f0", "0x03ff02f0", "0x030d00f0"] {
        assert_eq!(read(number, &[]), None, "{number}");
    }
    assert!(may_be_interpreter("/usr/lib/libpython3.11.so.1.0"));
    assert!(
        may_be_interpreter("/usr/bin/python3.11") && !may_be_interpreter("/opt/python/bin/perl")
    );
}

/// Two calls of the interpreter, the inner one with two functions: each is in the place of what evaluates it.
#[test]
fn functions_stand_where_the_interpreter_evaluates_them() {
    let of = |line| word(CODE, line, FUNCTION);
    let user = vec![1, 0x10, of(1), of(2), 2, 0x10, of(3), 3];
    let stack = RawStack {
        tgid: Tgid(std::process::id()),
        program: Program::LATEST,
        kernel: vec![],
        user,
        end: WalkEnd::Complete,
    };
    let shown: Vec<_> = stack.shown().map(|(_, word)| word).collect();
    let (at, function) = (Word::Address, |line| Word::Function(of(line)));
    assert_eq!(shown, [at(1), function(1), function(2), at(2), function(3), at(3)]);
    // Nobody looked at the functions, so they have no name and say so.
    let symbols = Symbols::start().unwrap();
    let frames = symbols.resolve_blocking(vec![stack.clone()]).remove(0);
    let reasons = frames.iter().map(|frame| match frame {
        Frame::Unresolved { reason, .. } => *reason,
        other => panic!("{other:?}"),
    });
    let (nowhere, gone) = (Reason::Unmapped, Reason::FunctionGone);
    assert_eq!(reasons.collect::<Vec<_>>(), [nowhere, gone, nowhere, gone, gone, nowhere]);
    let places = symbols.places(&[stack], std::slice::from_ref(&frames));
    assert_eq!(places[0], vec![None; frames.len()]);
}
