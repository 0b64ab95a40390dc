//! One row of call frame information to one [`Row`].
//!
//! Contract: what a row cannot hold becomes [`CfaKind::Unsupported`] or [`FrameKind::Lost`], never something similar.

use gimli::{
    CfaRule, EhFrame, Encoding, EndianSlice, Expression, Format, LittleEndian, Operation, Register,
    RegisterRule, UnwindTableRow, X86_64,
};
use monitor_common::unwind::{CfaKind, FrameKind, Row};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Op<'a> = Operation<Slice<'a>>;

/// Where every function of this machine keeps its return address, from the CFA.
const RETURN_ADDRESS_AT: i64 = -8;
const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };

/// The rules of a row, at an address.
pub(super) fn pack(section: &EhFrame<Slice<'_>>, row: &UnwindTableRow<usize>, address: u64) -> Row {
    let unsupported = Row::bare(address, CfaKind::Unsupported);
    match row.register(X86_64::RA) {
        Some(RegisterRule::Offset(RETURN_ADDRESS_AT)) => {}
        Some(RegisterRule::Undefined) => return Row::bare(address, CfaKind::End),
        _ => return unsupported,
    }
    let Some((kind, parameter, addend)) = cfa(section, row.cfa()) else { return unsupported };
    let (frame, offset) = frame(section, row.register(X86_64::RBP));
    let lost = || Row::new(address, kind, parameter, addend, FrameKind::Lost, 0);
    Row::new(address, kind, parameter, addend, frame, offset).or_else(lost).unwrap_or(unsupported)
}

fn cfa(section: &EhFrame<Slice<'_>>, rule: &CfaRule<usize>) -> Option<(CfaKind, i64, i64)> {
    match rule {
        CfaRule::RegisterAndOffset { register, offset } => Some(match *register {
            X86_64::RSP => (CfaKind::Stack, *offset, 0),
            X86_64::RBP => (CfaKind::Frame, *offset, 0),
            Register(number) if number < 16 => (CfaKind::Leaf, *offset, i64::from(number)),
            _ => return None,
        }),
        CfaRule::Expression(expression) => {
            let operations = operations(expression.get(section).ok()?)?;
            word(&operations).or_else(|| linkage(&operations))
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
fn word(operations: &[Op<'_>]) -> Option<(CfaKind, i64, i64)> {
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
    match register {
        X86_64::RSP => Some((CfaKind::StackWord, offset, addend)),
        X86_64::RBP => Some((CfaKind::FrameWord, offset, addend)),
        _ => None,
    }
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
