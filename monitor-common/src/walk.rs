//! One step of a walk: from a frame to its caller, by the row of its address.
//!
//! Contract: the kernel half and the tests of user space run this code, for either machine; what differs between machines is in
//! [`Machine`]. An end is a number, since a row may hold it: a [`WalkEnd`].

use crate::unwind::{CfaKind, FrameKind, Row, WalkEnd};

/// The registers that a walk goes by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Where execution stands, or where a call returns to.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer: `rbp`, `x29`.
    pub fp: u64,
    /// Where a call returns to until it is stored; 0 on machines that store it at once.
    pub link: u64,
    /// Whether `pc` is where execution stands, and not where a call returns to.
    pub is_exact: u32,
    /// Whether the frame pointer is not known.
    pub is_fp_lost: u32,
}

/// What a walk reads.
pub trait Memory {
    /// A word of the user's stack; `None` if it cannot be read.
    fn word(&mut self, at: u64) -> Option<u64>;

    /// A register of the innermost frame, by its DWARF number.
    fn register(&mut self, number: u64) -> Option<u64>;
}

/// How a kind of machine calls.
pub trait Machine {
    /// Whether a call leaves its return address in a register, and the function that is called stores it.
    const HAS_LINK: bool;
    /// Where the frame of a signal handler keeps the registers that were interrupted, from the stack pointer on: frame pointer, link,
    /// stack pointer, program counter.
    const SIGNAL: [u64; 4];
    /// The bits of a return address that are its address.
    const ADDRESS: u64;
}

/// x86-64.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

/// arm64. Its signed return addresses have the signature in their upper bits.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

impl Machine for X86_64 {
    const HAS_LINK: bool = false;
    // `struct rt_sigframe`, after its return address was taken from the stack: `uc_mcontext.rbp`, none, `.rsp`, `.rip`.
    const SIGNAL: [u64; 4] = [120, 0, 160, 168];
    const ADDRESS: u64 = !0;
}

impl Machine for Aarch64 {
    const HAS_LINK: bool = true;
    // `struct rt_sigframe`: 128 bytes of siginfo, 176 up to `uc_mcontext`, 8 up to its `regs`.
    const SIGNAL: [u64; 4] = [312 + 8 * 29, 312 + 8 * 30, 312 + 8 * 31, 312 + 8 * 32];
    const ADDRESS: u64 = (1 << 48) - 1;
}

impl Registers {
    /// The address whose row holds: of a call that has not returned yet one within its instruction.
    #[inline(always)]
    pub fn at(&self) -> u64 {
        self.pc.wrapping_sub((self.is_exact == 0) as u64)
    }

    /// Goes on to the caller, by the row of [`Self::at`]. `is_innermost` tells whether all registers are as they were.
    ///
    /// # Errors
    /// Why the walk ends here.
    #[inline(always)]
    pub fn step<M: Machine>(
        &mut self,
        row: Row,
        is_innermost: bool,
        memory: &mut impl Memory,
    ) -> Result<(), u32> {
        let kind = row.cfa();
        let cfa = if kind == CfaKind::Stack as u8 {
            self.sp.wrapping_add(row.wide() as u64)
        } else if kind == CfaKind::Frame as u8 {
            self.frame_pointer()?.wrapping_add(row.wide() as u64)
        } else {
            match self.unusual::<M>(row, kind, is_innermost, memory)? {
                Some(cfa) => cfa,
                None => return Ok(()),
            }
        };
        // A function that has stored nothing yet has its caller's stack pointer on machines with a link register.
        let is_astray =
            if M::HAS_LINK && self.is_exact != 0 { cfa < self.sp } else { cfa <= self.sp };
        if is_astray {
            return Err(WalkEnd::Unreadable as u32);
        }
        let return_address = if M::HAS_LINK {
            self.by_link(row, cfa, memory)?
        } else {
            self.by_stack(row, cfa, memory)?
        };
        self.sp = cfa;
        self.go_on::<M>(return_address)
    }

    /// The return address lies right below the CFA.
    #[inline(always)]
    fn by_stack(&mut self, row: Row, cfa: u64, memory: &mut impl Memory) -> Result<u64, u32> {
        let kind = row.frame();
        let offset = row.frame_offset() as u64;
        if kind == FrameKind::AtCfa as u8 {
            self.fp = word(memory, cfa.wrapping_add(offset))?;
            self.is_fp_lost = 0;
        } else if kind == FrameKind::AtFrame as u8 {
            self.fp = word(memory, self.fp.wrapping_add(offset))?;
        } else if kind == FrameKind::Lost as u8 {
            self.is_fp_lost = 1;
        }
        word(memory, cfa.wrapping_sub(8))
    }

    /// The return address is in the link register still, or beside the frame pointer, or alone.
    #[inline(always)]
    fn by_link(&mut self, row: Row, cfa: u64, memory: &mut impl Memory) -> Result<u64, u32> {
        let kind = row.frame();
        let at = cfa.wrapping_add(row.frame_offset() as u64);
        if kind == FrameKind::AtCfa as u8 {
            self.fp = word(memory, at)?;
            self.is_fp_lost = 0;
            word(memory, at.wrapping_add(8))
        } else if kind == FrameKind::LinkAtCfa as u8 {
            word(memory, at)
        } else if kind == FrameKind::Same as u8 && self.is_exact != 0 {
            Ok(self.link)
        } else {
            Err(WalkEnd::Unsupported as u32)
        }
    }

    /// The CFA by a row that is not of the usual kinds; `None` if it has gone on already.
    #[inline(always)]
    fn unusual<M: Machine>(
        &mut self,
        row: Row,
        kind: u8,
        is_innermost: bool,
        memory: &mut impl Memory,
    ) -> Result<Option<u64>, u32> {
        let parameter = row.parameter() as u64;
        let addend = row.addend() as u64;
        Ok(Some(if kind == CfaKind::End as u8 {
            return Err(WalkEnd::Complete as u32);
        } else if kind == CfaKind::Nothing as u8 {
            return Err(parameter as u32);
        } else if kind == CfaKind::None as u8 {
            return Err(WalkEnd::NoRow as u32);
        } else if kind == CfaKind::ByFramePointer as u8 {
            self.by_frame_pointer::<M>(memory)?;
            return Ok(None);
        } else if kind == CfaKind::Signal as u8 {
            self.by_signal_frame::<M>(memory)?;
            return Ok(None);
        } else if kind == CfaKind::Linkage as u8 {
            self.sp + 8 + 8 * ((self.pc & 15 >= parameter) as u64)
        } else if kind == CfaKind::StackWord as u8 {
            word(memory, self.sp.wrapping_add(parameter))?.wrapping_add(addend)
        } else if kind == CfaKind::FrameWord as u8 {
            word(memory, self.frame_pointer()?.wrapping_add(parameter))?.wrapping_add(addend)
        } else if kind == CfaKind::Leaf as u8 && is_innermost {
            // Only the innermost frame has its registers as they were.
            let register = memory.register(addend).ok_or(WalkEnd::Unreadable as u32)?;
            register.wrapping_add(parameter)
        } else if kind == CfaKind::LeafIndexedWord as u8 && is_innermost {
            let index = memory.register(addend).ok_or(WalkEnd::Unreadable as u32)?;
            let at = self.sp.wrapping_add(parameter).wrapping_add(index.wrapping_mul(8));
            word(memory, at)?.wrapping_add(8)
        } else {
            return Err(WalkEnd::Unsupported as u32);
        }))
    }

    #[inline(always)]
    fn frame_pointer(&self) -> Result<u64, u32> {
        if self.is_fp_lost == 0 { Ok(self.fp) } else { Err(WalkEnd::Unsupported as u32) }
    }

    /// The registers that a signal interrupted.
    #[inline(always)]
    fn by_signal_frame<M: Machine>(&mut self, memory: &mut impl Memory) -> Result<(), u32> {
        let sp = self.sp;
        self.fp = word(memory, sp.wrapping_add(M::SIGNAL[0]))?;
        if M::HAS_LINK {
            self.link = word(memory, sp.wrapping_add(M::SIGNAL[1]))?;
        }
        self.sp = word(memory, sp.wrapping_add(M::SIGNAL[2]))?;
        self.pc = word(memory, sp.wrapping_add(M::SIGNAL[3]))?;
        self.is_fp_lost = 0;
        self.is_exact = 1;
        Ok(())
    }

    /// Code made at run time, and files without tables: those who make it keep frame pointers, or nobody can walk it.
    #[inline(always)]
    fn by_frame_pointer<M: Machine>(&mut self, memory: &mut impl Memory) -> Result<(), u32> {
        if self.is_fp_lost != 0 {
            return Err(WalkEnd::NoRow as u32);
        }
        if self.fp == 0 {
            return Err(WalkEnd::Complete as u32);
        }
        if self.fp < self.sp {
            return Err(WalkEnd::NoRow as u32);
        }
        let at = self.fp;
        self.fp = word(memory, at)?;
        let return_address = word(memory, at.wrapping_add(8))?;
        self.sp = at.wrapping_add(16);
        self.go_on::<M>(return_address)
    }

    #[inline(always)]
    fn go_on<M: Machine>(&mut self, return_address: u64) -> Result<(), u32> {
        let return_address = return_address & M::ADDRESS;
        if return_address == 0 {
            return Err(WalkEnd::Complete as u32);
        }
        self.pc = return_address;
        self.is_exact = 0;
        Ok(())
    }
}

#[inline(always)]
fn word(memory: &mut impl Memory, at: u64) -> Result<u64, u32> {
    memory.word(at).ok_or(WalkEnd::Unreadable as u32)
}
