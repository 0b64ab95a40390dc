//! One slot of the `tcp` family between two readings.

use monitor_common::tcp::{STATES, SlotTcp, SlotTcpLatency, TcpCounter, TcpLatency};

use crate::{
    metric::lanes::{EMPTY, Gained, Lanes},
    probe::Probes,
};

/// What a slot was when it was last read.
#[derive(Default)]
pub(super) struct Slot {
    record: SlotTcp,
    latencies: Lanes<{ TcpLatency::COUNT }>,
}

/// What a slot did between two readings.
#[derive(Default)]
pub(super) struct Delta {
    pub counters: [u64; TcpCounter::COUNT],
    pub latencies: Gained<{ TcpLatency::COUNT }>,
}

impl Slot {
    /// Reads it: what is counted while we read is counted the next time, never twice.
    pub fn advance(&mut self, probes: &Probes, slot: u32) -> Delta {
        let record = read(probes, slot);
        if record == self.record {
            return Delta::default();
        }
        let before = std::mem::replace(&mut self.record, record).counters;
        let mut delta = Delta { counters: record.counters, ..Delta::default() };
        delta.counters.iter_mut().zip(before).for_each(|(now, was)| *now = now.saturating_sub(was));
        let lanes = probes.tunables.block_lanes;
        let records = (slot * lanes..(slot + 1) * lanes)
            .map(|place| probes.tcp.latencies.read(place as usize));
        delta.latencies = self.latencies.advance(records, |record| &record.histograms);
        delta
    }

    /// Whether anything ever happened in it.
    pub fn is_used(&self) -> bool {
        self.record != SlotTcp::default()
    }

    /// Sockets now, by state. A socket that was counted in a slot of a cgroup that is gone since leaves it unseen.
    pub fn states(&self) -> [u64; STATES] {
        self.record.states.map(|sockets| (sockets as i64).max(0) as u64)
    }
}

fn read(probes: &Probes, slot: u32) -> SlotTcp {
    let cpus = probes.tunables.cpus;
    let mut sum = SlotTcp::default();
    for cpu in 0..cpus {
        let record = probes.tcp.counters.read((slot * cpus + cpu) as usize);
        sum.counters.iter_mut().zip(record.counters).for_each(|(a, b)| *a = a.wrapping_add(b));
        sum.states.iter_mut().zip(record.states).for_each(|(a, b)| *a = a.wrapping_add(b));
    }
    sum
}

/// Zeroes the records of a slot that nobody finds any more.
pub(super) fn zero(probes: &Probes, slot: u32) {
    let (cpus, lanes) = (probes.tunables.cpus, probes.tunables.block_lanes);
    for cpu in 0..cpus {
        probes.tcp.counters.write((slot * cpus + cpu) as usize, SlotTcp::default());
    }
    for lane in 0..lanes {
        let empty = SlotTcpLatency { histograms: [EMPTY; TcpLatency::COUNT] };
        probes.tcp.latencies.write((slot * lanes + lane) as usize, empty);
    }
}
