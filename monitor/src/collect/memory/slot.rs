//! One slot of the `memory` family between two readings.

use monitor_common::{
    bucket::{self, RawHistogram},
    memory::{MemoryCounter, MemoryWait, SlotMemory, SlotMemoryWaits},
};

use crate::{
    metric::{Histogram, add_lane},
    probe::Probes,
};

const EMPTY: RawHistogram = RawHistogram { sum_ns: 0, counts: [0; bucket::COUNT] };

/// What a slot was when it was last read.
pub(super) struct Slot {
    counters: [u64; MemoryCounter::COUNT],
    /// How many waits were recorded.
    recorded: u64,
    waits: Box<[RawHistogram; MemoryWait::COUNT]>,
}

/// What a slot did between two readings.
#[derive(Default)]
pub(super) struct Delta {
    pub counters: [u64; MemoryCounter::COUNT],
    /// `None` where nothing was added.
    pub waits: [Option<Histogram>; MemoryWait::COUNT],
}

impl Delta {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counters == [0; MemoryCounter::COUNT] && self.waits.iter().all(Option::is_none)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            counters: Default::default(),
            recorded: 0,
            waits: Box::new([EMPTY; MemoryWait::COUNT]),
        }
    }
}

impl Slot {
    /// Reads it: what is counted while we read is counted the next time, never twice.
    pub fn advance(&mut self, probes: &Probes, slot: u32) -> Delta {
        let cpus = probes.tunables.cpus;
        let mut sums = [0_u64; MemoryCounter::COUNT];
        let mut recorded = 0;
        for cpu in 0..cpus {
            let record = probes.memory.counters.read((slot * cpus + cpu) as usize);
            sums.iter_mut().zip(record.counters).for_each(|(sum, count)| *sum += count);
            recorded += record.waits;
        }
        let mut delta = Delta { counters: sums, ..Delta::default() };
        delta
            .counters
            .iter_mut()
            .zip(self.counters)
            .for_each(|(n, was)| *n = n.saturating_sub(was));
        self.counters = sums;
        if std::mem::replace(&mut self.recorded, recorded) != recorded {
            self.read_waits(probes, slot, &mut delta);
        }
        delta
    }

    /// Whether anything ever happened in it.
    pub fn is_used(&self) -> bool {
        self.recorded != 0 || self.counters != [0; MemoryCounter::COUNT]
    }

    fn read_waits(&mut self, probes: &Probes, slot: u32, delta: &mut Delta) {
        let lanes = probes.tunables.block_lanes;
        let mut sums = [EMPTY; MemoryWait::COUNT];
        for lane in 0..lanes {
            let record = probes.memory.waits.read((slot * lanes + lane) as usize);
            for (sum, lane) in sums.iter_mut().zip(&record.histograms) {
                add_lane(sum, lane);
            }
        }
        for (i, (sum, before)) in sums.iter().zip(self.waits.iter_mut()).enumerate() {
            if sum != before {
                delta.waits[i] = Some(Histogram::between(sum, before));
                *before = *sum;
            }
        }
    }
}

/// Zeroes the records of a slot that nobody finds any more.
pub(super) fn zero(probes: &Probes, slot: u32) {
    let (cpus, lanes) = (probes.tunables.cpus, probes.tunables.block_lanes);
    for cpu in 0..cpus {
        probes.memory.counters.write((slot * cpus + cpu) as usize, SlotMemory::default());
    }
    for lane in 0..lanes {
        let empty = SlotMemoryWaits { histograms: [EMPTY; MemoryWait::COUNT] };
        probes.memory.waits.write((slot * lanes + lane) as usize, empty);
    }
}
