//! Looking at kept profiles: what was sampled in a range, and how much ran when.
//!
//! Contract: a piece is read at a time, so that a long range takes the memory of one piece and of its answer. Time that nobody
//! recorded is a gap, never zero.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    ops::Range,
    path::Path,
    sync::Arc,
};

use super::piece::Piece;
use crate::profile::{Kept, KeptThread, KeptWindow, ProfileKind, Sample, Weight};

/// Open pieces are sealed while others look for them: then the list is made anew.
const ATTEMPTS: usize = 5;

/// What was sampled in a range.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// When what was recorded of the range begins, ms since 1970.
    pub started_ms: u64,
    /// How much of it was recorded.
    pub covered_ms: u64,
    /// Samples a second and CPU; `None` where each event is taken.
    pub frequency_hz: Option<u32>,
    /// The names of containers, by id, where known.
    pub containers: BTreeMap<Arc<str>, String>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// What is missing of the windows that begin in the range, by reason.
    pub lost: BTreeMap<String, Weight>,
}

/// How much ran when.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Begin of the first step, ms since 1970.
    pub start_ms: u64,
    /// Length of a step.
    pub step_ms: u64,
    /// Sampled time a second, by step: for the CPU clock the CPUs in use. `None` where nobody recorded.
    pub steps: Vec<Option<f64>>,
}

/// Hands over what may have windows in a range, a piece at a time.
fn each(
    directory: &Path,
    kind: ProfileKind,
    unsaved: &[Arc<Kept>],
    range: &Range<u64>,
    mut take: impl FnMut(&Kept),
) -> io::Result<()> {
    let is_wanted = |piece: &Piece| {
        let is_before_its_end = piece.last_ms.is_none_or(|last_ms| last_ms > range.start);
        piece.kind == kind.name() && piece.first_ms < range.end && is_before_its_end
    };
    let mut done: Vec<u64> = vec![];
    let mut saved: HashSet<u64> = HashSet::new();
    for _ in 0..ATTEMPTS {
        let mut pieces = match Piece::list(directory) {
            Err(error) if is_missing(&error) => vec![],
            listed => listed?,
        };
        pieces.retain(|piece| is_wanted(piece) && !done.contains(&piece.first_ms));
        let mut is_gone = false;
        for piece in pieces {
            match piece.read() {
                Ok(all) => {
                    let windows = all.iter().flat_map(|kept| &kept.windows);
                    saved.extend(windows.map(|window| window.started_ms));
                    all.iter().for_each(&mut take);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    is_gone = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
            done.push(piece.first_ms);
        }
        if !is_gone {
            break;
        }
    }
    // Some may have been written since they were listed.
    let is_saved = |kept: &&Kept| kept.windows.iter().any(|w| saved.contains(&w.started_ms));
    unsaved.iter().map(Arc::as_ref).filter(|kept| !is_saved(kept)).for_each(take);
    Ok(())
}

/// Nothing was kept there yet, or never can be.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What was sampled in a range, of those threads for which `keep` is true, given with the
/// names of their containers.
pub(super) fn past(
    directory: &Path,
    kind: ProfileKind,
    unsaved: &[Arc<Kept>],
    range: &Range<u64>,
    keep: impl Fn(&KeptThread, Option<&str>) -> bool,
) -> io::Result<Past> {
    let mut past = Past { started_ms: range.end, ..Past::default() };
    each(directory, kind, unsaved, range, |kept| {
        for window in &kept.windows {
            let part = window.within(range);
            if part.is_empty() {
                continue;
            }
            past.started_ms = past.started_ms.min(part.start);
            past.covered_ms += part.end - part.start;
            past.frequency_hz = window.frequency_hz.or(past.frequency_hz);
            if range.contains(&window.started_ms) {
                for (why, weight) in &window.lost {
                    *past.lost.entry(why.clone()).or_default() += *weight;
                }
            }
        }
        let samples = kept.samples(range, &kept.choose(&keep));
        for id in samples.iter().filter_map(|sample| sample.container.as_ref()) {
            if let Some(name) = kept.containers.get(id) {
                past.containers.insert(Arc::clone(id), name.clone());
            }
        }
        past.samples.extend(samples);
    })?;
    Ok(past)
}

/// The windows of a range, as they are kept.
pub(super) fn windows(
    directory: &Path,
    kind: ProfileKind,
    unsaved: &[Arc<Kept>],
    range: &Range<u64>,
) -> io::Result<Vec<Kept>> {
    let mut all = vec![];
    each(directory, kind, unsaved, range, |kept| {
        let is_in = |window: &KeptWindow| !window.within(range).is_empty();
        if kept.windows.iter().any(is_in) {
            let mut kept = kept.clone();
            kept.windows.retain(is_in);
            all.push(kept);
        }
    })?;
    Ok(all)
}

/// How much ran in each step of a range, of those threads for which `keep` is true, given with the
/// names of their containers.
pub(super) fn activity(
    directory: &Path,
    kind: ProfileKind,
    unsaved: &[Arc<Kept>],
    range: &Range<u64>,
    step_ms: u64,
    keep: impl Fn(&KeptThread, Option<&str>) -> bool,
) -> io::Result<Activity> {
    let count = (range.end - range.start).div_ceil(step_ms) as usize;
    let (mut time_ns, mut covered_ms) = (vec![0u64; count], vec![0u64; count]);
    let place = |at_ms: u64| ((at_ms - range.start) / step_ms) as usize;
    each(directory, kind, unsaved, range, |kept| {
        let kept_threads = kept.choose(&keep);
        for window in &kept.windows {
            let part = window.within(range);
            if part.is_empty() {
                continue;
            }
            let (first, last) = (place(part.start), place(part.end - 1));
            for (covered_ms, step) in covered_ms[first..=last].iter_mut().zip(first as u64..) {
                let begin = range.start + step * step_ms;
                let end = (begin + step_ms).min(part.end);
                *covered_ms += end.saturating_sub(begin.max(part.start));
            }
            for (at_ms, moment) in window.moments_in(range) {
                if kept_threads[moment.thread as usize] {
                    let time = &mut time_ns[place(at_ms)];
                    *time = time.saturating_add(moment.weight.amount);
                }
            }
        }
    })?;
    let step = |(time_ns, covered_ms): (u64, u64)| {
        (covered_ms > 0).then(|| time_ns as f64 / (covered_ms as f64 * 1e6))
    };
    let steps = time_ns.into_iter().zip(covered_ms).map(step).collect();
    Ok(Activity { start_ms: range.start, step_ms, steps })
}
