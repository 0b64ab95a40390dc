//! User stacks of code without frame pointers: programs whose call chains are known, and programs as distributions ship them.
//!
//! Contract: a stack of a known program is right when it is complete and each pair of caller and callee in it is one that the
//! program's text allows. Nothing here depends on how fast the machine is.

mod agreement;
mod code;
mod known;
mod lives;
mod program;
mod room;
mod shipped;
mod stacks;

use anyhow::Result;
use cgscope_tests::Daemon;

/// Room for what the machine happens to run besides.
fn daemon() -> Result<Daemon> {
    Daemon::start(&["--unwind-table-size", "64M"])
}
