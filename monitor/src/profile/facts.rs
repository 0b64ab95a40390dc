//! What every format says beside its stacks: what was recorded, its totals, what was lost, how far to trust it.

use super::confidence::{Confidence, Level};
use super::document::Profile;

/// The writer, as the formats name it.
pub(super) const PROGRAM: &str = concat!("cgscope ", env!("CARGO_PKG_VERSION"));

impl Level {
    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The facts as pairs of a name and a text.
pub(super) fn facts(profile: &Profile) -> Vec<(&'static str, String)> {
    let confidence = Confidence::of(profile);
    let seconds = profile.duration_ns as f64 / 1e9;
    let rate = profile.frequency_hz.map(|hz| format!(" at {hz} Hz")).unwrap_or_default();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let total: u64 = profile.samples.iter().map(|s| profile.value(s.weight)).sum();
    let lost: u64 = profile.lost.values().map(|weight| profile.value(*weight)).sum();
    let unit = profile.kind.unit().name();
    let mut facts = vec![
        ("scope", profile.scope.clone()),
        ("window", format!("{seconds:.1} s{rate}")),
        ("total", format!("{total} {unit}")),
        ("lost", format!("{lost} {unit}, {} of the samples", percent(confidence.lost_share))),
        ("nameless frames in", format!("{} of the samples", percent(confidence.unresolved_share))),
        ("callers in doubt in", format!("{} of the samples", percent(confidence.truncated_share))),
        ("confidence", confidence.level.name().to_owned()),
    ];
    facts.extend(confidence.doubts.into_iter().map(|doubt| ("doubt", doubt)));
    facts
}
