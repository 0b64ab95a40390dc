//! A draw in proportion to size: what is recorded is laid end to end on a line, and of each stratum of it that falls which a random
//! point lies on.
//!
//! Contract: the weights that [`Line::draw`] gives add up to the lengths that were laid but for one stratum, and the weight of each
//! is its length in the mean, whatever comes before and after it. A stratum that has begun is laid to its end before its length
//! changes: to end one because of what was drawn in it would favour that.

/// The longest stratum: its product with 32 bits of chance fits into 64.
pub const MAX_STRATUM: u64 = 1 << 31;

/// Where one CPU is on its line. What a length is, ns or bytes, the user of the line knows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// From the beginning of the stratum.
    pub position: u64,
    /// Where the point of this stratum is.
    pub point: u64,
    /// Its length; 0 before the first.
    pub stratum: u64,
    /// The length of the next ones; 0 for the first one's.
    pub next: u64,
}

impl Line {
    /// Nothing was laid.
    pub const NEW: Self = Self { position: 0, point: 0, stratum: 0, next: 0 };

    /// The length of the stratum; `first` before the first.
    #[inline(always)]
    pub fn stratum_or(&self, first: u64) -> u64 {
        if self.stratum == 0 { first } else { self.stratum }
    }

    /// Lays a length and gives its weight: 0 if it is not drawn. `first` is the length of the first stratum. `random` is asked for a
    /// number of 32 bits when a stratum begins.
    #[inline(always)]
    pub fn draw(&mut self, length: u64, first: u64, random: impl Fn() -> u32) -> u64 {
        if self.stratum == 0 {
            self.begin(first, &random);
        }
        let left = self.stratum - self.position;
        if length < left {
            let end = self.position + length;
            let is_hit = self.point >= self.position && self.point < end;
            self.position = end;
            return if is_hit { self.stratum } else { 0 };
        }
        // To the end of this one, through some whole ones, into another.
        let ended = if self.point >= self.position { self.stratum } else { 0 };
        self.begin(first, &random);
        let rest = length - left;
        let whole = rest / self.stratum;
        self.position = rest - whole * self.stratum;
        let last = if self.point < self.position { self.stratum } else { 0 };
        ended + whole * self.stratum + last
    }

    #[inline(always)]
    fn begin(&mut self, first: u64, random: &impl Fn() -> u32) {
        self.stratum = if self.next == 0 { first } else { self.next };
        self.position = 0;
        self.point = (u64::from(random()) * self.stratum) >> 32;
    }
}

/// xorshift, for tests: the same numbers each time.
#[cfg(test)]
pub(crate) struct Numbers(core::cell::Cell<u64>);

#[cfg(test)]
impl Numbers {
    pub(crate) fn from(seed: u64) -> Self {
        Self(core::cell::Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u32 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 1_000_000;

    #[test]
    fn weights_add_up_to_the_lengths_but_for_a_stratum() {
        let numbers = Numbers::from(88_172_645_463_325_252);
        let mut line = Line::NEW;
        let (mut laid, mut weighed) = (0u64, 0u64);
        for turn in 0..200_000u64 {
            let length = 20_000 + u64::from(numbers.next() % 700_000);
            line.next = FIRST << (turn / 1000 % 3);
            laid += length;
            weighed += line.draw(length, FIRST, || numbers.next());
            assert!(laid.abs_diff(weighed) <= 2 * line.stratum, "after {turn}");
        }
    }

    /// Two lengths that take turns, which a regular grid of points would favour one of: each has the weight of its length.
    #[test]
    fn each_length_has_its_share() {
        let numbers = Numbers::from(2_463_534_242);
        let mut line = Line::NEW;
        let mut weighed = [0u64; 2];
        let lengths = [150_000, 350_000];
        for _ in 0..100_000 {
            for (length, sum) in lengths.iter().zip(&mut weighed) {
                *sum += line.draw(*length, FIRST, || numbers.next());
            }
        }
        let share = weighed[0] as f64 / (weighed[0] + weighed[1]) as f64;
        // 50,000 points: a standard deviation of 0.2 %.
        assert!((share - 0.3).abs() < 0.01, "{share}");
    }

    /// One that stands for many is longer than a stratum.
    #[test]
    fn lengths_longer_than_strata_count_whole() {
        let numbers = Numbers::from(7);
        let mut line = Line::NEW;
        assert_eq!(line.draw(10 * FIRST, FIRST, || numbers.next()), 10 * FIRST);
        let weight = line.draw(10 * FIRST + 1, FIRST, || numbers.next());
        assert!((10 * FIRST..=11 * FIRST).contains(&weight), "{weight}");
    }
}
