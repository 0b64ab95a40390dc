//! Distributions that the kernel half keeps in lanes, between two readings: what each gained, and the totals it goes to.
//!
//! Contract: what is counted while we read is counted the next time, never twice. Counts wrap, and lose nothing by it.

use std::{array, mem, sync::Arc};

use monitor_common::bucket::{self, RawHistogram};

use super::{Histogram, add_lane};

/// Nothing yet.
pub const EMPTY: RawHistogram = RawHistogram { sum_ns: 0, counts: [0; bucket::COUNT] };

/// Each distribution, over all lanes, as it was last read.
pub struct Lanes<const N: usize>(Box<[RawHistogram; N]>);

/// What each distribution gained; `None` where nothing was added.
pub type Gained<const N: usize> = [Option<Histogram>; N];

/// What was gained so far; made with the first value, as most containers have values in few.
pub type Total<const N: usize> = [Option<Arc<Histogram>>; N];

impl<const N: usize> Default for Lanes<N> {
    fn default() -> Self {
        Self(Box::new([EMPTY; N]))
    }
}

impl<const N: usize> Lanes<N> {
    /// Reads the record of each lane, whose `histograms` are in the order of the distributions.
    pub fn advance<R>(
        &mut self,
        records: impl Iterator<Item = R>,
        histograms: impl Fn(&R) -> &[RawHistogram],
    ) -> Gained<N> {
        let mut sums = Box::new([EMPTY; N]);
        for record in records {
            for (sum, lane) in sums.iter_mut().zip(histograms(&record)) {
                add_lane(sum, lane);
            }
        }
        let before = mem::replace(&mut self.0, sums);
        array::from_fn(|i| {
            let (now, before) = (&self.0[i], &before[i]);
            (now != before).then(|| Histogram::between(now, before))
        })
    }
}

/// Adds what was gained to what was before.
pub fn add<const N: usize>(total: &mut Total<N>, gained: &Gained<N>) {
    for (total, gained) in total.iter_mut().zip(gained) {
        add_one(total, gained.as_ref());
    }
}

/// The same of one distribution.
pub fn add_one(total: &mut Option<Arc<Histogram>>, gained: Option<&Histogram>) {
    if let Some(gained) = gained {
        Arc::make_mut(total.get_or_insert_default()).merge(gained);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(values: &[u64]) -> RawHistogram {
        let mut raw = EMPTY;
        for &value in values {
            raw.counts[bucket::index(value)] += 1;
            raw.sum_ns += value;
        }
        raw
    }

    #[test]
    fn each_reading_gives_what_came_since_the_last_over_all_lanes() {
        let mut lanes = Lanes::<2>::default();
        let mut total = Total::<2>::default();
        let mut read = |records: [[RawHistogram; 2]; 2]| {
            let gained = lanes.advance(records.into_iter(), |record| record);
            add(&mut total, &gained);
            gained.map(|gained| gained.map(|gained| (gained.count(), gained.sum_ns)))
        };
        assert_eq!(read([[EMPTY; 2]; 2]), [None, None]);
        let both = [[raw(&[100]), EMPTY], [raw(&[5_000]), EMPTY]];
        assert_eq!(read(both), [Some((2, 5_100)), None]);
        assert_eq!(read(both), [None, None]);
        let more = [[raw(&[100, 70]), raw(&[9])], [raw(&[5_000]), EMPTY]];
        assert_eq!(read(more), [Some((1, 70)), Some((1, 9))]);
        let total = total.map(|total| total.map(|total| (total.count(), total.sum_ns)));
        assert_eq!(total, [Some((3, 5_170)), Some((1, 9))]);
    }

    #[test]
    fn counts_that_wrap_lose_nothing() {
        let index = bucket::index(5_000);
        let mut before = EMPTY;
        before.counts[index] = u32::MAX;
        let mut lanes = Lanes::<1>::default();
        lanes.advance([[before]].into_iter(), |record| record);
        let mut now = before;
        now.counts[index] = now.counts[index].wrapping_add(3);
        now.sum_ns += 15_000;
        let [Some(gained)] = lanes.advance([[now]].into_iter(), |record| record) else {
            panic!("three values were added")
        };
        assert_eq!((gained.count(), gained.count_in(index), gained.sum_ns), (3, 3, 15_000));
    }
}
