//! Stacks of events with a weight of their own: bytes of I/O, faults, memory, time at locks, bytes sent.
//!
//! Contract: an event is sent with its own weight as long as a CPU has no more than [`SENT_PER_WINDOW`] of them to send. Where there are
//! more, those that are smaller than a stratum are drawn in proportion to their weight (see [`crate::line`]) and sent with the length
//! of the stratum, which grows until the rest is few enough. So the weights add up to what happened, but for one stratum a CPU.

use crate::{
    line::{Line, MAX_STRATUM},
    offcpu::WINDOW_NS,
};

/// What is recorded.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightKind {
    /// Bytes of block I/O, where they are asked for.
    Block,
    /// Page faults.
    Fault,
    /// Bytes by which resident memory grows.
    Memory,
    /// Nanoseconds of waiting for locks of the kernel.
    Lock,
    /// Bytes sent by TCP and UDP.
    Network,
    /// Nanoseconds of the waits that a wake-up ends. Its samples do not say so in [`weight_word`]: see [`crate::wakeup`].
    Wakeup,
}

impl WeightKind {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Block, Self::Fault, Self::Memory, Self::Lock, Self::Network, Self::Wakeup];
}

/// What an event is, more closely.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightDetail {
    /// A read of a block device.
    DiskRead,
    /// A write.
    DiskWrite,
    /// A write that a thread of the kernel asks for, for somebody who wrote before.
    DiskWriteback,
    /// Discards and the like.
    DiskOther,
    /// A fault settled from memory.
    FaultMinor,
    /// A fault that waited for a disk.
    FaultMajor,
    /// Pages of files.
    MemoryFile,
    /// Memory of the process itself.
    MemoryAnonymous,
    /// Shared memory and tmpfs.
    MemoryShared,
    /// A lock that is waited for on the CPU.
    LockSpin,
    /// A mutex.
    LockMutex,
    /// A lock for readers and writers that sleeps.
    LockReadWrite,
    /// Another one.
    LockOther,
    /// TCP.
    NetworkTcp,
    /// UDP.
    NetworkUdp,
}

impl WeightDetail {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::DiskRead,
        Self::DiskWrite,
        Self::DiskWriteback,
        Self::DiskOther,
        Self::FaultMinor,
        Self::FaultMajor,
        Self::MemoryFile,
        Self::MemoryAnonymous,
        Self::MemoryShared,
        Self::LockSpin,
        Self::LockMutex,
        Self::LockReadWrite,
        Self::LockOther,
        Self::NetworkTcp,
        Self::NetworkUdp,
    ];

    /// In graphs, as the states of waits are.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiskRead => "disk.read",
            Self::DiskWrite => "disk.write",
            Self::DiskWriteback => "disk.writeback",
            Self::DiskOther => "disk.other",
            Self::FaultMinor => "fault.minor",
            Self::FaultMajor => "fault.major",
            Self::MemoryFile => "memory.file",
            Self::MemoryAnonymous => "memory.anonymous",
            Self::MemoryShared => "memory.shared",
            Self::LockSpin => "lock.spin",
            Self::LockMutex => "lock.mutex",
            Self::LockReadWrite => "lock.read_write",
            Self::LockOther => "lock.other",
            Self::NetworkTcp => "network.tcp",
            Self::NetworkUdp => "network.udp",
        }
    }
}

/// Set in the word of a sample that stands for more than its own event.
pub(crate) const IS_DRAWN: u32 = 1 << 9;
const KIND_SHIFT: u32 = 16;
const DETAIL_SHIFT: u32 = 24;

/// What the word `wait` of a [`crate::stack::StackHeader`] holds of such an event: its low 9 bits are those of waits, and 0 here.
pub const fn weight_word(kind: WeightKind, detail: WeightDetail, is_drawn: bool) -> u32 {
    let drawn = if is_drawn { IS_DRAWN } else { 0 };
    (kind as u32 + 1) << KIND_SHIFT | (detail as u32) << DETAIL_SHIFT | drawn
}

/// What such a word says: kind, detail, and whether it was drawn. `None` for samples of the CPU clock and waits.
pub fn weighed_in(word: u32) -> Option<(WeightKind, WeightDetail, bool)> {
    let kind = (word >> KIND_SHIFT & 0xff).checked_sub(1)?;
    let detail = *WeightDetail::ALL.get((word >> DETAIL_SHIFT) as usize)?;
    Some((*WeightKind::ALL.get(kind as usize)?, detail, word & IS_DRAWN != 0))
}

/// Events that are sent in a window and CPU that are not too many: 5,000 a second. At 3 us each 1.5 % of the CPU.
pub const SENT_PER_WINDOW: u32 = 50;

/// What one CPU goes by for one kind, and what it has lost since the start.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct WeightDraw {
    /// On which events are laid once there are too many.
    pub line: Line,
    /// When the window began, ns.
    pub window_ns: u64,
    /// Weight of the events in it.
    pub laid: u64,
    /// Weight that found no room in the ring, or no place to put a stack together.
    pub lost_weight: u64,
    /// How many events carried it.
    pub lost: u64,
    /// Events sent in the window.
    pub sent: u32,
    /// Explicit padding to whole cache lines.
    pub padding: [u32; 15],
}

const _: () = assert!(size_of::<WeightDraw>() == 128);

impl WeightDraw {
    /// The weight that an event is sent with: 0 if it is not drawn.
    #[inline(always)]
    pub fn weigh(&mut self, weight: u64, random: impl Fn() -> u32) -> u64 {
        self.laid += weight;
        let stratum = self.line.stratum_or(1);
        let next = if self.line.next == 0 { 1 } else { self.line.next };
        // While the stratum is to change, everything is laid, so that this one ends.
        if weight >= stratum && stratum == next {
            return weight;
        }
        self.line.draw(weight, 1, random)
    }

    /// Sends more or less from now on, by what was sent in the last window. A rush does not wait for its end.
    #[inline(always)]
    pub fn settle(&mut self, now_ns: u64, sent_max: u32) {
        let is_over = now_ns.wrapping_sub(self.window_ns) >= WINDOW_NS;
        if !is_over && self.sent < 4 * sent_max {
            return;
        }
        let stratum = if self.line.next == 0 { 1 } else { self.line.next };
        if self.sent > sent_max {
            // Of as much again half as many would be drawn as may be.
            let wanted = self.laid * 2 / (u64::from(sent_max) | 1);
            let longer = if wanted > stratum * 2 { wanted } else { stratum * 2 };
            self.line.next = if longer > MAX_STRATUM { MAX_STRATUM } else { longer };
        } else if self.sent < sent_max / 3 && stratum > 1 {
            self.line.next = stratum / 2;
        }
        self.window_ns = now_ns;
        self.laid = 0;
        self.sent = 0;
    }
}

/// Since when somebody waits for a lock, by [`LockKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockWait {
    /// `CLOCK_MONOTONIC` ns.
    pub since_ns: u64,
    /// A [`WeightDetail`].
    pub detail: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Who waits for what: one waits for one lock at a time, but for those that interrupts take.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockKey {
    /// Its address.
    pub lock: u64,
    /// The thread.
    pub tid: u64,
}

/// Threads that wait for locks of the kernel at once.
pub const MAX_LOCK_WAITS: u32 = 16_384;

/// What was last seen of one kind of memory of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Bytes.
    pub bytes: u64,
    /// The kernel's number for the address space, another one after an exec.
    pub space: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// Processes, three kinds each, whose memory is followed at once.
pub const MAX_RESIDENT: u32 = 49_152;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{line::Numbers, offcpu};

    const FRESH: WeightDraw = WeightDraw {
        line: Line::NEW,
        window_ns: 0,
        laid: 0,
        lost_weight: 0,
        lost: 0,
        sent: 0,
        padding: [0; 15],
    };

    #[test]
    fn words_are_read_back_and_are_no_waits() {
        for kind in WeightKind::ALL {
            for detail in WeightDetail::ALL {
                for is_drawn in [false, true] {
                    let word = weight_word(kind, detail, is_drawn);
                    assert_eq!(weighed_in(word), Some((kind, detail, is_drawn)));
                    assert_eq!(offcpu::waited_in(word), None);
                }
            }
        }
        assert_eq!(weighed_in(0), None);
        assert_eq!(weighed_in(offcpu::wait_word(3, true)), None);
    }

    /// Sends what is drawn of events that come `gap_ns` after each other, and gives the sum of their weights and how many they were.
    fn run(draw: &mut WeightDraw, weights: impl Iterator<Item = u64>, gap_ns: u64) -> (u64, u64) {
        let numbers = Numbers::from(2_463_534_242);
        let (mut sum, mut sent) = (0, 0);
        for (turn, weight) in weights.enumerate() {
            draw.settle(WINDOW_NS + turn as u64 * gap_ns, SENT_PER_WINDOW);
            let weighed = draw.weigh(weight, || numbers.next());
            if weighed > 0 {
                draw.sent += 1;
                (sum, sent) = (sum + weighed, sent + 1);
            }
        }
        (sum, sent)
    }

    #[test]
    fn a_few_are_all_sent_as_they_are() {
        let mut draw = FRESH;
        // 1,000 a second.
        let (sum, sent) = run(&mut draw, (0..5_000).map(|i| 1 + i % 7), 1_000_000);
        assert_eq!((sum, sent), ((0..5_000).map(|i| 1 + i % 7).sum(), 5_000));
    }

    #[test]
    fn of_many_some_are_sent_and_add_up() {
        let mut draw = FRESH;
        // A million a second, each of a weight of one.
        let (sum, sent) = run(&mut draw, (0..1_000_000).map(|_| 1), 1_000);
        assert!(sum.abs_diff(1_000_000) <= 2 * MAX_STRATUM.min(draw.line.next), "{sum}");
        assert!(sent < 8_000, "{sent} in a second");
        // Later, a few again: once the stratum that had begun is at its end, each is sent.
        let begun = draw.line.stratum;
        let (sum, sent) = run(&mut draw, (0..begun).map(|_| 1), 20_000_000);
        assert!(sum <= 2 * begun, "{sum}");
        let (_, last) = run(&mut draw, (0..100).map(|_| 1), 20_000_000);
        assert_eq!(last, 100, "after {sent} of {begun}, which weighed {sum}");
    }

    /// Large and small: the large ones keep their own weight, the small ones their share.
    #[test]
    fn what_is_large_is_sent_as_it_is() {
        let mut draw = FRESH;
        let of = |i: u64| if i.is_multiple_of(1000) { 1 << 20 } else { 64 };
        let (sum, _) = run(&mut draw, (0..1_000_000).map(of), 1_000);
        let all: u64 = (0..1_000_000).map(of).sum();
        assert!(sum.abs_diff(all) <= 4 * draw.line.stratum.max(draw.line.next), "{sum} of {all}");
    }
}
