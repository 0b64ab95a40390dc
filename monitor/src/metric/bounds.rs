//! The bounds under which distributions are published: every second power of two.
//!
//! 13 bounds instead of 193 keep the number of series small. The exposition and PromQL have the same, so that a dashboard made
//! for one serves with the other.

use monitor_common::bucket;

/// Powers of two between two bounds.
const STEP: u32 = 2;

/// How many bounds there are, the infinite one included.
pub const EXPOSED_BOUNDS: usize =
    ((bucket::MAX_EXPONENT - bucket::MIN_EXPONENT) / STEP + 2) as usize;

/// Upper bounds, ns, the smallest first; the last is `u64::MAX`, which stands for no bound.
pub fn exposed_bounds_ns() -> [u64; EXPOSED_BOUNDS] {
    std::array::from_fn(|i| match i + 1 {
        EXPOSED_BOUNDS => u64::MAX,
        _ => 1 << (bucket::MIN_EXPONENT + STEP * i as u32),
    })
}

/// The place of the smallest bound that a bucket lies under.
pub fn exposed_bound_of(index: usize) -> usize {
    let upper_ns = bucket::upper_bound_ns(index);
    exposed_bounds_ns().partition_point(|bound_ns| *bound_ns < upper_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_lies_under_its_bound_and_above_the_one_before() {
        let bounds = exposed_bounds_ns();
        assert_eq!(bounds[0], 1 << bucket::MIN_EXPONENT);
        assert_eq!(bounds[EXPOSED_BOUNDS - 2], 1 << bucket::MAX_EXPONENT);
        for index in 0..bucket::COUNT {
            let at = exposed_bound_of(index);
            assert!(bucket::upper_bound_ns(index) <= bounds[at], "bucket {index}");
            assert!(at == 0 || bucket::lower_bound_ns(index) >= bounds[at - 1], "bucket {index}");
        }
    }
}
