//! What is kept: for now the last minutes, in memory.

mod live;

pub use live::Live;
