//! Code that is made at run time: whether it has the names its source gave it, and its callers.
//!
//! Contract: the truth is what a program says of its own CPU time, read before and after; shares do not depend on how fast the machine is.
//! Needs `node`, a JDK, a `python3` of 3.12 or later and one of 3.11 to 3.13 on the host, whose files the containers see.

mod interpreted;
mod java;
mod node;
mod python;
mod script;
