//! What the event ring carries: births and deaths of cgroups and processes.
//!
//! Contract: every record begins with [`EventHeader`]; the reader goes by `kind` and checks the length.

/// The kind of an event.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A cgroup got its slot.
    CgroupSlot = 1,
    /// A cgroup directory was made.
    CgroupMkdir = 2,
    /// A cgroup directory was removed.
    CgroupRmdir = 3,
    /// A process was forked.
    Fork = 4,
    /// A process executed a program.
    Exec = 5,
    /// The last thread of a process ended.
    Exit = 6,
}

/// The head of every event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EventHeader {
    /// An [`EventKind`].
    pub kind: u32,
    /// Explicit padding.
    pub padding: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub at_ns: u64,
}

/// A cgroup got its slot, on its first activity.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupSlotEvent {
    /// Head.
    pub header: EventHeader,
    /// Which cgroup.
    pub cgroup_id: u64,
    /// Which slot.
    pub slot: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Longest path carried, with its end; longer ones are cut and resolved from cgroupfs by inode.
pub const CGROUP_PATH_BYTES: usize = 512;

/// A cgroup directory was made or removed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupPathEvent {
    /// Head.
    pub header: EventHeader,
    /// Which cgroup.
    pub cgroup_id: u64,
    /// `cgroup_root.hierarchy_id`: 0 is cgroup v2.
    pub hierarchy_id: u32,
    /// Bytes of `path` in use, without the end mark.
    pub path_bytes: u32,
    /// The path from the root of its hierarchy.
    pub path: [u8; CGROUP_PATH_BYTES],
}

/// A process was born, became another program, or ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessEvent {
    /// Head.
    pub header: EventHeader,
    /// Its cgroup.
    pub cgroup_id: u64,
    /// The process.
    pub tgid: u32,
    /// Its parent, for [`EventKind::Fork`]; 0 otherwise.
    pub parent_tgid: u32,
    /// Its name.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<EventHeader>() == 16);
const _: () = assert!(size_of::<CgroupSlotEvent>() == 32);
const _: () = assert!(size_of::<CgroupPathEvent>() == 32 + CGROUP_PATH_BYTES);
const _: () = assert!(size_of::<ProcessEvent>() == 48);
