//! What a table is made of: where the code of an ELF file lies, and its `.eh_frame`.
//!
//! Contract: reads by `pread` and never maps the file, so that whoever shortens it does no harm; every count and size in it is
//! bounded. The section table is asked first, the program headers where it is stripped.

use std::{fs::File, io, os::unix::fs::FileExt};

use thiserror::Error;

/// Segments and sections of sane files stay below this by far.
const HEADERS_MAX: usize = 4096;
/// The largest known is that of a browser, some 20 MB.
const FRAME_BYTES_MAX: u64 = 128 << 20;

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_NOBITS: u32 = 8;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// The kinds of machine that tables are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// This machine.
    const HERE: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };

    fn of(machine: u16) -> Option<Self> {
        match machine {
            EM_X86_64 => Some(Self::X86_64),
            EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }
}

/// Why a file has no table.
#[derive(Debug, Error)]
pub enum ElfError {
    /// Reading failed.
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    /// No ELF file, or a damaged one.
    #[error("no sound ELF file")]
    Damaged,
    /// For another machine than this one.
    #[error("for another machine")]
    OtherMachine,
    /// It has no `.eh_frame`.
    #[error("no .eh_frame")]
    NoFrames,
    /// More than anyone would make by honest means.
    #[error("too large")]
    TooLarge,
}

/// Code in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// The address the linker gave it.
    pub address: u64,
    /// Its length in the file.
    pub bytes: u64,
}

impl Segment {
    /// Whether an address lies in it.
    pub fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|within| within < self.bytes)
    }
}

/// What a table is made of.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// What it is for.
    pub arch: Arch,
    /// Executable segments.
    pub code: Vec<Segment>,
    /// The address where the program begins; 0 for none.
    pub entry: u64,
    /// The address of `.eh_frame`.
    pub frame_address: u64,
    /// Its content, or what follows it too where its length is not known.
    pub frame: Vec<u8>,
}

/// The head of an ELF file, as far as it matters.
struct Head {
    arch: Arch,
    entry: u64,
    programs: (u64, usize),
    sections: (u64, usize),
    names: usize,
}

impl Image {
    /// Reads a file for this machine.
    ///
    /// # Errors
    /// When it is not an ELF file for this machine with `.eh_frame`.
    pub fn read(file: &File) -> Result<Self, ElfError> {
        let image = Self::read_any(file)?;
        if Some(image.arch) == Arch::HERE { Ok(image) } else { Err(ElfError::OtherMachine) }
    }

    /// The same for any machine that is known.
    pub(super) fn read_any(file: &File) -> Result<Self, ElfError> {
        let head = head(file)?;
        let programs = table(file, head.programs, 56)?;
        let of_kind =
            |wanted: u32| programs.chunks_exact(56).filter(move |h| u32_at(h, 0) == wanted);
        let code: Vec<_> = of_kind(PT_LOAD)
            .filter(|header| u32_at(header, 4) & PF_X != 0 && u64_at(header, 32) > 0)
            .map(segment)
            .collect();
        if code.is_empty() {
            return Err(ElfError::Damaged);
        }
        let found = match section(file, &head)? {
            Some(found) => Some(found),
            None => match of_kind(PT_GNU_EH_FRAME).next() {
                Some(header) => by_index(file, header, of_kind(PT_LOAD).map(segment))?,
                None => None,
            },
        };
        let (frame_address, offset, bytes) = found.ok_or(ElfError::NoFrames)?;
        if bytes > FRAME_BYTES_MAX {
            return Err(ElfError::TooLarge);
        }
        let mut frame = vec![0; bytes as usize];
        file.read_exact_at(&mut frame, offset)?;
        Ok(Self { arch: head.arch, code, entry: head.entry, frame_address, frame })
    }
}

fn head(file: &File) -> Result<Head, ElfError> {
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, 0).map_err(|_| ElfError::Damaged)?;
    if bytes[..4] != *b"\x7fELF" {
        return Err(ElfError::Damaged);
    }
    let arch = Arch::of(u16_at(&bytes, 18)).filter(|_| bytes[4..6] == [2, 1]);
    let arch = arch.ok_or(ElfError::OtherMachine)?;
    let counted = |at| usize::from(u16_at(&bytes, at));
    if counted(54) != 56 || counted(56) > HEADERS_MAX {
        return Err(ElfError::Damaged);
    }
    let sections = if counted(58) == 64 && counted(60) <= HEADERS_MAX { counted(60) } else { 0 };
    Ok(Head {
        arch,
        entry: u64_at(&bytes, 24),
        programs: (u64_at(&bytes, 32), counted(56)),
        sections: (u64_at(&bytes, 40), sections),
        names: counted(62),
    })
}

fn table(file: &File, (at, count): (u64, usize), entry: usize) -> Result<Vec<u8>, ElfError> {
    let mut bytes = vec![0; count * entry];
    file.read_exact_at(&mut bytes, at).map_err(|_| ElfError::Damaged)?;
    Ok(bytes)
}

fn segment(header: &[u8]) -> Segment {
    Segment { offset: u64_at(header, 8), address: u64_at(header, 16), bytes: u64_at(header, 32) }
}

/// Address, offset and length of the section `.eh_frame`.
fn section(file: &File, head: &Head) -> Result<Option<(u64, u64, u64)>, ElfError> {
    const NAME: &[u8] = b".eh_frame\0";
    // A stripped or damaged table of sections is no matter: the program headers know too.
    let Ok(headers) = table(file, head.sections, 64) else { return Ok(None) };
    let sections: Vec<&[u8]> = headers.chunks_exact(64).collect();
    let Some(names) = sections.get(head.names) else { return Ok(None) };
    let names_at = u64_at(names, 24);
    for header in &sections {
        let mut name = [0; NAME.len()];
        let at = names_at.checked_add(u64::from(u32_at(header, 0)));
        let is_read = at.is_some_and(|at| file.read_exact_at(&mut name, at).is_ok());
        if is_read && name == *NAME && u32_at(header, 4) != SHT_NOBITS && u64_at(header, 32) > 0 {
            return Ok(Some((u64_at(header, 16), u64_at(header, 24), u64_at(header, 32))));
        }
    }
    Ok(None)
}

/// The same from `.eh_frame_hdr`, which says where `.eh_frame` begins. It ends with an end mark, or with its segment.
fn by_index(
    file: &File,
    header: &[u8],
    mut loaded: impl Iterator<Item = Segment>,
) -> Result<Option<(u64, u64, u64)>, ElfError> {
    const PC_RELATIVE_I32: u8 = 0x1b;
    let (offset, address) = (u64_at(header, 8), u64_at(header, 16));
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset)?;
    if bytes[0] != 1 || bytes[1] != PC_RELATIVE_I32 {
        return Ok(None);
    }
    let distance = i64::from(u32_at(&bytes, 4) as i32);
    let frame_address = address.wrapping_add(4).wrapping_add_signed(distance);
    Ok(loaded.find(|segment| segment.holds(frame_address)).map(|segment| {
        let within = frame_address - segment.address;
        (frame_address, segment.offset.wrapping_add(within), segment.bytes - within)
    }))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
