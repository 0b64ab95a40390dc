//! For whose requests a container's requests waited in the queue of each disk.
//!
//! Contract: with `none`, what of the wait nobody's request was finished in, the culprits of a container and disk sum to the time
//! its requests were queued there. A wait is charged when a request is issued, its queue time is known when it is done: until then `none` waits.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use monitor_common::block::{PAIR_OVERFLOW, QueueWait};

use super::{descriptor::WAITED_FOR, device::Device};
use crate::{
    container::{Accounts, Culprits},
    metric::{Sample, Subject, Value},
};

/// The culprit of a wait in which no request was finished.
const NONE: &str = "none";

/// Reads them.
#[derive(Default)]
pub(super) struct Waits {
    before: HashMap<QueueWait, u64>,
    accounts: Accounts<BTreeMap<Device, OnDisk>>,
}

/// The waits of a container on a disk.
#[derive(Debug, Default)]
struct OnDisk {
    culprits: Culprits,
    /// What was published as nobody's, which never steps back.
    none_ns: u64,
}

impl Waits {
    /// Adds what was waited since the last reading; `of` gives whose a pair is and on which disk, `None` while that may still come.
    pub fn advance(
        &mut self,
        sums: impl Iterator<Item = (QueueWait, u64)>,
        of: impl Fn(u32) -> Option<(Arc<str>, Device)>,
        nobody: &Arc<str>,
        now: Instant,
    ) {
        for (wait, sum_ns) in sums {
            let before_ns = self.before.get(&wait).copied().unwrap_or(0);
            let Some((waiter, device)) = of(wait.waiter).filter(|_| sum_ns > before_ns) else {
                continue;
            };
            let culprit = match wait.culprit {
                PAIR_OVERFLOW => Some(Arc::clone(nobody)),
                pair => of(pair).map(|(owner, _)| owner),
            };
            let Some(culprit) = culprit else { continue };
            self.before.insert(wait, sum_ns);
            let on_disk = self.accounts.of(&waiter, now).entry(device).or_default();
            on_disk.culprits.add(culprit, sum_ns - before_ns, now);
        }
    }

    /// Forgets a pair.
    pub fn forget(&mut self, pair: u32) {
        self.before.retain(|wait, _| wait.waiter != pair && wait.culprit != pair);
    }

    /// Shows whom each container waited for; `queued_ns` is how long its requests were queued, `name` the name of a disk.
    pub fn show(
        &mut self,
        now: Instant,
        queued: impl Iterator<Item = (Arc<str>, Device, u64)>,
        name: impl Fn(Device) -> Cow<'static, str>,
        samples: &mut Vec<Sample>,
    ) {
        for (owner, device, queued_ns) in queued {
            let on_disk = self.accounts.of(&owner, now).entry(device).or_default();
            on_disk.culprits.forget_old(now);
            let charged_ns: u64 = on_disk.culprits.iter().map(|(_, ns)| ns).sum();
            on_disk.none_ns = on_disk.none_ns.max(queued_ns.saturating_sub(charged_ns));
            let none: Arc<str> = NONE.into();
            let of_none = (on_disk.none_ns > 0).then_some((&none, on_disk.none_ns));
            samples.extend(on_disk.culprits.iter().chain(of_none).map(|(id, waited_ns)| Sample {
                metric: &WAITED_FOR,
                subject: Subject::Container(Arc::clone(&owner)),
                labels: [name(device), Cow::Owned(id.to_string())].into(),
                value: Value::Counter(waited_ns),
            }));
        }
        self.accounts.expire(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Device = Device(7 << 20);

    fn shown(waits: &mut Waits, queued_ns: u64) -> Vec<(String, u64)> {
        let mut samples = Vec::new();
        let queued = [(Arc::from("reader"), DISK, queued_ns)].into_iter();
        waits.show(Instant::now(), queued, |_| "loop0".into(), &mut samples);
        let of = |sample: &Sample| match sample.value {
            Value::Counter(ns) => (sample.labels[1].to_string(), ns),
            _ => unreachable!(),
        };
        samples.iter().map(of).collect()
    }

    #[test]
    fn whom_one_waited_for_sums_to_the_time_in_the_queue() {
        let mut waits = Waits::default();
        let of = |pair: u32| {
            let owner = match pair {
                1 => "reader",
                2 => "writer",
                _ => return None,
            };
            Some((Arc::from(owner), DISK))
        };
        let wait = |culprit, ns| (QueueWait { waiter: 1, culprit }, ns);
        let sums = [wait(2, 70), wait(1, 20), wait(9, 5), wait(PAIR_OVERFLOW, 3)];
        for _ in 0..2 {
            waits.advance(sums.into_iter(), of, &"unattributed".into(), Instant::now());
        }
        let expected = [("reader", 20), ("unattributed", 3), ("writer", 70), ("none", 7)];
        assert_eq!(shown(&mut waits, 100), expected.map(|(id, ns)| (id.to_owned(), ns)));
        // Whose the ninth is was not known: it waits for its name as nobody's, and is counted once.
        assert_eq!(shown(&mut waits, 100).iter().map(|(_, ns)| ns).sum::<u64>(), 100);
    }
}
