//! CPython's perf trampolines (`python -X perf`, from 3.12 on): code made at run time that does not keep frame pointers.
//!
//! Each Python function runs through a trampoline of its own, whose address has the function's name in the perf map. They are copies
//! of one template that fill arenas of 64 KiB (`Python/perf_trampoline.c`, `asm_trampoline.S`); 3.12 puts them end to end, 3.13 at every
//! 16 bytes. What surrounds them keeps no frame pointers either, so a walk by those would end here.
//!
//! Contract: told by the code itself, which is a process's own: one that imitates it has walks of its own stacks only.

use std::{fs::File, os::unix::fs::FileExt};

use monitor_common::unwind::{CfaKind, FrameKind, Row};

use super::table::{Builder, Table};
use crate::{kernel::ids::Tgid, symbol::maps::MapsLine};

/// What CPython takes at once; arenas that touch are one mapping.
pub(super) const ARENA_BYTES: u64 = 64 << 10;
/// Arenas of one mapping that are told apart: half a million functions.
const ARENAS_MAX: u64 = 128;
/// Read of an arena: the template and where it is repeated.
const LOOK_BYTES: usize = 64;

/// `sub $8,%rsp; call *%rcx; add $8,%rsp; ret`, which is where the stack pointer is moved and moved back.
const PLAIN: [u8; 11] = [0x48, 0x83, 0xec, 0x08, 0xff, 0xd1, 0x48, 0x83, 0xc4, 0x08, 0xc3];
const MOVED: u64 = 4;
const MOVED_BACK: u64 = 10;
/// The same behind `endbr64`.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// How an arena is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// What comes before [`PLAIN`], bytes.
    head: u8,
    /// From one trampoline to the next, bytes.
    stride: u8,
}

impl Layout {
    /// That of the arena at an address of a process; `None` if it is none.
    pub fn of_process(process: Tgid, at: u64) -> Option<Self> {
        let memory = File::open(format!("/proc/{process}/mem")).ok()?;
        let mut code = [0; LOOK_BYTES];
        memory.read_exact_at(&mut code, at).ok()?;
        Self::of_code(&code)
    }

    fn of_code(code: &[u8]) -> Option<Self> {
        let head = if code.starts_with(&ENDBR64) { ENDBR64.len() } else { 0 };
        let is_at = |at: usize| {
            code.get(at..).is_some_and(|code| {
                code.starts_with(&ENDBR64[..head]) && code[head..].starts_with(&PLAIN)
            })
        };
        let bytes = head + PLAIN.len();
        let stride = is_at(0).then(|| (bytes..=32).find(|&stride| is_at(stride)))??;
        Some(Self { head: head as u8, stride: stride as u8 })
    }

    /// A number of its own among tables.
    pub fn number(self) -> u64 {
        u64::from(self.head) << 8 | u64::from(self.stride)
    }

    /// The table of a whole arena, from address 0 on.
    pub fn table(self) -> Option<Table> {
        let mut builder = Builder::new(0, ARENA_BYTES)?;
        let (head, stride) = (u64::from(self.head), u64::from(self.stride));
        let below = |bytes| Row::new(0, CfaKind::Stack, bytes, 0, FrameKind::Same, 0);
        let (plain, moved) = (below(8)?, below(16)?);
        for start in (0..ARENA_BYTES).step_by(self.stride.into()) {
            let Some(part) = builder.begin(start, start + stride) else { continue };
            for (at, row) in [(0, plain), (head + MOVED, moved), (head + MOVED_BACK, plain)] {
                if part.start + at < part.end {
                    builder.push(part.start + at, row);
                }
            }
        }
        Some(builder.finish())
    }
}

/// Mappings as they are walked: where arenas touch, each for itself.
pub(super) fn apart(process: Tgid, lines: Vec<MapsLine>) -> Vec<(MapsLine, Option<Layout>)> {
    let mut all = Vec::with_capacity(lines.len());
    for line in lines {
        let bytes = line.end - line.start;
        let may_be = line.inode == 0
            && (line.path.is_empty() || line.path.starts_with("[anon"))
            && bytes.is_multiple_of(ARENA_BYTES)
            && bytes <= ARENAS_MAX * ARENA_BYTES;
        let Some(layout) = may_be.then(|| Layout::of_process(process, line.start)).flatten() else {
            all.push((line, None));
            continue;
        };
        for start in (line.start..line.end).step_by(ARENA_BYTES as usize) {
            let arena = MapsLine { start, end: start + ARENA_BYTES, ..line.clone() };
            all.push((arena, Some(layout)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(code: &[u8], stride: usize) -> Vec<u8> {
        let mut slot = code.to_vec();
        slot.resize(stride, 0);
        slot.repeat(8)[..LOOK_BYTES].to_vec()
    }

    #[test]
    fn each_layout_is_told_and_walked() {
        let cet = [&ENDBR64[..], &PLAIN].concat();
        for (code, strides) in [(&PLAIN[..], [11, 16]), (&cet[..], [15, 16])] {
            for stride in strides {
                let layout = Layout::of_code(&arena(code, stride)).unwrap();
                assert_eq!(usize::from(layout.stride), stride);
                let table = layout.table().unwrap();
                let head = code.len() - PLAIN.len();
                // Over the ends of pages, too.
                for number in [0, 1, 250, 256, 400, 4000] {
                    let start = number * stride as u64;
                    for (at, bytes) in [(0, 8), (3, 8), (4, 16), (6, 16), (9, 16), (10, 8)] {
                        let at = if at == 0 { 0 } else { at + head as u64 };
                        let row = table.find(start + at).unwrap();
                        assert_eq!((row.cfa(), row.wide()), (CfaKind::Stack as u8, bytes), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn other_code_is_no_arena() {
        assert_eq!(Layout::of_code(&[0; LOOK_BYTES]), None);
        assert_eq!(Layout::of_code(&PLAIN), None);
        assert_eq!(Layout::of_code(&arena(&PLAIN[1..], 16)), None);
        assert_eq!(apart(Tgid(std::process::id()), vec![]), []);
    }
}
