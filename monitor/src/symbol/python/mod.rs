//! Functions of Python: which files are interpreters, and the names of code objects in the memory of processes.
//!
//! The kernel half walks an interpreter's frames and sends the address of each code object (see [`monitor_common::python`]). Here it is
//! said where it finds them ([`file`], [`version`]), and what they are called ([`code`], [`names`]), read while the process lives.
//!
//! Contract: what is read belongs to a process, so nothing in it is trusted: kinds are checked, lengths are bounded, and what makes no
//! sense has no name.

mod code;
mod file;
mod names;
mod version;

#[cfg(test)]
mod tests;

pub(crate) use file::{Interpreter, may_be_interpreter};
pub(super) use names::PythonNames;
