//! `/proc/softirqs`: softirqs by kind, summed over CPUs.
//!
//! Contract: the kernel counts each CPU's in 32 bits; their wrapping is followed here, so a total never steps back.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{Label, SOFTIRQS, counter},
    source::Measure,
};
use crate::metric::Sample;

/// The kernel's names and ours.
const KINDS: [(&str, &str); 10] = [
    ("HI", "hi"),
    ("TIMER", "timer"),
    ("NET_TX", "net_tx"),
    ("NET_RX", "net_rx"),
    ("BLOCK", "block"),
    ("IRQ_POLL", "irq_poll"),
    ("TASKLET", "tasklet"),
    ("SCHED", "sched"),
    ("HRTIMER", "hrtimer"),
    ("RCU", "rcu"),
];

/// Reads the file.
pub(super) struct Softirqs {
    file: ProcFile,
    totals: [Total; KINDS.len()],
}

/// One kind so far.
#[derive(Default)]
struct Total {
    /// As last read, by column.
    before: Vec<u32>,
    total: u64,
}

impl Softirqs {
    pub fn new(proc: &Path) -> Self {
        let file = ProcFile::new(proc.join("softirqs"), "it needs kernel >= 2.6.31");
        Self { file, totals: Default::default() }
    }
}

impl Measure for Softirqs {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let mut is_empty = true;
        for line in self.file.read()?.lines() {
            let Some((name, counts)) = line.trim_start().split_once(':') else { continue };
            // A kind that a future kernel adds is left out rather than guessed at.
            let Some(i) = KINDS.iter().position(|(kind, _)| *kind == name) else { continue };
            let total = &mut self.totals[i];
            total.add(counts);
            is_empty = false;
            samples.push(counter(&SOFTIRQS, [Label::Borrowed(KINDS[i].1)], total.total));
        }
        if is_empty {
            return Err(self.file.malformed("line such as `TIMER: 1 2`"));
        }
        Ok(())
    }
}

impl Total {
    /// Adds what came since the last reading, column by column.
    fn add(&mut self, counts: &str) {
        let counts = counts.split_ascii_whitespace().map_while(|count| count.parse::<u32>().ok());
        for (column, count) in counts.enumerate() {
            if column == self.before.len() {
                self.before.push(0);
            }
            self.total += u64::from(count.wrapping_sub(self.before[column]));
            self.before[column] = count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_count_goes_on() {
        let mut total = Total::default();
        total.add("   4294967290  10");
        assert_eq!(total.total, 4_294_967_300);
        total.add("   4  11");
        assert_eq!(total.total, 4_294_967_311);
    }
}
