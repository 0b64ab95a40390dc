//! One slot of the `memory` family between two readings.

use monitor_common::memory::{MemoryCounter, MemoryWait, SlotMemory, SlotMemoryWaits};

use crate::{
    metric::lanes::{EMPTY, Gained, Lanes},
    probe::Probes,
};

/// What a slot was when it was last read.
#[derive(Default)]
pub(super) struct Slot {
    counters: [u64; MemoryCounter::COUNT],
    /// How many waits were recorded.
    recorded: u64,
    waits: Lanes<{ MemoryWait::COUNT }>,
}

/// What a slot did between two readings.
#[derive(Default)]
pub(super) struct Delta {
    pub counters: [u64; MemoryCounter::COUNT],
    pub waits: Gained<{ MemoryWait::COUNT }>,
}

impl Delta {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counters == [0; MemoryCounter::COUNT] && self.waits.iter().all(Option::is_none)
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
            let lanes = probes.tunables.block_lanes;
            let records = (slot * lanes..(slot + 1) * lanes)
                .map(|place| probes.memory.waits.read(place as usize));
            delta.waits = self.waits.advance(records, |record| &record.histograms);
        }
        delta
    }

    /// Whether anything ever happened in it.
    pub fn is_used(&self) -> bool {
        self.recorded != 0 || self.counters != [0; MemoryCounter::COUNT]
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
