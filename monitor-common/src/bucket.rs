//! Log-linear buckets for latencies: 8 per power of two over 2^10..2^34 ns, one below and one above.
//!
//! Contract: [`index`] is total (every `u64` has a bucket), monotone, and the relative width of a bucket between the
//! ends is at most 1/8. The same function runs in the kernel and in the daemon.

/// log2 of the buckets per power of two.
pub const SUBDIVISION_BITS: u32 = 3;
/// Latencies below 2^10 ns (1 us) share the first bucket.
pub const MIN_EXPONENT: u32 = 10;
/// Latencies of 2^34 ns (17 s) and more share the last bucket.
pub const MAX_EXPONENT: u32 = 34;
/// Buckets of one distribution, with the one below and the one above.
pub const COUNT: usize = (((MAX_EXPONENT - MIN_EXPONENT) << SUBDIVISION_BITS) + 2) as usize;

/// The bucket of a latency: always less than [`COUNT`].
#[inline(always)]
pub const fn index(latency_ns: u64) -> usize {
    if latency_ns < 1 << MIN_EXPONENT {
        return 0;
    }
    if latency_ns >= 1 << MAX_EXPONENT {
        return COUNT - 1;
    }
    let exponent = 63 - latency_ns.leading_zeros();
    // The bits below the leading one; the leading one itself adds 8, which the 1 of the first bucket and the
    // subtraction of the first exponent bring to its place.
    let mantissa = latency_ns >> (exponent - SUBDIVISION_BITS);
    let row = (exponent - MIN_EXPONENT) << SUBDIVISION_BITS;
    (row as u64 + mantissa - (1 << SUBDIVISION_BITS) + 1) as usize
}

/// The smallest latency of a bucket, in ns.
pub const fn lower_bound_ns(index: usize) -> u64 {
    if index == 0 {
        return 0;
    }
    if index >= COUNT - 1 {
        return 1 << MAX_EXPONENT;
    }
    let position = index as u64 - 1;
    let exponent = (position >> SUBDIVISION_BITS) as u32 + MIN_EXPONENT;
    let step = position & ((1 << SUBDIVISION_BITS) - 1);
    (1 << exponent) + (step << (exponent - SUBDIVISION_BITS))
}

/// The first latency that is too large for a bucket, in ns; `u64::MAX` for the last.
pub const fn upper_bound_ns(index: usize) -> u64 {
    if index >= COUNT - 1 { u64::MAX } else { lower_bound_ns(index + 1) }
}

/// One distribution as the kernel writes it: counts wrap at 2^32, the reader takes differences.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHistogram {
    /// Sum of the latencies, in ns.
    pub sum_ns: u64,
    /// Events per bucket.
    pub counts: [u32; COUNT],
}

const _: () = assert!(size_of::<RawHistogram>() == 8 + 4 * COUNT);
const _: () = assert!(COUNT.is_multiple_of(2), "the counts fill whole words");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_index_agree() {
        for i in 0..COUNT {
            assert_eq!(index(lower_bound_ns(i)), i);
            let last = upper_bound_ns(i) - u64::from(i < COUNT - 1);
            assert_eq!(index(last), i);
        }
    }

    #[test]
    fn monotone_over_every_power_of_two_and_its_neighbours() {
        let mut previous = 0;
        for exponent in 0..64u32 {
            for latency in [(1u64 << exponent) - 1, 1 << exponent, (1 << exponent) + 1] {
                let i = index(latency);
                assert!(i >= previous && i < COUNT, "{latency} in {i} after {previous}");
                previous = i;
            }
        }
        assert_eq!(index(u64::MAX), COUNT - 1);
    }

    /// A tool once shifted in 32 bits and misplaced everything from 2^31 ns.
    #[test]
    fn beyond_32_bits() {
        assert_eq!(lower_bound_ns(index(5_000_000_000)), 4_831_838_208);
        assert!(index(1 << 33) > index(1 << 32) && index(1 << 32) > index(1 << 31));
    }

    #[test]
    fn no_bucket_is_wider_than_an_eighth() {
        for i in 1..COUNT - 1 {
            let width = upper_bound_ns(i) - lower_bound_ns(i);
            assert!(width * 8 <= lower_bound_ns(i), "bucket {i}");
        }
    }
}
