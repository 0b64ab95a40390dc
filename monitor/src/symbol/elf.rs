//! The little of an ELF file that is needed before blazesym: where code lies, and the build id.
//!
//! Contract: reads a few hundred bytes by `pread`, never maps the file, bounds every count it
//! finds, and answers `None` to anything that is not an ELF for a machine of ours.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Segments a sane linker makes stay below this by far.
const SEGMENTS_MAX: usize = 256;
/// Notes are a few dozen bytes; the build id is among the first.
const NOTES_BYTES_MAX: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;

/// What the program headers of an ELF say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Executable segments.
    code: Vec<Segment>,
    /// The content of `.note.gnu.build-id`, if the linker wrote one.
    pub build_id: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    kind: u32,
    flags: u32,
    file_offset_bytes: u64,
    virtual_address: u64,
    file_size_bytes: u64,
}

impl Shape {
    /// Reads the shape of an ELF, or `None` if the file is none.
    pub fn read(file: &File) -> Option<Self> {
        let mut head = [0; 64];
        let got = read_up_to(file, &mut head, 0);
        let wide = match (got, &head[..6]) {
            (64.., [0x7f, b'E', b'L', b'F', 2, 1]) => true,
            (52.., [0x7f, b'E', b'L', b'F', 1, 1]) => false,
            _ => return None,
        };
        let (table, entry, count) = if wide {
            (u64_at(&head, 32)?, u16_at(&head, 54)?, u16_at(&head, 56)?)
        } else {
            (u64::from(u32_at(&head, 28)?), u16_at(&head, 42)?, u16_at(&head, 44)?)
        };
        if entry != if wide { 56 } else { 32 } || usize::from(count) > SEGMENTS_MAX {
            return None;
        }
        let mut bytes = vec![0; usize::from(entry) * usize::from(count)];
        if read_up_to(file, &mut bytes, table) < bytes.len() {
            return None;
        }
        let segments: Vec<Segment> = bytes
            .chunks_exact(usize::from(entry))
            .map(|header| segment(header, wide))
            .collect::<Option<_>>()?;
        let build_id =
            segments.iter().filter(|s| s.kind == PT_NOTE).find_map(|s| build_id(file, s));
        let code: Vec<_> = segments
            .into_iter()
            .filter(|s| s.kind == PT_LOAD && s.flags & PF_X != 0 && s.file_size_bytes > 0)
            .collect();
        (!code.is_empty()).then_some(Self { code, build_id })
    }

    /// The address the linker gave to what lies at this offset of the file. Only executable
    /// segments count: linkers let two segments share a page of the file.
    pub fn virtual_address(&self, file_offset_bytes: u64) -> Option<u64> {
        self.code.iter().find_map(|segment| {
            let within = file_offset_bytes.checked_sub(segment.file_offset_bytes)?;
            (within < segment.file_size_bytes).then(|| segment.virtual_address.wrapping_add(within))
        })
    }

    /// The reverse of [`Self::virtual_address`].
    #[cfg(test)]
    pub fn file_offset(&self, virtual_address: u64) -> Option<u64> {
        self.code.iter().find_map(|segment| {
            let within = virtual_address.checked_sub(segment.virtual_address)?;
            (within < segment.file_size_bytes).then(|| segment.file_offset_bytes + within)
        })
    }
}

fn segment(header: &[u8], wide: bool) -> Option<Segment> {
    let narrow = |at| u32_at(header, at).map(u64::from);
    Some(if wide {
        Segment {
            kind: u32_at(header, 0)?,
            flags: u32_at(header, 4)?,
            file_offset_bytes: u64_at(header, 8)?,
            virtual_address: u64_at(header, 16)?,
            file_size_bytes: u64_at(header, 32)?,
        }
    } else {
        Segment {
            kind: u32_at(header, 0)?,
            flags: u32_at(header, 24)?,
            file_offset_bytes: narrow(4)?,
            virtual_address: narrow(8)?,
            file_size_bytes: narrow(16)?,
        }
    })
}

fn build_id(file: &File, notes: &Segment) -> Option<Vec<u8>> {
    let mut bytes = vec![0; notes.file_size_bytes.min(NOTES_BYTES_MAX) as usize];
    let got = read_up_to(file, &mut bytes, notes.file_offset_bytes);
    let mut rest = &bytes[..got];
    loop {
        let name_size = u32_at(rest, 0)? as usize;
        let content_size = u32_at(rest, 4)? as usize;
        let kind = u32_at(rest, 8)?;
        let content_at = 12_usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let end = content_at.checked_add(content_size)?;
        let content = rest.get(content_at..end)?;
        if kind == NT_GNU_BUILD_ID && rest.get(12..16) == Some(b"GNU\0") {
            return (content.len() > 2).then(|| content.to_vec());
        }
        rest = rest.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at.saturating_add(filled as u64)) {
            Ok(0) | Err(_) => break,
            Ok(got) => filled += got,
        }
    }
    filled
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn reads_our_own_executable() {
        let shape = Shape::read(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(!shape.code.is_empty());
    }

    proptest! {
        #[test]
        fn survives_a_damaged_header(
            at in 0_usize..2048, byte in any::<u8>(), length in 0_usize..4096,
        ) {
            let mut bytes = std::fs::read("/bin/true").unwrap();
            bytes.truncate(length);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Some(shape) = Shape::read(&file(&bytes)) {
                shape.virtual_address(u64::MAX);
                shape.virtual_address(at as u64);
            }
        }
    }
}
