//! How far to trust a profile, and why not further.
//!
//! Contract: pure; the shares are of what the widths count: of samples, or of the time of waits.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::document::Profile;
use super::kind::ProfileKind;
use crate::symbol::{Frame, Reason, WalkEnd};

/// A reason of less than this share of the samples is no doubt worth a sentence.
const WORTH_SAYING: f64 = 0.01;

/// How far to trust a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The shape may be wrong.
    Low,
    /// The large boxes can be trusted.
    Medium,
    /// As good as sampling gets.
    High,
}

impl Level {
    /// The verdict on samples that arrived, the share of those that were lost among all, and the share of
    /// those in doubt among those that arrived: with nameless frames, or with callers missing, whichever is more.
    pub fn judge(sample_count: u64, lost_share: f64, doubtful_share: f64) -> Self {
        if sample_count >= 100 && lost_share <= 0.01 && doubtful_share <= 0.05 {
            Self::High
        } else if sample_count >= 20 && lost_share <= 0.1 && doubtful_share <= 0.25 {
            Self::Medium
        } else {
            Self::Low
        }
    }
}

/// How far to trust a profile, and why not further.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Confidence {
    /// The verdict.
    pub level: Level,
    /// Samples that arrived.
    pub sample_count: u64,
    /// Lost samples among all, 0 to 1.
    pub lost_share: f64,
    /// Samples with at least one nameless frame among those that arrived, 0 to 1.
    pub unresolved_share: f64,
    /// Samples whose outermost callers are missing or were found by frame pointers only, among those that arrived, 0 to 1.
    pub truncated_share: f64,
    /// Sentences with remedies, the weightiest first.
    pub doubts: Vec<String>,
}

impl Confidence {
    /// Judges a profile.
    pub fn of(profile: &Profile) -> Self {
        let sample_count: u64 = profile.samples.iter().map(|sample| sample.weight.count).sum();
        let lost_count: u64 = profile.lost.values().map(|weight| weight.count).sum();
        let total: u64 = profile.samples.iter().map(|s| profile.value(s.weight)).sum();
        let lost_total: u64 = profile.lost.values().map(|weight| profile.value(*weight)).sum();
        // How long was waited by those of whom nothing is known but that they were lost is not known either.
        let lost_share =
            share(lost_count, sample_count + lost_count).max(share(lost_total, total + lost_total));
        let (unresolved, by_reason) = unresolved(profile);
        let unresolved_share = share(unresolved, total);
        let ends = ends(profile);
        let truncated_share = share(ends.values().sum(), total);
        let things = profile.kind.things();
        let mut doubts = Vec::new();
        if sample_count == 0 {
            doubts.push(profile.kind.nothing().into());
        } else if sample_count < 100 && profile.kind == ProfileKind::OnCpu {
            doubts.push(format!(
                "Only {sample_count} samples: take a longer window or a higher frequency."
            ));
        }
        let mut lost: Vec<_> = profile.lost.iter().collect();
        lost.sort_by_key(|(_, weight)| std::cmp::Reverse(weight.count));
        for (reason, weight) in lost {
            let percent = 100.0 * share(weight.count, sample_count + lost_count);
            doubts.push(format!("{percent:.1} % of the {things} were lost: {reason}."));
        }
        doubts.extend(drawn(profile, total));
        let mut ends: Vec<_> = ends.into_iter().collect();
        ends.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (end, count) in ends {
            let share = share(count, total);
            if share >= WORTH_SAYING {
                let percent = 100.0 * share;
                let sentence = end.sentence();
                doubts.push(format!("{percent:.1} % of the stacks are in doubt: {sentence}"));
            }
        }
        let mut by_reason: Vec<_> = by_reason.into_iter().collect();
        by_reason.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (reason, count) in by_reason {
            let share = share(count, total);
            if share >= WORTH_SAYING {
                let percent = 100.0 * share;
                let sentence = reason.sentence();
                doubts.push(format!(
                    "{percent:.1} % of the {things} have nameless frames: {sentence}"
                ));
            }
        }
        // What is measured and not sampled: a few are no worse known than many. But those that stand for others are as samples.
        let enough = match profile.kind {
            ProfileKind::OnCpu => sample_count,
            _ if sample_count == 0 => 0,
            _ if 2 * profile.drawn.amount > total => profile.drawn.count,
            _ => u64::MAX,
        };
        let level = Level::judge(enough, lost_share, unresolved_share.max(truncated_share));
        Self { level, sample_count, lost_share, unresolved_share, truncated_share, doubts }
    }
}

/// That not each was sent, if that is so, and what it means for the widths.
fn drawn(profile: &Profile, total: u64) -> Option<String> {
    let drawn = profile.drawn;
    let share = share(drawn.amount, total);
    if drawn.count == 0 || share < WORTH_SAYING {
        return None;
    }
    let step = profile.kind.unit().shown(drawn.amount / drawn.count);
    let percent = 100.0 * share;
    let things = profile.kind.things();
    Some(format!(
        "{percent:.1} % of the {things} were drawn, one for each {step}: a box as wide as n of those is off by about the root of n of \
         them."
    ))
}

/// The weight of samples with a nameless frame, all and by reason; a sample counts once for each reason.
fn unresolved(profile: &Profile) -> (u64, BTreeMap<Reason, u64>) {
    let mut all = 0;
    let mut by_reason = BTreeMap::new();
    for sample in &profile.samples {
        let has = |reason: Reason| {
            let is = |f: &Frame| matches!(f, Frame::Unresolved { reason: r, .. } if *r == reason);
            sample.frames.iter().any(is)
        };
        let reasons: Vec<_> = Reason::ALL.into_iter().filter(|reason| has(*reason)).collect();
        if !reasons.is_empty() {
            all += profile.value(sample.weight);
        }
        for reason in reasons {
            *by_reason.entry(reason).or_default() += profile.value(sample.weight);
        }
    }
    (all, by_reason)
}

/// The weight of samples whose walk did not end at the outermost frame, by how it ended.
fn ends(profile: &Profile) -> BTreeMap<WalkEnd, u64> {
    let mut ends = BTreeMap::new();
    for sample in &profile.samples {
        if let Some(Frame::Missing { end }) = sample.frames.first() {
            *ends.entry(*end).or_default() += profile.value(sample.weight);
        }
    }
    ends
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
