//! The slowest operations of each second: which of them the kernel half sends, and how they are told.
//!
//! Contract: of each kind, a CPU sends at least the [`OUTLIERS_PER_SECOND`] slowest operations that end on it in a second of
//! `CLOCK_MONOTONIC`, if they took longer than the kind's floor: so the slowest of the host are among those of its CPUs. It sends some more,
//! those that were among the slowest until slower ones came: of `n` operations in no order about `16 (1 + ln(n / 16))`. More than
//! [`MAX_SENT_PER_SECOND`] are not sent, and counted.

use crate::path::FilePath;

/// What can be slow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutlierKind {
    /// A request of a block device.
    Block,
    /// A call that opens, reads, writes or syncs a file.
    File,
}

impl OutlierKind {
    /// How many kinds there are.
    pub const COUNT: usize = 2;

    /// All kinds, in the order of their gates.
    pub const ALL: [Self; Self::COUNT] = [Self::Block, Self::File];

    /// Its name in the API and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::File => "file",
        }
    }

    /// What is no slower is no outlier, ns. A request of a disk is always worth it; most calls only copy what is in memory.
    pub const fn floor_ns(self) -> u64 {
        match self {
            Self::Block => 0,
            Self::File => 100_000,
        }
    }
}

/// How many of the slowest of each second are kept of each kind.
pub const OUTLIERS_PER_SECOND: usize = 16;

/// How many of a kind a CPU sends at most in a second.
pub const MAX_SENT_PER_SECOND: u32 = 256;

/// A second, by which windows are cut.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// What an operation must exceed to be sent from a CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct OutlierGate {
    /// The end of the second, `CLOCK_MONOTONIC` ns.
    pub until_ns: u64,
    /// The fastest of the slowest so far: what took no longer is refused.
    pub least_ns: u64,
    /// The slowest so far, in no order; the floor where there were not so many.
    pub slowest_ns: [u64; OUTLIERS_PER_SECOND],
    /// How many were admitted.
    pub admitted: u32,
    /// Explicit padding to whole cache lines.
    pub padding: [u32; 11],
}

const _: () = assert!(size_of::<OutlierGate>() == 192);

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is not among the slowest so far.
    Refused,
    /// It is, and is sent.
    Sent,
    /// It is, but too many were.
    TooMany,
}

impl OutlierGate {
    /// Of a CPU on which nothing has ended yet.
    pub const NEW: Self = Self {
        until_ns: 0,
        least_ns: 0,
        slowest_ns: [0; OUTLIERS_PER_SECOND],
        admitted: 0,
        padding: [0; 11],
    };

    /// Whether an operation that ended now is surely not among the slowest: all that most operations pay.
    #[inline(always)]
    pub const fn is_shut(&self, now_ns: u64, took_ns: u64) -> bool {
        now_ns < self.until_ns && took_ns <= self.least_ns
    }

    /// Puts an operation among the slowest if it is one of them.
    #[inline(always)]
    pub fn admit(&mut self, now_ns: u64, took_ns: u64, floor_ns: u64) -> Admission {
        if now_ns >= self.until_ns {
            self.until_ns = (now_ns / WINDOW_NS + 1) * WINDOW_NS;
            self.least_ns = floor_ns;
            self.slowest_ns = [floor_ns; OUTLIERS_PER_SECOND];
            self.admitted = 0;
        }
        if took_ns <= self.least_ns {
            return Admission::Refused;
        }
        let (mut is_placed, mut least_ns) = (false, u64::MAX);
        for slowest_ns in &mut self.slowest_ns {
            if !is_placed && *slowest_ns == self.least_ns {
                *slowest_ns = took_ns;
                is_placed = true;
            }
            if *slowest_ns < least_ns {
                least_ns = *slowest_ns;
            }
        }
        self.least_ns = least_ns;
        if self.admitted >= MAX_SENT_PER_SECOND {
            return Admission::TooMany;
        }
        self.admitted += 1;
        Admission::Sent
    }
}

/// An operation, as the ring carries it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutlierRecord {
    /// An [`OutlierKind`].
    pub kind: u32,
    /// A [`crate::block::BlockOperation`] or a [`crate::files::FileOperation`].
    pub operation: u32,
    /// When it ended, `CLOCK_MONOTONIC` ns.
    pub ended_ns: u64,
    /// When it began; 0 where that is not known.
    pub began_ns: u64,
    /// When a request was last issued to its device; 0 where that is not known, and of files.
    pub issued_ns: u64,
    /// Whose it is: the cgroup, 0 if nobody's.
    pub cgroup_id: u64,
    /// The hierarchy of that cgroup.
    pub hierarchy_id: u32,
    /// The disk, or the device of the file system; `major << 20 | minor`, 0 if there is none.
    pub device: u32,
    /// The first sector of a request, of 512 bytes from the beginning of the disk; the inode of a file.
    pub place: u64,
    /// Bytes that were moved.
    pub bytes: u64,
    /// The process of the thread, 0 where it is not known.
    pub tgid: u32,
    /// The thread that made it.
    pub tid: u32,
    /// The name of the thread, up to a zero.
    pub thread: ThreadName,
}

/// A call on a file, as the ring carries it: as much as there is of its path.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FileOutlier {
    /// What all have.
    pub record: OutlierRecord,
    /// Which file it was.
    pub path: FilePath,
}

const _: () = assert!(size_of::<FileOutlier>() == 88 + size_of::<FilePath>());

/// Frames of a wait that are told.
pub const STACK_FRAMES: usize = 64;

/// What stands in the place of a kind in an [`OutlierStack`].
pub const OUTLIER_STACK: u32 = u32::MAX;

/// The kernel stack in which a thread waited, as the ring carries it: as many frames as there are. It is of those of its requests that
/// ended while it waited, which the ring has carried before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OutlierStack {
    /// [`OUTLIER_STACK`].
    pub kind: u32,
    /// The thread.
    pub tid: u32,
    /// When the wait began, `CLOCK_MONOTONIC` ns; up to a tick too early.
    pub since_ns: u64,
    /// When it was over and the thread came back to a CPU, `CLOCK_MONOTONIC` ns.
    pub until_ns: u64,
    /// Innermost first.
    pub frames: [u64; STACK_FRAMES],
}

const _: () = assert!(size_of::<OutlierStack>() == 24 + 8 * STACK_FRAMES);

/// `task_struct.comm`, in two words so that it is copied by two loads.
pub type ThreadName = [u64; 2];

const _: () = assert!(size_of::<OutlierRecord>() == 88);

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gate sends of operations that take so long, all in one second.
    fn sent(
        gate: &mut OutlierGate,
        second: u64,
        times: impl Iterator<Item = u64>,
    ) -> std::vec::Vec<u64> {
        let now_ns = second * WINDOW_NS + 5;
        times
            .filter(|&took_ns| {
                !gate.is_shut(now_ns, took_ns) && gate.admit(now_ns, took_ns, 0) == Admission::Sent
            })
            .collect()
    }

    extern crate std;

    /// A permutation of `1..n`.
    fn shuffled(n: u64) -> impl Iterator<Item = u64> {
        (1..n).map(move |i| i * 7_919 % n)
    }

    #[test]
    fn the_slowest_are_sent_whatever_their_order() {
        const N: u64 = 100_003;
        let mut gate = OutlierGate::NEW;
        let sent = sent(&mut gate, 3, shuffled(N));
        let slowest = N - OUTLIERS_PER_SECOND as u64..N;
        assert!(slowest.clone().all(|took_ns| sent.contains(&took_ns)), "{sent:?}");
        assert!(sent.len() < 250, "{} of {N} were sent", sent.len());
        let mut kept = gate.slowest_ns;
        kept.sort_unstable();
        assert!(kept.iter().copied().eq(slowest));
    }

    #[test]
    fn each_second_begins_anew() {
        let mut gate = OutlierGate::NEW;
        assert_eq!(sent(&mut gate, 1, std::iter::repeat_n(1_000, 100)).len(), OUTLIERS_PER_SECOND);
        assert_eq!(sent(&mut gate, 1, std::iter::repeat_n(1_000, 100)).len(), 0);
        assert_eq!(sent(&mut gate, 2, std::iter::repeat_n(10, 100)).len(), OUTLIERS_PER_SECOND);
    }

    #[test]
    fn the_floor_and_the_bound_hold() {
        let mut gate = OutlierGate::NEW;
        assert_eq!(gate.admit(7, 1_000_000, 1_000_000), Admission::Refused);
        assert!(gate.is_shut(8, 1_000_000));
        assert_eq!(gate.admit(8, 1_000_001, 1_000_000), Admission::Sent);
        // Ever slower ones: each is the slowest so far.
        let rising =
            (0..MAX_SENT_PER_SECOND as u64 + 3).map(|i| gate.admit(9, 2_000_000 + i, 1_000_000));
        let rising: std::vec::Vec<_> = rising.collect();
        assert_eq!(rising.iter().filter(|a| **a == Admission::TooMany).count(), 4);
        assert_eq!(gate.admit(WINDOW_NS, 1_000_001, 1_000_000), Admission::Sent);
    }
}
