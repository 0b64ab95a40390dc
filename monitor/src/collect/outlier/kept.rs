//! The slowest operations of one kind, by second.

use std::{collections::VecDeque, sync::Arc};

use monitor_common::outlier::{OUTLIERS_PER_SECOND, OutlierRecord, WINDOW_NS};

use super::KEPT;
use crate::metric::WallTimeNs;

/// An operation with what is looked up when it comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub record: OutlierRecord,
    /// When it ended.
    pub at: WallTimeNs,
    /// The name of its device then.
    pub device: Option<Arc<str>>,
    /// The path of its file then.
    pub file: Option<Box<str>>,
    /// The kernel stack in which its thread waited for it, innermost first.
    pub stack: Option<Arc<[u64]>>,
}

/// How long an operation took, from the first instant that is known, ns.
pub(super) fn took_ns(record: &OutlierRecord) -> u64 {
    let began_ns = if record.began_ns != 0 { record.began_ns } else { record.issued_ns };
    record.ended_ns.saturating_sub(began_ns)
}

/// The slowest of each second, oldest second first.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    seconds: VecDeque<(u64, Vec<Kept>)>,
}

impl Seconds {
    /// Whether an operation is among the slowest of its second so far.
    pub fn is_one(&self, record: &OutlierRecord) -> bool {
        let number = record.ended_ns / WINDOW_NS;
        let oldest = self.seconds.back().map_or(0, |(newest, _)| oldest(*newest));
        let second = self.seconds.iter().rev().find(|(n, _)| *n == number);
        number >= oldest
            && second.is_none_or(|(_, slowest)| {
                slowest.len() < OUTLIERS_PER_SECOND
                    || slowest.iter().any(|kept| took_ns(&kept.record) < took_ns(record))
            })
    }

    /// Adds one that is; who is no more goes.
    pub fn add(&mut self, kept: Kept) {
        let number = kept.record.ended_ns / WINDOW_NS;
        // CPUs send in no order, but about the same second.
        let after = self.seconds.iter().rposition(|(n, _)| *n <= number).map_or(0, |i| i + 1);
        let is_there = after > 0 && self.seconds[after - 1].0 == number;
        let place = if is_there { after - 1 } else { after };
        if !is_there {
            self.seconds.insert(place, (number, Vec::with_capacity(1)));
        }
        let slowest = &mut self.seconds[place].1;
        if slowest.len() == OUTLIERS_PER_SECOND {
            let fastest = slowest.iter().enumerate().min_by_key(|(_, kept)| took_ns(&kept.record));
            if let Some((fastest, _)) = fastest {
                slowest.swap_remove(fastest);
            }
        }
        slowest.push(kept);
        let newest = self.seconds.back().map_or(number, |(newest, _)| *newest);
        while self.seconds.front().is_some_and(|(first, _)| *first < oldest(newest)) {
            self.seconds.pop_front();
        }
    }

    /// Notes the stack in which a thread waited for those of its requests that ended between two instants, `CLOCK_MONOTONIC` ns.
    pub fn add_stack(&mut self, tid: u32, since_ns: u64, until_ns: u64, stack: &Arc<[u64]>) {
        let seconds = self.seconds.iter_mut().rev();
        let seconds = seconds.take_while(|(n, _)| (n + 1) * WINDOW_NS > since_ns);
        for kept in seconds.flat_map(|(_, slowest)| slowest) {
            let is_waited_for = (since_ns..=until_ns).contains(&kept.record.ended_ns);
            if kept.record.tid == tid && is_waited_for && kept.stack.is_none() {
                kept.stack = Some(Arc::clone(stack));
            }
        }
    }

    /// Those that ended then or later, `CLOCK_MONOTONIC` ns.
    pub fn since(&self, since_ns: u64) -> impl Iterator<Item = &Kept> {
        let kept =
            self.seconds.iter().rev().take_while(move |(n, _)| (n + 1) * WINDOW_NS > since_ns);
        kept.flat_map(|(_, slowest)| slowest).filter(move |kept| kept.record.ended_ns >= since_ns)
    }
}

/// The oldest second that is kept beside the newest.
fn oldest(newest: u64) -> u64 {
    newest.saturating_sub(KEPT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(ended_ns: u64, took_ns: u64) -> Kept {
        let record =
            OutlierRecord { ended_ns, began_ns: ended_ns - took_ns, ..OutlierRecord::default() };
        Kept { record, at: WallTimeNs(ended_ns), device: None, file: None, stack: None }
    }

    fn offer(seconds: &mut Seconds, kept: Kept) {
        if seconds.is_one(&kept.record) {
            seconds.add(kept);
        }
    }

    fn times(seconds: &Seconds, since_ns: u64) -> Vec<u64> {
        let mut times: Vec<_> = seconds.since(since_ns).map(|kept| took_ns(&kept.record)).collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn each_second_keeps_its_own_slowest() {
        let mut seconds = Seconds::default();
        let at = |second: u64, i: u64| second * WINDOW_NS + i;
        // Two CPUs: one is a second behind, and in no order.
        for i in 0..100 {
            offer(&mut seconds, operation(at(8, i), 1_000 + i * 37 % 100));
            offer(&mut seconds, operation(at(7, i), 5_000 + i * 37 % 100));
        }
        offer(&mut seconds, operation(at(5, 0), 3));
        let slowest_of_8 = 1_100 - OUTLIERS_PER_SECOND as u64..1_100;
        assert!(times(&seconds, at(8, 0)).into_iter().eq(slowest_of_8));
        assert_eq!(times(&seconds, 0).len(), 2 * OUTLIERS_PER_SECOND + 1);
        let numbers: Vec<_> = seconds.seconds.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [5, 7, 8]);
    }

    #[test]
    fn a_wait_is_for_what_ended_in_it() {
        let mut seconds = Seconds::default();
        for ended_ns in [100, 200, WINDOW_NS + 10, WINDOW_NS + 20] {
            let mut kept = operation(ended_ns, 50);
            kept.record.tid = if ended_ns == 200 { 8 } else { 7 };
            offer(&mut seconds, kept);
        }
        let stack: Arc<[u64]> = Arc::new([1, 2]);
        seconds.add_stack(7, 90, WINDOW_NS + 15, &stack);
        // A later wait takes nothing away.
        seconds.add_stack(7, 90, WINDOW_NS + 12, &Arc::from([3]));
        let mut with: Vec<_> = seconds.since(0).filter(|kept| kept.stack.is_some()).collect();
        with.sort_by_key(|kept| kept.record.ended_ns);
        let ends: Vec<_> = with.iter().map(|kept| kept.record.ended_ns).collect();
        assert_eq!(ends, [100, WINDOW_NS + 10], "of another thread, and after the wait: none");
        assert!(with.iter().all(|kept| kept.stack.as_ref() == Some(&stack)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut seconds = Seconds::default();
        for second in 1..3_000 {
            for i in 0..40 {
                offer(&mut seconds, operation(second * WINDOW_NS + i, 100 + i));
            }
        }
        assert_eq!(seconds.seconds.len() as u64, KEPT.as_secs() + 1);
        // What is older than all that is kept is not let in again.
        offer(&mut seconds, operation(WINDOW_NS, 1_000_000));
        assert_eq!(seconds.seconds.len() as u64, KEPT.as_secs() + 1);
    }
}
