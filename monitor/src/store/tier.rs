//! The resolutions that are kept, and for how long.

use std::time::Duration;

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How many resolutions there are.
pub const TIERS: usize = 4;

/// Time between two points of each tier, ms; each divides the next. Tier 0 has what was measured as it came.
pub const STEP_MS: [u64; TIERS] = [SECOND_MS, 10 * SECOND_MS, 60 * SECOND_MS, 600 * SECOND_MS];

/// Ticks are sealed when they leave a window of this length: each step divides it, so a tier's points are whole in one piece
/// unless the daemon began or ended within.
pub const SEAL_MS: u64 = 600 * SECOND_MS;

/// Pieces of a tier are merged into pieces of this length; `None` leaves them as they are. Tier 0 is left: merging it would
/// save a tenth of its bytes and write all of them twice.
pub const MERGED_MS: [Option<u64>; TIERS] = [None, Some(HOUR_MS), Some(6 * HOUR_MS), Some(DAY_MS)];

/// How long each tier is kept unless it is set.
pub const DEFAULT_KEEP: [Duration; TIERS] = [
    Duration::from_millis(6 * HOUR_MS),
    Duration::from_millis(3 * DAY_MS),
    Duration::from_millis(30 * DAY_MS),
    Duration::from_millis(365 * DAY_MS),
];

const _: () = {
    let mut tier = 0;
    while tier < TIERS {
        assert!(SEAL_MS.is_multiple_of(STEP_MS[tier]));
        assert!(tier == 0 || STEP_MS[tier].is_multiple_of(STEP_MS[tier - 1]));
        tier += 1;
    }
};
