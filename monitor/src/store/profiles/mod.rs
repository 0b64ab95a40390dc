//! Profiles that are kept: what always-on recordings took, so that any past time can be drawn.
//!
//! Each window is appended to a file, checksummed and synced. Every ten minutes the windows of a file become one [`body`] with
//! one dictionary, in a file of its own that is never changed again. Names of files tell kind and time: nothing else is needed to find
//! them, and letting go of the oldest is removing a file.

mod archive;
mod body;
mod piece;
mod read;

pub use archive::{Archive, ArchiveOptions, KeptWindows};
pub use body::{decode as decode_kept, encode as encode_kept};
pub use read::{Activity, Past};
