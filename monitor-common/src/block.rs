//! Records of the `block` family: what is counted per pair of a cgroup and a device.
//!
//! Contract: an operation is counted once, when its last byte is done; bytes are counted as they are done. A pair has a
//! dense index, given on its first completed request; the kernel half writes its key to the table of keys after the pair can be
//! found, so a reader that sees no key finds it the next time. A record is written by its own CPU only.

use crate::{bucket::RawHistogram, outlier::ThreadName};

/// What a request does.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOperation {
    /// Reads from the medium.
    Read,
    /// Writes to the medium, zeroes included.
    Write,
    /// Gives up what was there, secure erase included.
    Discard,
    /// Asks that what was written be durable and carries no data. Its issuer waits for it; the device is told by
    /// [`Self::FlushCommand`].
    Flush,
    /// The command that the block layer sends for all who asked for a flush meanwhile: it has no issuer.
    FlushCommand,
    /// The rest: zone management, commands passed through.
    Other,
}

impl BlockOperation {
    /// How many operations there are.
    pub const COUNT: usize = 6;

    /// All operations, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Read, Self::Write, Self::Discard, Self::Flush, Self::FlushCommand, Self::Other];

    /// The value of the label `operation`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Discard => "discard",
            Self::Flush => "flush",
            Self::FlushCommand => "flush_command",
            Self::Other => "other",
        }
    }

    /// Which distributions its latencies go to.
    pub const fn class(self) -> LatencyClass {
        match self {
            Self::Read => LatencyClass::Read,
            Self::Write => LatencyClass::Write,
            _ => LatencyClass::Other,
        }
    }
}

/// Operations whose latencies share distributions.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyClass {
    /// [`BlockOperation::Read`].
    Read,
    /// [`BlockOperation::Write`].
    Write,
    /// All others.
    Other,
}

impl LatencyClass {
    /// How many classes there are.
    pub const COUNT: usize = 3;

    /// The values of the label `operation` of latencies, in the order of the classes.
    pub const NAMES: [&'static str; Self::COUNT] = ["read", "write", "other"];
}

/// A part of the time a request takes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPhase {
    /// From the request's allocation to its issue to the driver: scheduler, and free tags of the device.
    Queue,
    /// From its issue to its completion: the device.
    Service,
    /// Both.
    Total,
}

impl BlockPhase {
    /// How many phases there are.
    pub const COUNT: usize = 3;

    /// The values of the label `phase`, in the order of the phases.
    pub const NAMES: [&'static str; Self::COUNT] = ["queue", "service", "total"];
}

/// The hierarchy of what has no cgroup: no hierarchy has this number.
pub const HIERARCHY_NONE: u32 = u32::MAX;

/// Index of what found no free pair.
pub const PAIR_OVERFLOW: u32 = 0;
/// The first index given to a pair.
pub const PAIR_FIRST: u32 = 1;

/// A cgroup and a device. All zero marks a free index: what has no cgroup has [`HIERARCHY_NONE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// `kernfs_node.id`, unique within its hierarchy only; 0 without a cgroup.
    pub cgroup_id: u64,
    /// `cgroup_root.hierarchy_id` of the controller that block requests are charged to: on v1 and hybrid hosts that of
    /// `blkio`, not the one that gives the identity.
    pub hierarchy_id: u32,
    /// The whole disk, `major << 20 | minor`; 0 for a queue without a disk.
    pub device: u32,
}

const _: () = assert!(size_of::<BlockKey>() == 16);

/// Bits of the minor number in [`BlockKey::device`].
pub const MINOR_BITS: u32 = 20;

/// What is counted per pair and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairCounters {
    /// Requests done, by [`BlockOperation`].
    pub operations: [u64; BlockOperation::COUNT],
    /// Bytes done, by [`BlockOperation`].
    pub bytes: [u64; BlockOperation::COUNT],
    /// Requests that ended with an error.
    pub errors: u64,
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 3],
}

const _: () = assert!(size_of::<PairCounters>() == 128);

/// The distributions of one pair and lane.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PairLatency {
    /// By [`LatencyClass`] and [`BlockPhase`].
    pub by_class: [[RawHistogram; BlockPhase::COUNT]; LatencyClass::COUNT],
}

const _: () = assert!(size_of::<PairLatency>() == 9 * size_of::<RawHistogram>());

/// log2 of the places for requests on their way: with 256 of them, 1 in 64 shares its place with another.
pub const REQUEST_PLACE_BITS: u32 = 14;

/// Entries of a CPU in the table through which addresses pass: one for each hook, in a cache line.
pub const ADDRESSES_PER_CPU: u32 = 8;

/// The instants of a request that it does not hold itself, `CLOCK_MONOTONIC` ns. Apart, because an issue stamp that overwrites
/// the insert stamp makes the queue time vanish.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestStamps {
    /// Where the request lies in the kernel; 0 for a free place.
    pub address: u64,
    /// When it began: by itself if it knows, else when it came to the scheduler; 0 if it went past it.
    pub began_ns: u64,
    /// When it was last issued; 0 before.
    pub issued_ns: u64,
    /// The process of the thread that brought it to the scheduler, or to the driver if it went past it.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub thread: ThreadName,
}

const _: () = assert!(size_of::<RequestStamps>() == 48);

/// Slices that are remembered of a device. Neighbours of one pair are one slice.
pub const DEVICE_SLICES: usize = 64;
/// Slices that are looked at when a request is issued.
pub const DEVICE_SLICES_OF_A_WAIT: u32 = 32;
/// log2 of the devices that have a timeline.
pub const DEVICE_BITS: u32 = 7;
/// Devices that have a timeline: 1,088 bytes each.
pub const DEVICES: u32 = 1 << DEVICE_BITS;
/// Places after its own where a device is looked for.
pub const DEVICE_PLACES: u32 = 4;
/// Pairs that waited for pairs.
pub const MAX_QUEUE_WAITS: u32 = 4_096;

/// What a device was at work on until when.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceSlice {
    /// When the last of its requests was done, `CLOCK_MONOTONIC` ns.
    pub ended_ns: u64,
    /// Whose they were.
    pub pair: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// The last slices of one device: each begins where the one before it ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceTimeline {
    /// The slices, in a ring.
    pub slices: [DeviceSlice; DEVICE_SLICES],
    /// The device; 0 for a place that none has.
    pub device: u32,
    /// The place of the newest.
    pub newest: u32,
}

const _: () = assert!(size_of::<DeviceTimeline>() == DEVICE_SLICES * 16 + 8);

/// Where a device is looked for first.
pub const fn device_place(device: u32) -> u32 {
    device.wrapping_mul(0x9e37_79b1) >> (32 - DEVICE_BITS)
}

/// Whose requests waited, and whose were done meanwhile: two pairs of one device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueWait {
    /// Who waited.
    pub waiter: u32,
    /// For whom.
    pub culprit: u32,
}

const _: () = assert!(size_of::<QueueWait>() == 8);
