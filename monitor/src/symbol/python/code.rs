//! What a code object in the memory of a process is called.
//!
//! Contract: the process may change what is read, or lie: the object must say that it is code and be the one that the sample met, texts
//! are cut, and each name costs four reads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use monitor_common::python;

use super::version::{NameLayout, Version};

/// Characters of a function's name, and of its file's.
const TEXT_MAX: usize = 512;
/// Read of a code object: the name of its function lies within.
const CODE_BYTES: usize = 192;
const HEAD_BYTES: usize = 72;

/// The memory of a process.
pub(super) trait Memory {
    /// Reads all bytes asked for; whether they could be read.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;
}

impl Memory for File {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        self.read_exact_at(into, at).is_ok()
    }
}

/// The name of the function of a word (see [`python::word`]), as CPython gives it to those that run through a trampoline, and
/// the number of its first line. `None` if it is not there, or no longer.
pub(super) fn name(
    memory: &impl Memory,
    version: &Version,
    code_type: u64,
    word: u64,
) -> Option<Arc<str>> {
    let (layout, names) = (&version.layout, &version.names);
    let at = python::code_of(word);
    let mut code = [0; CODE_BYTES];
    if at == 0 || !memory.read(at, &mut code) {
        return None;
    }
    let line = u32_at(&code, layout.code_line)?;
    // The same object as in the sample: memory is used again as soon as a function is no longer in use.
    let is_it = python::word(at, line, u64_at(&code, layout.code_name)?) == word;
    if !is_it || u64_at(&code, names.object_type)? != code_type {
        return None;
    }
    let function = text(memory, names, u64_at(&code, names.code_qualified_name)?)?;
    let file = text(memory, names, u64_at(&code, names.code_file)?)?;
    Some(format!("py::{function}:{file}:{line}").into())
}

/// A text that lies behind its own head, as names do.
fn text(memory: &impl Memory, layout: &NameLayout, at: u64) -> Option<String> {
    let mut head = [0; HEAD_BYTES];
    if at == 0 || !memory.read(at, &mut head[..layout.ascii_bytes.min(HEAD_BYTES as u32) as usize])
    {
        return None;
    }
    let state = u32_at(&head, layout.text_state)?;
    let (width, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 != 0, state >> 6 & 1 != 0);
    if !is_compact || !matches!(width, 1 | 2 | 4) || is_ascii && width != 1 {
        return None;
    }
    let characters = usize::try_from(u64_at(&head, layout.text_length)?).ok()?.min(TEXT_MAX);
    let begins =
        at.checked_add(if is_ascii { layout.ascii_bytes } else { layout.compact_bytes }.into())?;
    let mut bytes = vec![0; characters * width as usize];
    if characters == 0 || !memory.read(begins, &mut bytes) {
        return None;
    }
    let character = |bytes: &[u8]| {
        let code = bytes.iter().rev().fold(0, |code, byte| code << 8 | u32::from(*byte));
        char::from_u32(code).filter(|c| !c.is_control()).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    Some(bytes.chunks_exact(width as usize).map(character).collect())
}

fn u32_at(from: &[u8], at: u32) -> Option<u32> {
    Some(u32::from_le_bytes(*from.get(at as usize..)?.first_chunk()?))
}

fn u64_at(from: &[u8], at: u32) -> Option<u64> {
    Some(u64::from_le_bytes(*from.get(at as usize..)?.first_chunk()?))
}
