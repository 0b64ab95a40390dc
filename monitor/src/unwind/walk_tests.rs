//! Walks by the code that the kernel half runs: over a recorded stack of arm64, and over the stack of this very test.
//!
//! Contract: the truth is of another kind: which function calls which in the recorded program, and what the compiler's own unwinder says.

use std::{fs::File, path::Path};

use monitor_common::{
    unwind::{CfaKind, Row, WalkEnd},
    walk::{Aarch64, Machine, Memory, Registers},
};

use super::{
    compile,
    elf::{Arch, Image},
    store,
    table::Table,
};

/// Functions of `corpus/chain_aarch64.elf`, from the innermost: name and first address, as its symbols have them.
const CHAIN: [(&str, u64); 7] = [
    ("leaf", 0x40_0190),
    ("saves", 0x40_01e0),
    ("grows", 0x40_0210),
    ("large", 0x40_0260),
    ("plain", 0x40_02a0),
    ("outer", 0x40_02c0),
    ("_start", 0x40_0180),
];

/// A piece of a stack.
struct Recorded {
    at: u64,
    words: Vec<u64>,
}

impl Memory for Recorded {
    fn word(&mut self, at: u64) -> Option<u64> {
        self.words.get((at.checked_sub(self.at)? / 8) as usize).copied()
    }

    fn register(&mut self, _: u64) -> Option<u64> {
        None
    }
}

/// Walks as the kernel half does: where execution stood in each frame, and how it ended.
fn walk<M: Machine>(
    mut registers: Registers,
    memory: &mut impl Memory,
    row: impl Fn(u64) -> Row,
) -> (Vec<u64>, Option<WalkEnd>) {
    let mut frames = Vec::new();
    for index in 0..255 {
        frames.push(registers.at());
        if let Err(end) = registers.step::<M>(row(registers.at()), index == 0, memory) {
            return (frames, WalkEnd::of(end));
        }
    }
    (frames, Some(WalkEnd::TooDeep))
}

fn corpus(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/unwind/corpus").join(name)
}

fn table(name: &str) -> Table {
    let image = Image::read_any(&File::open(corpus(name)).unwrap()).unwrap();
    assert_eq!(image.arch, Arch::Aarch64);
    compile::table(&image).unwrap()
}

#[test]
fn a_stack_of_arm64_is_walked_to_its_end() {
    let table = table("chain_aarch64.elf");
    let bytes = std::fs::read(corpus("chain_aarch64.stack")).unwrap();
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let ([pc, sp, fp, link], stack) = words.split_first_chunk().unwrap();
    let registers =
        Registers { pc: *pc, sp: *sp, fp: *fp, link: *link, is_exact: 1, is_fp_lost: 0 };
    // Return addresses of this program are signed: an address that was taken as it is would lie in no function.
    assert!(*link >> 48 != 0 || stack.iter().any(|word| *word >> 48 != 0), "nothing is signed");
    let mut memory = Recorded { at: *sp, words: stack.to_vec() };
    let row = |at| table.find(at).unwrap_or(Row::none(0));
    let (frames, end) = walk::<Aarch64>(registers, &mut memory, row);
    let name = |at: &u64| {
        let mut before: Vec<_> = CHAIN.iter().filter(|(_, start)| start <= at).collect();
        before.sort_by_key(|(_, start)| *start);
        before.last().map_or("", |(name, _)| *name)
    };
    let names: Vec<_> = frames.iter().map(name).collect();
    assert_eq!(names, CHAIN.map(|(name, _)| name), "{frames:x?}");
    assert_eq!(end, Some(WalkEnd::Complete));
}

#[test]
fn the_tables_of_arm64_hold_every_rule_of_the_program() {
    let rows = table("chain_aarch64.elf").rows;
    let has = |kind: CfaKind| rows.iter().filter(|row| row.cfa() == kind as u8).count();
    assert!(
        has(CfaKind::Stack) > 5 && has(CfaKind::Frame) > 0 && has(CfaKind::End) > 0,
        "{rows:x?}"
    );
    assert_eq!(has(CfaKind::Unsupported), 0, "{rows:x?}");
}

#[cfg(target_arch = "x86_64")]
mod live {
    //! This process: its registers, its stack, its files.

    use std::{arch::asm, ffi::c_void};

    use monitor_common::walk::X86_64;

    use super::*;
    use crate::symbol::maps;

    #[link(name = "gcc_s")]
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            each: extern "C" fn(*mut c_void, *mut c_void) -> i32,
            argument: *mut c_void,
        ) -> i32;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }

    extern "C" fn note(context: *mut c_void, frames: *mut c_void) -> i32 {
        // SAFETY: what `_Unwind_Backtrace` was given below.
        let frames = unsafe { &mut *frames.cast::<Vec<u64>>() };
        // SAFETY: the context that it gives.
        frames.push(unsafe { _Unwind_GetIP(context) } as u64);
        0
    }

    /// Our own memory. A walk that goes astray would end the test, which is what it should.
    struct Own;

    impl Memory for Own {
        fn word(&mut self, at: u64) -> Option<u64> {
            // SAFETY: as for the type.
            Some(unsafe { std::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() })
        }

        fn register(&mut self, _: u64) -> Option<u64> {
            None
        }
    }

    /// Tables by mapping: begin, end, what an address of the file is more than one of the process.
    struct Tables(Vec<(u64, u64, u64, Table)>);

    impl Tables {
        fn of_this_process() -> Self {
            let lines = maps::of_process(std::process::id()).unwrap();
            let files = lines.into_iter().filter(|line| line.inode != 0);
            let table = |line: maps::MapsLine| {
                let image = Image::read(&File::open(&line.path).ok()?).ok()?;
                let bytes = line.end - line.start;
                let shift = store::shift(&image.code, bytes, line.file_offset_bytes)?;
                let bias = line.file_offset_bytes.wrapping_add(shift).wrapping_sub(line.start);
                Some((line.start, line.end, bias, compile::table(&image).ok()?))
            };
            Self(files.filter_map(table).collect())
        }

        fn row(&self, at: u64) -> Row {
            let found = self.0.iter().find(|(start, end, ..)| (*start..*end).contains(&at));
            let row = found.and_then(|(_, _, bias, table)| table.find(at.wrapping_add(*bias)));
            row.unwrap_or(Row::none(0))
        }
    }

    /// The registers here, with the stack that the compiler's unwinder sees from here.
    #[inline(never)]
    fn here() -> (Vec<u64>, Vec<u64>, Option<WalkEnd>) {
        let tables = Tables::of_this_process();
        let mut registers = Registers { is_exact: 1, ..Registers::default() };
        // SAFETY: reads registers only.
        unsafe {
            asm!("lea {pc}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp",
                pc = out(reg) registers.pc, sp = out(reg) registers.sp, fp = out(reg) registers.fp);
        }
        let (frames, end) = walk::<X86_64>(registers, &mut Own, |at| tables.row(at));
        let mut theirs: Vec<u64> = Vec::new();
        // SAFETY: the callback takes what it is given here.
        unsafe { _Unwind_Backtrace(note, (&raw mut theirs).cast()) };
        (frames, theirs, end)
    }

    #[inline(never)]
    fn deeper(depth: u32) -> (Vec<u64>, Vec<u64>, Option<WalkEnd>) {
        let found = if depth == 0 { here() } else { deeper(depth - 1) };
        std::hint::black_box(depth);
        found
    }

    #[test]
    fn this_stack_is_what_the_compilers_unwinder_says() {
        let (ours, theirs, end) = deeper(20);
        assert_eq!(end, Some(WalkEnd::Complete), "{ours:x?}");
        assert!(ours.len() > 22, "{ours:x?}");
        // Both stand in `here`, at another instruction; theirs are return addresses, ours one byte before.
        let callers: Vec<u64> = theirs.iter().skip(1).map(|at| at - 1).collect();
        assert_eq!(ours[1..], callers[..ours.len() - 1]);
        // Where they go on at all, it is beyond the first function of the thread.
        assert!(callers.len() <= ours.len(), "{callers:x?}");
    }
}
