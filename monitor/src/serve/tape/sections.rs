//! What a recording consists of, section by section.
//!
//! Contract: a block of ticks brings with it what was known of their time: the slow operations and who was new.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    outlier::taped,
    told::{Answers, Contained, Ended, Facts},
};
use crate::{
    metric::{KtimeNs, Tick, WallTimeNs},
    profile::{Kept, KeptWindow, ProfileKind},
    serve::backend::Backend,
    store::tape::{SectionKind, TapeWriter},
};

/// Stack samples per second and CPU where the daemon keeps none: as many as it is advised to keep.
pub(super) const FREQUENCY_HZ: u32 = 19;
/// A section holds the ticks of so long: what is lost with it, and what a kill costs.
const BLOCK: Duration = Duration::from_secs(10);
/// Ticks of one section.
const BLOCK_TICKS: usize = 100;
/// Slow operations are read at each tick, and are known when their second is over: a slower one may come until then.
const OUTLIERS_SETTLE_NS: u64 = 1_000_000_000;
/// A window comes twice within this, or never.
const WINDOWS_SEEN_MS: u64 = 600_000;

/// Whether ticks that wait should become a block.
pub(super) fn is_block_full(ticks: &[Arc<Tick>]) -> bool {
    let ends = ticks.first().zip(ticks.last());
    let span = ends.map(|(first, last)| last.taken.since(first.taken));
    ticks.len() >= BLOCK_TICKS || span.is_some_and(|span| span >= BLOCK)
}

/// This machine, from now on.
pub(super) fn facts(wanted: Duration) -> Facts {
    let told = |file: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default();
        text.trim().to_owned()
    };
    Facts {
        host: told("hostname"),
        kernel: told("osrelease"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun: WallTimeNs::now(),
        wanted_ns: wanted.as_nanos() as u64,
        first_tick: 0,
    }
}

/// What has been written, so that nothing is written twice.
pub(super) struct Sections {
    backend: Arc<dyn Backend>,
    handle: Handle,
    tape: TapeWriter,
    /// When the last tick was that is in a block.
    last: KtimeNs,
    /// Begins of the windows that are written, ms since 1970.
    windows: BTreeSet<u64>,
    contained: Contained,
    outliers_until: WallTimeNs,
}

impl Sections {
    /// Of what happened since then. Names of stacks are waited for on `handle`.
    pub fn new(backend: Arc<dyn Backend>, handle: Handle, since: WallTimeNs) -> Self {
        Self {
            backend,
            handle,
            tape: TapeWriter::default(),
            last: KtimeNs::default(),
            windows: BTreeSet::new(),
            contained: Contained::default(),
            outliers_until: since,
        }
    }

    /// Ticks that are in blocks.
    pub fn ticks(&self) -> u64 {
        self.tape.ticks()
    }

    /// The begin of a file.
    pub fn head(&mut self, facts: &Facts) -> Vec<u8> {
        let mut head = TapeWriter::head();
        self.tape.put(&mut head, SectionKind::Facts, facts);
        self.put_about(&mut head);
        head
    }

    /// Ticks, the slow operations of their time, and who is new.
    pub fn put_block(&mut self, out: &mut Vec<u8>, mut ticks: Vec<Arc<Tick>>) {
        // One may have come while those before it were looked up.
        ticks.retain(|tick| tick.taken > self.last);
        ticks.dedup_by_key(|tick| tick.taken);
        let begin = ticks.first().map_or(self.last, |tick| tick.taken);
        let part = |tick: &Tick| tick.taken.since(begin).as_nanos() / BLOCK.as_nanos();
        for ticks in ticks.chunk_by(|a, b| part(a) == part(b)) {
            self.tape.put_ticks(out, ticks);
        }
        self.last = ticks.last().map_or(self.last, |tick| tick.taken);
        let last = ticks.last().map_or(0, |tick| tick.at.0);
        self.put_outliers(out, last.saturating_sub(OUTLIERS_SETTLE_NS));
        self.put_contained(out);
    }

    /// Windows that were kept since then, if any are.
    pub fn put_kept(&mut self, out: &mut Vec<u8>, since: WallTimeNs) {
        let range = since.0 / 1_000_000..WallTimeNs::now().0 / 1_000_000;
        for kind in ProfileKind::ALL {
            // Without them the rest is recorded all the same.
            let kept = self.backend.archive().map(|archive| archive.kept_windows(kind, &range));
            for kept in kept.into_iter().flatten().flatten() {
                self.put_window(out, kind, &kept);
            }
        }
    }

    /// A window that is kept may come once more to those who follow.
    pub fn put_window(&mut self, out: &mut Vec<u8>, kind: ProfileKind, kept: &Kept) {
        let is_new = |window: &KeptWindow| !self.windows.contains(&window.started_ms);
        if kept.windows.iter().any(is_new) {
            self.tape.put_profile(out, kind, kept);
            self.windows.extend(kept.windows.iter().map(|window| window.started_ms));
            let newest = self.windows.last().copied().unwrap_or(0);
            self.windows = self.windows.split_off(&newest.saturating_sub(WINDOWS_SEEN_MS));
        }
    }

    /// The end of a file: what is known so far of the last second, what stands at its begin once more, and that this is the end.
    pub fn put_end(&mut self, out: &mut Vec<u8>, ended: &Ended) {
        let until = self.outliers_until;
        self.put_outliers(out, u64::MAX);
        // Whoever goes on writes them once their second is over.
        self.outliers_until = until;
        self.put_about(out);
        self.tape.put(out, SectionKind::End, ended);
    }

    fn put_contained(&mut self, out: &mut Vec<u8>) {
        let contained = Contained::of(&*self.backend);
        if contained != self.contained {
            self.tape.put(out, SectionKind::Containers, &contained);
            self.contained = contained;
        }
    }

    fn put_outliers(&mut self, out: &mut Vec<u8>, until_ns: u64) {
        let since = self.outliers_until;
        let span = Duration::from_nanos(WallTimeNs::now().0.saturating_sub(since.0));
        let mut outliers = self.backend.outliers(span + BLOCK).outliers;
        outliers.retain(|outlier| outlier.at >= since && outlier.at.0 < until_ns);
        self.outliers_until = WallTimeNs(until_ns.max(since.0));
        if !outliers.is_empty() {
            let rows = taped(&*self.backend, &self.handle, outliers);
            self.tape.put(out, SectionKind::Outliers, &rows);
        }
    }

    /// What stands at the begin of a tape and at its end: one of them survives most damage.
    fn put_about(&mut self, out: &mut Vec<u8>) {
        let mut metrics = self.backend.metrics();
        metrics.extend(self.backend.changes().iter().map(|change| change.metric));
        self.tape.put_metrics(out, &metrics);
        self.contained = Contained::default();
        self.put_contained(out);
        let answers = Answers::of(&*self.backend);
        self.tape.put(out, SectionKind::Answers, &answers);
    }
}
