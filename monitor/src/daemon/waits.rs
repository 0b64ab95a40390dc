//! Recordings of waits: whose are wanted, from when to when.
//!
//! Contract: the kernel half follows waits only while one of these recordings runs. They share it: what one asks for, another may be sent as
//! well, and takes only its own.

use std::{io, sync::Arc};

use super::wanted::Wanted;
use crate::{
    collect::WaitWindow,
    container::Registry,
    kernel::cgroupfs::CgroupId,
    metric::KtimeNs,
    probe::{WaitLink, WaitSampler, WaitTotals},
    profile::{Samples, Weight},
    serve::{BackendError, Target},
};

/// What all recordings of waits share.
pub(super) struct Waits {
    /// Or why there is none.
    sampler: Result<WaitSampler, String>,
    wanted: Wanted<WaitLink>,
}

/// What one of them goes by.
pub(super) struct WaitSession {
    /// Which waits lie in it.
    pub window: WaitWindow,
    totals_before: WaitTotals,
    /// Keeps the kernel half at it.
    link: Option<Arc<WaitLink>>,
}

impl Waits {
    pub fn new(sampler: Result<WaitSampler, String>) -> Self {
        Self { sampler, wanted: Wanted::default() }
    }

    /// Begins to follow the waits of a target. `slots` are those of cgroups, as far as they are known.
    pub fn begin(
        &mut self,
        id: u64,
        target: &Target,
        slots: impl Fn() -> Vec<(u32, CgroupId)>,
        registry: &Registry,
    ) -> Result<WaitSession, BackendError> {
        let sampler = self.sampler.as_mut().map_err(|why| BackendError::Unsupported {
            what: "recording waits".into(),
            why: why.clone(),
        })?;
        let link = self.wanted.link(|| sampler.attach()).map_err(|error| failed(&error))?;
        let totals_before = sampler.totals();
        self.wanted.insert(id, target);
        let begun = self.want(slots, registry).and_then(|()| match &mut self.sampler {
            Ok(sampler) => sampler.begin(),
            Err(_) => Ok(()),
        });
        if let Err(error) = begun {
            self.wanted.remove(id);
            return Err(failed(&error));
        }
        Ok(WaitSession {
            window: WaitWindow::from(KtimeNs::now()),
            totals_before,
            link: Some(link),
        })
    }

    /// Whether somebody records.
    pub fn is_recording(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Tells the kernel half whose waits are wanted. A cgroup that is not known yet is not refused.
    pub fn want(
        &self,
        slots: impl Fn() -> Vec<(u32, CgroupId)>,
        registry: &Registry,
    ) -> io::Result<()> {
        let Ok(sampler) = &self.sampler else { return Ok(()) };
        let (targets, is_refused) = self.wanted.told(slots, registry);
        if let Some(is_refused) = is_refused {
            sampler.refuse(is_refused);
        }
        sampler.want(targets.iter())
    }

    /// Has those sent who wait still, for a recording that ends; then lets go.
    pub fn end(&mut self, id: u64) {
        if let Ok(sampler) = &mut self.sampler
            && let Err(error) = sampler.end()
        {
            tracing::warn!(%error, "those who wait still are missing in a recording of waits");
        }
        self.wanted.remove(id);
    }

    /// What was lost since a recording began, added to it.
    pub fn lose(&self, session: &WaitSession, samples: &mut Samples) {
        let Ok(sampler) = &self.sampler else { return };
        let (now, before) = (sampler.totals(), session.totals_before);
        let lost = Weight { count: now.lost - before.lost, amount: now.lost_ns - before.lost_ns };
        samples.lose("ring full", lost);
        // How long those waited is not known.
        let untracked = Weight { count: now.untracked - before.untracked, amount: 0 };
        samples.lose("too many threads", untracked);
        let endless = Weight { count: now.endless - before.endless, amount: 0 };
        samples.lose("end not seen", endless);
    }

    /// Gives back what was kept of threads if nobody records any more.
    pub fn tidy(&mut self) {
        if self.wanted.is_over()
            && let Ok(sampler) = &mut self.sampler
        {
            sampler.forget();
        }
    }

    /// A recording is gone.
    pub fn remove(&mut self, id: u64) {
        self.wanted.remove(id);
    }
}

impl WaitSession {
    /// Lets go of the kernel half.
    pub fn detach(&mut self) {
        self.link = None;
    }
}

fn failed(error: &io::Error) -> BackendError {
    BackendError::Failed {
        what: format!("waits cannot be recorded: {error}"),
        remedy: "`cgscope doctor` says what is missing; ask again when other recordings have ended"
            .into(),
    }
}
