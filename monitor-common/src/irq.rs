//! Records of the `irq` family: hard handlers and softirqs, by CPU and vector, and by the cgroup of the thread they interrupted.
//!
//! Contract: a hard handler runs with interrupts off, and softirqs do not nest on a CPU. What hard handlers write and what softirqs
//! write are numbers of their own, so additions are plain.

/// How many kinds of softirq there are.
pub const SOFTIRQS: usize = 10;

/// Their names, in the kernel's order, as values of the label `kind`.
pub const SOFTIRQ_NAMES: [&str; SOFTIRQS] =
    ["hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"];

/// Kinds of interruption: hard handlers, then each softirq.
pub const IRQ_KINDS: usize = 1 + SOFTIRQS;

/// The kind of a hard handler.
pub const KIND_HARD: usize = 0;

/// Records of each CPU: softirqs, then interrupt lines by number, then one for lines of higher numbers.
pub const VECTORS_PER_CPU: u32 = 2_048;

/// Lines that have a record of their own.
pub const LINES: u32 = VECTORS_PER_CPU - SOFTIRQS as u32 - 1;

/// The record of an interrupt line.
pub const fn line_index(line: u32) -> u32 {
    SOFTIRQS as u32 + if line < LINES { line } else { LINES }
}

/// What is counted of a vector on a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqVector {
    /// Handlers that ended.
    pub count: u64,
    /// How long they took, ns.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<IrqVector>() == 16);

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotIrq {
    /// Handlers that ended in the time of its threads, by kind.
    pub counts: [u64; IRQ_KINDS],
    /// How long they took, ns.
    pub time_ns: [u64; IRQ_KINDS],
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 2],
}

const _: () = assert!(size_of::<SlotIrq>() == 192);

/// What runs on a CPU now.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct IrqCpu {
    /// When the hard handler began, `CLOCK_MONOTONIC` ns; 0 when none runs.
    pub hard_since_ns: u64,
    /// The same of the softirq.
    pub soft_since_ns: u64,
    /// Time in hard handlers so far.
    pub hard_ns: u64,
    /// What that was when the softirq began: what a hard handler takes in the middle of a softirq is not the softirq's.
    pub hard_before_ns: u64,
    /// Explicit padding to a cache line.
    pub padding: [u64; 4],
}

const _: () = assert!(size_of::<IrqCpu>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_record_of_its_cpu() {
        assert_eq!(line_index(0), SOFTIRQS as u32);
        assert_eq!(line_index(LINES - 1), VECTORS_PER_CPU - 2);
        assert_eq!(line_index(LINES), VECTORS_PER_CPU - 1);
        assert_eq!(line_index(u32::MAX), VECTORS_PER_CPU - 1);
    }
}
