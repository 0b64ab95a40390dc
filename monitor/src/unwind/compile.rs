//! `.eh_frame` to a table.
//!
//! Contract: what the file says wrongly costs the rows of that function only; the work is linear in the size of `.eh_frame`.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CieOrFde, CommonInformationEntry, EhFrame, EhFrameOffset, LittleEndian,
    UnwindContext, UnwindSection, Vendor,
};
use monitor_common::unwind::{CfaKind, Row};

use super::{
    elf::{Arch, ElfError, Image},
    rule::{self, Slice},
    table::{Builder, Table},
};

/// Code without information that begins where the program begins is the outermost frame up to here.
const ENTRY_BYTES_MAX: u64 = 256;

/// The part that functions have in common is run for each of them. It has some 20 bytes; of a long one the work would grow with the
/// square of the file.
const COMMON_BYTES_MAX: usize = 1024;

type Cies<'a> = HashMap<usize, CommonInformationEntry<Slice<'a>>>;

/// A function and where its entry lies.
struct Function {
    start: u64,
    end: u64,
    entry: EhFrameOffset,
}

/// The table of what was read of a file.
///
/// # Errors
/// When it has no function within its code, or they lie further apart than any code does.
pub(super) fn table(image: &Image) -> Result<Table, ElfError> {
    let mut section = EhFrame::new(&image.frame, LittleEndian);
    if image.arch == Arch::Aarch64 {
        // It has an instruction of its own, for signed return addresses.
        section.set_vendor(Vendor::AArch64);
    }
    let bases = BaseAddresses::default().set_eh_frame(image.frame_address);
    let mut cies = Cies::new();
    let functions = functions(image, &section, &bases, &mut cies);
    let end = functions.iter().map(|function| function.end).max().ok_or(ElfError::NoFrames)?;
    let has_entry = image.code.iter().any(|segment| segment.holds(image.entry));
    let entry = if has_entry { image.entry } else { 0 };
    let first = functions.first().map_or(0, |function| function.start);
    let first = if has_entry { first.min(entry) } else { first };
    let mut builder = Builder::new(first, end.max(entry + 1)).ok_or(ElfError::TooLarge)?;
    let mut context = UnwindContext::new();
    let mut is_entry_due = has_entry;
    for function in &functions {
        if is_entry_due && entry < function.start {
            mark_entry(&mut builder, entry, function.start);
        }
        is_entry_due &= entry >= function.end;
        let Some(part) = builder.begin(function.start, function.end) else { continue };
        builder.push(part.start, Row::none(part.start));
        if function.start == entry {
            builder.push(part.start, Row::bare(part.start, CfaKind::End));
            continue;
        }
        let fde =
            section.fde_from_offset(&bases, function.entry, |s, b, at| cie(&mut cies, s, b, at));
        let Ok(fde) = fde else { continue };
        if fde.cie().entry_len() > COMMON_BYTES_MAX {
            continue;
        }
        if fde.is_signal_trampoline() {
            builder.push(part.start, Row::bare(part.start, CfaKind::Signal));
            continue;
        }
        let Ok(mut rows) = fde.rows(&section, &bases, &mut context) else { continue };
        let mut reached = part.start;
        // A program that goes wrong midway leaves the rest of its function unknown.
        let is_sound = loop {
            let Ok(row) = rows.next_row() else { break false };
            let Some(row) = row else { break true };
            let (from, to) = (row.start_address().max(reached), row.end_address().min(part.end));
            if from < to {
                builder.push(from, rule::pack(image.arch, &section, row, from));
                reached = to;
            }
        };
        if !is_sound && reached < part.end {
            builder.push(reached, Row::none(reached));
        }
    }
    if is_entry_due {
        mark_entry(&mut builder, entry, u64::MAX);
    }
    Ok(builder.finish())
}

/// The code where the program begins has often no information, or none that says that it has no caller.
fn mark_entry(builder: &mut Builder, entry: u64, next: u64) {
    if let Some(part) = builder.begin(entry, next.min(entry + ENTRY_BYTES_MAX)) {
        builder.push(part.start, Row::bare(part.start, CfaKind::End));
    }
}

/// The functions that lie in the code, by address.
fn functions<'a>(
    image: &Image,
    section: &EhFrame<Slice<'a>>,
    bases: &BaseAddresses,
    cies: &mut Cies<'a>,
) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut entries = section.entries(bases);
    // What follows a damaged entry cannot be found.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(|s, b, at| cie(cies, s, b, at)) else { continue };
        let start = fde.initial_address();
        let Some(segment) = image.code.iter().find(|segment| segment.holds(start)) else {
            continue;
        };
        let limit = segment.address.saturating_add(segment.bytes);
        let end = start.saturating_add(fde.len()).min(limit);
        functions.push(Function { start, end, entry: EhFrameOffset(fde.offset()) });
    }
    functions.sort_by_key(|function| (function.start, function.end));
    functions
}

/// Parsing the common part anew for each function would double the work.
fn cie<'a>(
    known: &mut Cies<'a>,
    section: &EhFrame<Slice<'a>>,
    bases: &BaseAddresses,
    at: EhFrameOffset,
) -> gimli::Result<CommonInformationEntry<Slice<'a>>> {
    if let Some(cie) = known.get(&at.0) {
        return Ok(cie.clone());
    }
    let cie = section.cie_from_offset(bases, at)?;
    known.insert(at.0, cie.clone());
    Ok(cie)
}
