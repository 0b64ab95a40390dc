//! Which files are interpreters: `libpython3.X.so`, or a `python3.X` that has it linked in.
//!
//! Contract: told by what the file says of itself, three symbols and its number, which extensions need and no distribution strips.
//! Reads by `pread`, bounds every count, and answers `None` to what is no interpreter of a version that is known.

use std::fs::File;
use std::os::unix::fs::FileExt;

use monitor_common::python::PythonLayout;

use super::version::{DEBUG_OFFSETS_BYTES, Version};

const SECTIONS_MAX: usize = 4096;
const SEGMENTS_MAX: usize = 256;
/// Those of an interpreter take 60 KiB, and with all of its own symbols 1 MiB.
const SYMBOLS_BYTES_MAX: u64 = 16 << 20;
const NAME_BYTES_MAX: usize = 24;

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

/// The symbols that are wanted.
const RUNTIME: &[u8] = b"_PyRuntime";
const NUMBER: &[u8] = b"Py_Version";
const CODE_TYPE: &[u8] = b"PyCode_Type";

/// A file that is an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(super) version: Version,
    /// The address the linker gave to `_PyRuntime`.
    runtime: u64,
    /// The same of the type of code objects.
    code_type: u64,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    is_code: bool,
    offset: u64,
    address: u64,
    bytes: u64,
}

/// Whether a mapped file is worth looking into, by its path.
pub(crate) fn may_be_interpreter(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.contains("python"))
}

impl Interpreter {
    /// Looks into a file.
    pub fn read(file: &File) -> Option<Self> {
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0).ok()?;
        // 64 bits, little-endian.
        if head[..6] != [0x7f, b'E', b'L', b'F', 2, 1] {
            return None;
        }
        let segments = segments(file, &head)?;
        let [runtime, number, code_type] = symbols(file, &head)?;
        let mut bytes = [0; 8];
        read_at(file, &segments, number, &mut bytes)?;
        let mut offsets = vec![0; DEBUG_OFFSETS_BYTES];
        read_at(file, &segments, runtime, &mut offsets)?;
        let version = Version::of(u64::from_le_bytes(bytes), &offsets)?;
        Some(Self { version, runtime, code_type, segments })
    }

    /// How far a process has moved it that maps its code from there on at that address.
    pub fn bias(&self, mapped_at: u64, file_offset_bytes: u64) -> Option<u64> {
        let of = self.segments.iter().filter(|segment| segment.is_code).find_map(|segment| {
            let within = file_offset_bytes.checked_sub(segment.offset)?;
            (within < segment.bytes).then(|| segment.address.wrapping_add(within))
        })?;
        Some(mapped_at.wrapping_sub(of))
    }

    /// What the kernel half goes by, and where `_PyRuntime` lies in a process that has moved the file so far.
    pub fn walked_by(&self, bias: u64) -> (PythonLayout, u64) {
        (self.version.layout, self.runtime.wrapping_add(bias))
    }

    /// Where the type of code objects lies in such a process.
    pub(super) fn code_type(&self, bias: u64) -> u64 {
        self.code_type.wrapping_add(bias)
    }
}

fn segments(file: &File, head: &[u8]) -> Option<Vec<Segment>> {
    let (at, count) = (u64_at(head, 32)?, usize::from(u16_at(head, 56)?));
    if u16_at(head, 54)? != 56 || count > SEGMENTS_MAX {
        return None;
    }
    let mut table = vec![0; 56 * count];
    file.read_exact_at(&mut table, at).ok()?;
    let loaded = table.chunks_exact(56).filter(|header| u32_at(header, 0) == Some(PT_LOAD));
    let segment = |header: &[u8]| {
        Some(Segment {
            is_code: u32_at(header, 4)? & PF_X != 0,
            offset: u64_at(header, 8)?,
            address: u64_at(header, 16)?,
            bytes: u64_at(header, 32)?,
        })
    };
    loaded.map(segment).collect()
}

/// The addresses of the symbols that are wanted, of the dynamic ones and, where that has none, of all.
fn symbols(file: &File, head: &[u8]) -> Option<[u64; 3]> {
    let (at, count) = (u64_at(head, 40)?, usize::from(u16_at(head, 60)?));
    if u16_at(head, 58)? != 64 || count > SECTIONS_MAX {
        return None;
    }
    let mut table = vec![0; 64 * count];
    file.read_exact_at(&mut table, at).ok()?;
    let section = |index: usize| table.chunks_exact(64).nth(index);
    [SHT_DYNSYM, SHT_SYMTAB].into_iter().find_map(|kind| {
        let of_kind = |header: &&[u8]| u32_at(header, 4) == Some(kind);
        let symbols = table.chunks_exact(64).find(of_kind)?;
        let names = section(usize::try_from(u32_at(symbols, 40)?).ok()?)?;
        find(&content(file, symbols)?, &content(file, names)?)
    })
}

fn content(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    let (offset, bytes) = (u64_at(header, 24)?, u64_at(header, 32)?);
    if bytes > SYMBOLS_BYTES_MAX {
        return None;
    }
    let mut content = vec![0; bytes as usize];
    file.read_exact_at(&mut content, offset).ok()?;
    Some(content)
}

fn find(symbols: &[u8], names: &[u8]) -> Option<[u64; 3]> {
    let mut found = [None; 3];
    for symbol in symbols.chunks_exact(24) {
        // Not defined here: the program that is linked to the library.
        if u16_at(symbol, 6)? == 0 {
            continue;
        }
        let Some(name) = names.get(u32_at(symbol, 0)? as usize..) else { continue };
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        let Some(end) = name.iter().position(|&byte| byte == 0) else { continue };
        let wanted = [RUNTIME, NUMBER, CODE_TYPE].iter().position(|of| *of == &name[..end]);
        if let Some(place) = wanted {
            found[place] = u64_at(symbol, 8);
        }
    }
    let [runtime, number, code_type] = found;
    Some([runtime?, number?, code_type?])
}

/// Reads what the file has for an address.
fn read_at(file: &File, segments: &[Segment], address: u64, into: &mut [u8]) -> Option<()> {
    let at = segments.iter().find_map(|segment| {
        let within = address.checked_sub(segment.address)?;
        let left = segment.bytes.checked_sub(within)?;
        (left >= into.len() as u64).then(|| segment.offset.checked_add(within))?
    })?;
    file.read_exact_at(into, at).ok()
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn u16_at(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}

fn u32_at(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

fn u64_at(from: &[u8], at: usize) -> Option<u64> {
    bytes(from, at).map(u64::from_le_bytes)
}
