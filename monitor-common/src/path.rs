//! The path of an open file, as the kernel half reads it: names from the file up to the root of what its process sees.
//!
//! Contract: a name is as long as the kernel lets one be, each ends with a zero, and they are in the order in which they are met: the
//! file's own first. At most [`MAX_STEPS`] names and mounts are followed, and no name is begun beyond [`PATH_BYTES`]: what is longer lacks
//! its beginning, and says so. Nothing is locked, so a file that is renamed meanwhile may show parts of both paths.

/// Names and mounts that are followed.
pub const MAX_STEPS: u32 = 32;

/// Where the last name begins at the latest; a power of two.
pub const PATH_BYTES: usize = 512;

/// Room for one name and its zero.
pub const NAME_BYTES: usize = 256;

/// How far the names go.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// Not to the root: the path is too long, or the kernel does not show where it goes on. Without a name nothing is known.
    Cut,
    /// To the root.
    Root,
}

/// What stands before the names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathHead {
    /// Bytes of names that follow, zeros included.
    pub bytes: u32,
    /// A [`PathEnd`].
    pub end: u32,
    /// 1 if the file has no name any more: the path is the one it had.
    pub is_deleted: u32,
    /// Explicit padding.
    pub padding: u32,
}

const _: () = assert!(size_of::<PathHead>() == 16);

/// A path with room for the longest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FilePath {
    /// How much there is of it.
    pub head: PathHead,
    /// The names.
    pub names: [u8; PATH_BYTES + NAME_BYTES],
}

const _: () = assert!(size_of::<FilePath>() == 16 + PATH_BYTES + NAME_BYTES);
