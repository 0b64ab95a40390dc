//! Recordings of events with a weight: of which kind, and whose are wanted.
//!
//! Contract: the kernel half records a kind only while one of these recordings runs. They share it: what one asks for, another may be
//! sent as well, and takes only its own.

use std::{io, sync::Arc};

use monitor_common::weight::WeightKind;

use super::wanted::Wanted;
use crate::{
    container::Registry,
    kernel::cgroupfs::CgroupId,
    metric::KtimeNs,
    probe::{StackRecord, WeightLink, WeightSampler, WeightTotals},
    profile::{Samples, Weight},
    serve::{BackendError, Target},
};

/// What all of these recordings share.
pub(super) struct Weights {
    sampler: WeightSampler,
    kinds: [Wanted<WeightLink>; WeightKind::COUNT],
}

/// What one of them goes by.
pub(super) struct WeightSession {
    pub kind: WeightKind,
    /// When it began.
    began: KtimeNs,
    totals_before: WeightTotals,
    /// Keeps the kernel half at it.
    link: Option<Arc<WeightLink>>,
}

impl Weights {
    pub fn new(sampler: WeightSampler) -> Self {
        Self { sampler, kinds: Default::default() }
    }

    /// Begins to record the events of a target. `slots` are those of cgroups, as far as they are known.
    pub fn begin(
        &mut self,
        id: u64,
        kind: WeightKind,
        target: &Target,
        slots: impl Fn() -> Vec<(u32, CgroupId)>,
        registry: &Registry,
    ) -> Result<WeightSession, BackendError> {
        if let Some(why) = self.sampler.missing(kind) {
            let what = "recording these events".into();
            return Err(BackendError::Unsupported { what, why: why.to_owned() });
        }
        let totals_before = self.sampler.totals(kind);
        self.kinds[kind as usize].insert(id, target);
        // Before the first program is attached, so that nobody else's is sent.
        let begun = self
            .want(kind, slots, registry)
            .and_then(|()| self.kinds[kind as usize].link(|| self.sampler.attach(kind)));
        match begun {
            Ok(link) => {
                let began = KtimeNs::now();
                Ok(WeightSession { kind, began, totals_before, link: Some(link) })
            }
            Err(error) => {
                self.remove(id, kind);
                Err(BackendError::Failed {
                    what: format!("these events cannot be recorded: {error}"),
                    remedy: "`cgscope doctor` says what is missing; ask again when other recordings have \
                             ended"
                        .into(),
                })
            }
        }
    }

    /// Tells the kernel half whose events are wanted, of every kind that is recorded.
    pub fn want_all(
        &self,
        slots: impl Fn() -> Vec<(u32, CgroupId)> + Copy,
        registry: &Registry,
    ) -> io::Result<()> {
        for kind in WeightKind::ALL {
            if !self.kinds[kind as usize].is_empty() {
                self.want(kind, slots, registry)?;
            }
        }
        Ok(())
    }

    fn want(
        &self,
        kind: WeightKind,
        slots: impl Fn() -> Vec<(u32, CgroupId)>,
        registry: &Registry,
    ) -> io::Result<()> {
        let (targets, is_refused) = self.kinds[kind as usize].told(slots, registry);
        if let Some(is_refused) = is_refused {
            self.sampler.refuse(kind, is_refused);
        }
        self.sampler.want(kind, targets.iter())
    }

    /// What was lost since a recording began, added to it.
    pub fn lose(&self, session: &WeightSession, samples: &mut Samples) {
        let (now, before) = (self.sampler.totals(session.kind), session.totals_before);
        let count = now.lost - before.lost;
        let amount = now.lost_weight - before.lost_weight;
        samples.lose("ring full or busy", Weight { count, amount });
    }

    /// Gives back what was kept for a kind if nobody records it any more.
    pub fn tidy(&mut self, kind: WeightKind) {
        if self.kinds[kind as usize].is_over() {
            self.sampler.forget(kind);
        }
    }

    /// A recording is gone.
    pub fn remove(&mut self, id: u64, kind: WeightKind) {
        self.kinds[kind as usize].remove(id);
    }
}

impl WeightSession {
    /// How much of a wait that was ended lies in the recording; `None` if nothing does.
    pub fn part_of_wait_ns(&self, sample: &StackRecord) -> Option<u64> {
        let from_ns = sample.at_ns.saturating_sub(sample.period_ns).max(self.began.0);
        sample.at_ns.checked_sub(from_ns).filter(|part_ns| *part_ns > 0)
    }

    /// Lets go of the kernel half.
    pub fn detach(&mut self) {
        self.link = None;
    }
}
