//! One recording: whose stacks it wants, from where, and what each of them weighs in it.

use std::sync::Arc;

use monitor_common::{state::ThreadState, weight::WeightKind};

use super::{waits::WaitSession, weights::WeightSession};
use crate::{
    metric::KtimeNs,
    probe::{SamplerLink, StackRecord},
    profile::{Moments, Samples, Weight, Whose},
    serve::Target,
    symbol::RawStack,
};

/// A recording that runs.
pub(super) struct Session {
    pub target: Target,
    /// Of waits, only those in these states; all if there is none.
    pub states: Vec<ThreadState>,
    pub sources: Sources,
    pub gathered: Gathered,
}

/// What a recording keeps of its samples.
pub(super) enum Gathered {
    /// How much there was of each.
    Totals(Samples),
    /// When each was.
    Moments {
        /// Begin of the window.
        since: KtimeNs,
        moments: Moments,
    },
}

impl Gathered {
    pub fn record(&mut self, at_ns: u64, stack: RawStack, whose: Whose, weight: Weight) {
        match self {
            Self::Totals(samples) => samples.record(stack, whose, weight),
            Self::Moments { since, moments } => {
                // Read too late for the window before.
                let after_ns = at_ns.saturating_sub(since.0);
                moments.record((after_ns / 1_000_000) as u32, stack, whose, weight);
            }
        }
    }
}

/// Where the stacks of a recording come from: locks are waits and events both.
#[derive(Default)]
pub(super) struct Sources {
    pub clock: Option<Clock>,
    pub waits: Option<WaitSession>,
    pub weights: Option<WeightSession>,
}

/// The CPU clock.
pub(super) struct Clock {
    pub period_ns: u64,
    pub lost_before: u64,
    /// Keeps the sampler attached.
    pub sampler: Option<Arc<SamplerLink>>,
}

impl Session {
    /// Keeps a sample, if it is of this recording; `record` is told what it weighs.
    pub fn take(
        &mut self,
        sample: &StackRecord,
        container: &str,
        record: impl FnOnce(&mut Gathered, Weight),
    ) {
        let is_of_target = match &self.target {
            Target::All => true,
            Target::Container(id) => id.as_str() == container,
            Target::Process(tgid) => *tgid == sample.woken.as_ref().map_or(sample.tgid, |w| w.tgid),
        };
        if !is_of_target {
            return;
        }
        let Some(amount) = self.amount_of(sample) else { return };
        let weight = Weight { count: 1, amount };
        let is_drawn = match (&sample.woken, sample.weighed) {
            (Some(woken), _) => woken.is_drawn,
            (None, weighed) => weighed.is_some_and(|(_, _, is_drawn)| is_drawn),
        };
        if let Gathered::Totals(samples) = &mut self.gathered
            && is_drawn
        {
            samples.note_drawn(weight);
        }
        record(&mut self.gathered, weight);
    }

    /// What a sample stands for in this recording; `None` if it is not of it.
    fn amount_of(&mut self, sample: &StackRecord) -> Option<u64> {
        let is_wanted = |state| self.states.is_empty() || self.states.contains(state);
        if let (Some(_), Some((state, _))) = (&sample.woken, &sample.wait) {
            let session = self.sources.weights.as_ref()?;
            let is_wanted = session.kind == WeightKind::Wakeup && is_wanted(state);
            return is_wanted.then(|| session.part_of_wait_ns(sample)).flatten();
        }
        if let Some((state, _)) = sample.wait {
            let session = self.sources.waits.as_mut()?;
            let is_wanted = is_wanted(&state);
            // A wait that lasts is noted whatever its state.
            return session.window.part_ns(sample).filter(|_| is_wanted);
        }
        if let Some((kind, ..)) = sample.weighed {
            let session = self.sources.weights.as_ref()?;
            return (session.kind == kind).then_some(sample.period_ns);
        }
        let clock = self.sources.clock.as_ref()?;
        (clock.period_ns == sample.period_ns).then_some(clock.period_ns)
    }
}
