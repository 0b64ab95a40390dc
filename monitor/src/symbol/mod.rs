//! Address to frames, or the reason why not.
//!
//! [`Symbols`] is the door: [`Symbols::observe`] a process when it is first seen, [`Symbols::resolve`]
//! its stacks later, even after it has died. Every address becomes at least one [`Frame`]; one that
//! cannot be named says why by its [`Reason`]. This is the only folder that names blazesym.
//!
//! ```text
//! observe -> process (maps at first sight) -> object (one open file for each ELF)
//! resolve -> resolver -> process -> object -> blaze (blazesym) | jit (perf_map, jit_dump) | kallsyms
//! observe_stack -> python (names of what an interpreter evaluates, while they can be read)
//! ```

mod blaze;
mod cache;
mod code;
mod elf;
mod fault;
mod frame;
mod jit;
mod jit_dump;
mod kallsyms;
pub(crate) mod maps;
mod maps_query;
mod object;
mod open;
mod own;
mod perf_map;
mod process;
pub(crate) mod python;
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
pub use own::{DESCRIPTORS, collect};
pub use service::{SymbolError, SymbolStats, Symbols};
pub(crate) use vdso::image as vdso_image;
