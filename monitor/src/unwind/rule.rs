//! One row of call frame information to one [`Row`].
//!
//! Contract: what a row cannot hold becomes [`CfaKind::Unsupported`] or [`FrameKind::Lost`], never something similar.

use gimli::{
    AArch64, CfaRule, EhFrame, Encoding, EndianSlice, Expression, Format, LittleEndian, Operation,
    Register, RegisterRule, UnwindTableRow, X86_64,
};
use monitor_common::unwind::{CfaKind, FrameKind, Row};

use super::elf::Arch;

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Op<'a> = Operation<Slice<'a>>;

/// Where every function of x86-64 keeps its return address, from the CFA.
const RETURN_ADDRESS_AT: i64 = -8;
const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };

/// The registers that CFAs are made of.
#[derive(Clone, Copy)]
struct Names {
    stack: Register,
    frame: Register,
    /// Those below it are in the registers at the entry to the kernel.
    end: u16,
}

impl Names {
    fn of(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self { stack: X86_64::RSP, frame: X86_64::RBP, end: 16 },
            Arch::Aarch64 => Self { stack: AArch64::SP, frame: AArch64::X29, end: 31 },
        }
    }
}

/// The rules of a row, at an address.
pub(super) fn pack(
    arch: Arch,
    section: &EhFrame<Slice<'_>>,
    row: &UnwindTableRow<usize>,
    address: u64,
) -> Row {
    let unsupported = Row::bare(address, CfaKind::Unsupported);
    let caller = match arch {
        Arch::X86_64 => by_stack(section, row),
        Arch::Aarch64 => by_link(row),
    };
    let (kind, offset) = match caller {
        Caller::None => return Row::bare(address, CfaKind::End),
        Caller::Unsupported => return unsupported,
        Caller::At(kind, offset) => (kind, offset),
    };
    let names = Names::of(arch);
    let Some((cfa, parameter, addend)) = cfa(names, section, row.cfa()) else { return unsupported };
    // Without its frame pointer the frame still has a caller, if that is kept apart from it.
    let lost = || Row::new(address, cfa, parameter, addend, FrameKind::Lost, 0);
    let lost = || if arch == Arch::X86_64 { lost() } else { None };
    Row::new(address, cfa, parameter, addend, kind, offset).or_else(lost).unwrap_or(unsupported)
}

/// Where the caller's frame pointer and return address are.
enum Caller {
    /// There is none.
    None,
    At(FrameKind, i64),
    Unsupported,
}

/// The return address is right below the CFA.
fn by_stack(section: &EhFrame<Slice<'_>>, row: &UnwindTableRow<usize>) -> Caller {
    match row.register(X86_64::RA) {
        Some(RegisterRule::Offset(RETURN_ADDRESS_AT)) => {
            let (kind, offset) = frame(section, row.register(X86_64::RBP));
            Caller::At(kind, offset)
        }
        Some(RegisterRule::Undefined) => Caller::None,
        _ => Caller::Unsupported,
    }
}

/// The return address is in its register, or was stored with the frame pointer or alone.
fn by_link(row: &UnwindTableRow<usize>) -> Caller {
    /// Between the two words of a frame record.
    const BESIDE: i64 = 8;
    let stored = |rule: Option<RegisterRule<usize>>| match rule {
        None | Some(RegisterRule::SameValue) => Ok(None),
        Some(RegisterRule::Offset(offset)) => Ok(Some(offset)),
        Some(rule) => Err(rule),
    };
    match (stored(row.register(AArch64::X30)), stored(row.register(AArch64::X29))) {
        (Err(RegisterRule::Undefined), _) => Caller::None,
        (Ok(None), Ok(None)) => Caller::At(FrameKind::Same, 0),
        (Ok(Some(link)), Ok(None)) => Caller::At(FrameKind::LinkAtCfa, link),
        (Ok(Some(link)), Ok(Some(frame))) if link == frame + BESIDE => {
            Caller::At(FrameKind::AtCfa, frame)
        }
        _ => Caller::Unsupported,
    }
}

fn cfa(
    names: Names,
    section: &EhFrame<Slice<'_>>,
    rule: &CfaRule<usize>,
) -> Option<(CfaKind, i64, i64)> {
    match rule {
        CfaRule::RegisterAndOffset { register, offset } => {
            if *register == names.stack {
                Some((CfaKind::Stack, *offset, 0))
            } else if *register == names.frame {
                Some((CfaKind::Frame, *offset, 0))
            } else {
                let is_kept = register.0 < names.end;
                is_kept.then(|| (CfaKind::Leaf, *offset, i64::from(register.0)))
            }
        }
        CfaRule::Expression(expression) => {
            let operations = operations(expression.get(section).ok()?)?;
            word(names, &operations)
                .or_else(|| indexed_word(names, &operations))
                .or_else(|| linkage(&operations))
        }
    }
}

/// Where the caller's frame pointer is.
fn frame(section: &EhFrame<Slice<'_>>, rule: Option<RegisterRule<usize>>) -> (FrameKind, i64) {
    match rule {
        None | Some(RegisterRule::SameValue) => (FrameKind::Same, 0),
        Some(RegisterRule::Offset(offset)) => (FrameKind::AtCfa, offset),
        // A frame that is aligned anew says where its old frame pointer is by its new one.
        Some(RegisterRule::Expression(expression)) => {
            let operations = expression.get(section).ok().and_then(operations);
            match operations.as_deref() {
                Some([Operation::RegisterOffset { register: X86_64::RBP, offset, .. }]) => {
                    (FrameKind::AtFrame, *offset)
                }
                _ => (FrameKind::Lost, 0),
            }
        }
        Some(_) => (FrameKind::Lost, 0),
    }
}

fn operations(expression: Expression<Slice<'_>>) -> Option<Vec<Op<'_>>> {
    /// Longer ones are none of the forms known here.
    const OPERATIONS_MAX: usize = 16;
    let mut operations = Vec::new();
    let mut iterator = expression.operations(ENCODING);
    while let Some(operation) = iterator.next().ok()? {
        if operations.len() == OPERATIONS_MAX {
            return None;
        }
        operations.push(operation);
    }
    Some(operations)
}

/// The CFA is a word on the stack: functions that align their frame anew, and hand-written assembly.
fn word(names: Names, operations: &[Op<'_>]) -> Option<(CfaKind, i64, i64)> {
    let (register, offset, addend) = match operations {
        [Operation::RegisterOffset { register, offset, .. }, Operation::Deref { size: 8, .. }] => {
            (*register, *offset, 0)
        }
        [
            Operation::RegisterOffset { register, offset, .. },
            Operation::Deref { size: 8, .. },
            Operation::PlusConstant { value },
        ] => (*register, *offset, i64::try_from(*value).ok()?),
        _ => return None,
    };
    if register == names.stack {
        Some((CfaKind::StackWord, offset, addend))
    } else if register == names.frame {
        Some((CfaKind::FrameWord, offset, addend))
    } else {
        None
    }
}

/// The CFA is a word behind an array on the stack, of as many words as a register says.
fn indexed_word(names: Names, operations: &[Op<'_>]) -> Option<(CfaKind, i64, i64)> {
    let [
        Operation::RegisterOffset { register: base, offset, .. },
        Operation::RegisterOffset { register: index, offset: 0, .. },
        Operation::UnsignedConstant { value: 8 },
        Operation::Mul,
        Operation::Plus,
        Operation::Deref { size: 8, .. },
        Operation::PlusConstant { value: 8 },
    ] = operations
    else {
        return None;
    };
    let is_known = *base == names.stack && index.0 < names.end;
    is_known.then(|| (CfaKind::LeafIndexedWord, *offset, i64::from(index.0)))
}

/// Each entry of a linkage table has 16 bytes, and pushes a word in its midst.
fn linkage(operations: &[Op<'_>]) -> Option<(CfaKind, i64, i64)> {
    match operations {
        [
            Operation::RegisterOffset { register: X86_64::RSP, offset: 8, .. },
            Operation::RegisterOffset { register: X86_64::RA, offset: 0, .. },
            Operation::UnsignedConstant { value: 15 },
            Operation::And,
            Operation::UnsignedConstant { value: push @ 1..16 },
            Operation::Ge,
            Operation::UnsignedConstant { value: 3 },
            Operation::Shl,
            Operation::Plus,
        ] => Some((CfaKind::Linkage, *push as i64, 0)),
        _ => None,
    }
}
