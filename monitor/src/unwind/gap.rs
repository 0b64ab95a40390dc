//! Code that a file's `.eh_frame` says nothing about, but that keeps frame pointers: V8's builtins, 1.6 MB in the middle of node,
//! which every call from C++ to JavaScript goes through.
//!
//! Contract: told by the code itself, since a stripped file has nothing else. A gap counts where functions begin as those with a
//! frame pointer do, often enough; assembly by hand, which has no information either, does not begin so. What a file says wrongly
//! costs reads of its own code, [`READ_BYTES_MAX`] at most.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use super::elf::{Arch, Segment};

/// Shorter ones are not looked at: they are assembly by hand, or what linkers make.
pub(super) const GAP_BYTES_MIN: u64 = 64 << 10;
/// Node's builtins have a prologue for each 860 bytes, 64 KiB of compiled code without frame pointers none.
const BYTES_PER_PROLOGUE: u64 = 4096;
/// Read of one file.
const READ_BYTES_MAX: u64 = 64 << 20;
const CHUNK_BYTES: u64 = 1 << 20;

/// Those of the gaps whose code keeps frame pointers.
pub(super) fn with_frame_pointers(
    gaps: &[Range<u64>],
    code: &[Segment],
    arch: Arch,
    file: &File,
) -> Vec<Range<u64>> {
    let mut left = READ_BYTES_MAX;
    let mut is_framed = |gap: &&Range<u64>| {
        let Some(segment) = code.iter().find(|segment| segment.holds(gap.start)) else {
            return false;
        };
        let end = gap.end.min(segment.address.saturating_add(segment.bytes));
        let bytes = (end - gap.start).min(left);
        left -= bytes;
        let offset = segment.offset.saturating_add(gap.start - segment.address);
        bytes >= GAP_BYTES_MIN && prologues(file, offset, bytes, arch) * BYTES_PER_PROLOGUE >= bytes
    };
    gaps.iter().filter(|gap| is_framed(gap)).cloned().collect()
}

/// How many functions begin by making a frame.
fn prologues(file: &File, offset: u64, bytes: u64, arch: Arch) -> u64 {
    let mut found = 0;
    let mut chunk = vec![0; CHUNK_BYTES.min(bytes) as usize];
    for at in (0..bytes).step_by(CHUNK_BYTES as usize) {
        let wanted = CHUNK_BYTES.min(bytes - at) as usize;
        let Ok(got) = file.read_at(&mut chunk[..wanted], offset.saturating_add(at)) else { break };
        found += match arch {
            // push %rbp; mov %rsp,%rbp
            Arch::X86_64 => {
                chunk[..got].windows(4).filter(|code| *code == [0x55, 0x48, 0x89, 0xe5]).count()
            }
            // stp x29, x30, [sp, #-N]!
            Arch::Aarch64 => {
                let words = chunk[..got].as_chunks().0.iter();
                let is_prologue =
                    |word: &[u8; 4]| u32::from_le_bytes(*word) & 0xffe0_7fff == 0xa9a0_7bfd;
                words.filter(|word| is_prologue(word)).count()
            }
        };
    }
    found as u64
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BYTES: u64 = 3 << 20;

    /// A file of such code from `at` of each step on.
    fn file(code: &[u8], step: usize) -> File {
        let mut bytes = vec![0x90; BYTES as usize];
        bytes.chunks_exact_mut(step).for_each(|chunk| chunk[..code.len()].copy_from_slice(code));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn code_is_told_by_how_its_functions_begin() {
        let code = [Segment { offset: 0, address: 0x40_0000, bytes: BYTES }];
        let all = [0x40_0000..0x40_0000 + BYTES, 0x60_0000..0x60_8000, 0x10..0x20_0000];
        let framed = |code_of: &[u8], step, arch| {
            with_frame_pointers(&all, &code, arch, &file(code_of, step))
        };
        let x86 = [0x55, 0x48, 0x89, 0xe5];
        assert_eq!(framed(&x86, 1000, Arch::X86_64), all[..1]);
        assert_eq!(framed(&x86, 10_000, Arch::X86_64), []);
        assert_eq!(framed(&[0x55, 0x48, 0x89, 0xe6], 1000, Arch::X86_64), []);
        assert_eq!(framed(&[0xfd, 0x7b, 0xbf, 0xa9], 1000, Arch::Aarch64), all[..1]);
        assert_eq!(framed(&[0xfd, 0x7b, 0x01, 0xa9], 1000, Arch::Aarch64), []);
    }

    #[test]
    fn a_gap_that_leads_out_of_its_file_ends_there() {
        let code = [Segment { offset: u64::MAX - 5, address: 0x40_0000, bytes: u64::MAX / 2 }];
        let gap = 0x40_0000..u64::MAX / 4;
        let gaps = std::slice::from_ref(&gap);
        let found = with_frame_pointers(gaps, &code, Arch::X86_64, &file(&[1], 16));
        assert_eq!(found, []);
    }
}
