//! Waits to what they weigh in a window: a wait that began before it or lasts beyond it counts with the part in between.

use std::collections::HashSet;

use crate::{kernel::ids::Tid, metric::KtimeNs, probe::StackRecord};

/// From when to when waits count.
pub struct WaitWindow {
    began: KtimeNs,
    /// Once it is closed.
    ended: Option<KtimeNs>,
    /// Threads that waited as it was closed.
    still: HashSet<Tid>,
}

impl WaitWindow {
    /// One that begins at an instant, and is open.
    pub fn from(began: KtimeNs) -> Self {
        Self { began, ended: None, still: HashSet::new() }
    }

    /// It ends at an instant. From now on waits that last are expected.
    pub fn close(&mut self, ended: KtimeNs) {
        self.ended = Some(ended);
    }

    /// How much of a wait lies in the window; `None` if nothing does, or it counts already.
    pub fn part_ns(&mut self, sample: &StackRecord) -> Option<u64> {
        let (_, lasts) = sample.wait?;
        let is_closed = self.ended.is_some();
        let is_for_another = lasts && !is_closed;
        let is_known = is_closed
            && if lasts {
                !self.still.insert(sample.tid)
            } else {
                self.still.contains(&sample.tid)
            };
        if is_for_another || is_known {
            return None;
        }
        let from_ns = sample.at_ns.saturating_sub(sample.period_ns).max(self.began.0);
        let to_ns = sample.at_ns.min(self.ended.map_or(u64::MAX, |ended| ended.0));
        to_ns.checked_sub(from_ns).filter(|part_ns| *part_ns > 0)
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::{state::ThreadState, unwind::WalkEnd};

    use super::*;
    use crate::kernel::{
        cgroupfs::CgroupId,
        ids::{CpuId, Tgid},
    };

    fn wait(tid: u32, at_ns: u64, period_ns: u64, lasts: bool) -> StackRecord {
        StackRecord {
            at_ns,
            wait: Some((ThreadState::Lock, lasts)),
            weighed: None,
            woken: None,
            cgroup: CgroupId(1),
            period_ns,
            tgid: Tgid(tid),
            start_stack: 0,
            tid: Tid(tid),
            cpu: CpuId(0),
            is_kernel_thread: false,
            comm: "a".into(),
            end: WalkEnd::Complete,
            kernel: vec![],
            user: vec![],
        }
    }

    #[test]
    fn a_wait_counts_with_its_part_in_the_window() {
        let mut open = WaitWindow::from(KtimeNs(1000));
        assert_eq!(open.part_ns(&wait(1, 1900, 300, false)), Some(300));
        assert_eq!(open.part_ns(&wait(1, 1100, 300, false)), Some(100), "began before");
        assert_eq!(open.part_ns(&wait(1, 900, 300, false)), None, "ended before");
        assert_eq!(open.part_ns(&wait(1, 1900, 300, true)), None, "of the end of another window");
        let mut sample = wait(1, 1900, 300, false);
        sample.wait = None;
        assert_eq!(open.part_ns(&sample), None, "of the CPU clock");
    }

    #[test]
    fn a_wait_that_lasts_counts_once() {
        let mut closed = WaitWindow::from(KtimeNs(1000));
        closed.close(KtimeNs(2000));
        assert_eq!(closed.part_ns(&wait(1, 2100, 600, true)), Some(500));
        assert_eq!(closed.part_ns(&wait(1, 2200, 700, false)), None, "sent already");
        assert_eq!(closed.part_ns(&wait(2, 2200, 700, false)), Some(500), "ended meanwhile");
        assert_eq!(closed.part_ns(&wait(3, 2200, 100, false)), None, "began after");
    }
}
