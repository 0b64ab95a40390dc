//! Address to frames, or the reason why not.
//!
//! [`Symbols`] is the door: [`Symbols::observe`] a process when it is first seen, [`Symbols::resolve`]
//! its stacks later, even after it has died. Every address becomes at least one [`Frame`]; one that
//! cannot be named says why by its [`Reason`]. This is the only folder that names blazesym.
//!
//! ```text
//! observe -> process (maps at first sight) -> object (one open file for each ELF)
//! resolve -> resolver -> process -> object -> blaze (blazesym) | perf_map | kallsyms
//! ```

mod blaze;
mod cache;
mod code;
mod elf;
mod fault;
mod frame;
mod kallsyms;
pub(crate) mod maps;
mod object;
mod open;
mod perf_map;
mod process;
mod resolver;
mod service;
mod vdso;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod tests;

pub use code::{CodeMapping, CodePlace};
pub use frame::{Frame, JIT_MODULE, Program, RawStack, Reason};
// What a stack is told by, for those who may not look at the kernel themselves.
pub use crate::kernel::ids::{Tgid, Tid};
pub use monitor_common::unwind::WalkEnd;
pub(crate) use object::Place;
pub(crate) use open::FileKey;
pub use service::{SymbolError, SymbolStats, Symbols};
pub(crate) use vdso::image as vdso_image;
