//! The newest parts of a recording that has no end, as many as fit.

use std::collections::VecDeque;

use crate::metric::WallTimeNs;

/// Some sections.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// They.
    pub sections: Vec<u8>,
    /// How many ticks were written before those in it, and how many are in it.
    pub ticks: (u64, u64),
    /// When the first of them was.
    pub from: Option<WallTimeNs>,
    /// Ticks that were missed while it was made.
    pub missed_ticks: u64,
    /// Windows of stacks that were missed while it was made.
    pub missed_windows: u64,
}

/// Parts, the oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    parts: VecDeque<Part>,
    bytes: usize,
    max_bytes: usize,
}

impl Ring {
    /// Empty. It never takes more than `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { parts: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Adds a part; the oldest go until it fits.
    pub fn push(&mut self, mut part: Part) {
        part.sections.shrink_to_fit();
        self.bytes += part.sections.len();
        self.parts.push_back(part);
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.parts.pop_front() else { break };
            self.bytes -= oldest.sections.len();
        }
    }

    /// How many bytes it takes now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first tick in it was; `None` if none is.
    pub fn from(&self) -> Option<WallTimeNs> {
        self.parts.iter().find_map(|part| part.from)
    }

    /// How many ticks were written before the first that is in it; `None` if none is.
    pub fn first_tick(&self) -> Option<u64> {
        self.parts.iter().find(|part| part.ticks.1 > 0).map(|part| part.ticks.0)
    }

    /// What is in it, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_the_newest_stay() {
        let mut ring = Ring::new(100);
        assert_eq!(ring.first_tick(), None);
        for number in 0..10u8 {
            // Every other one is a window of stacks.
            let ticks = if number % 2 == 0 { (u64::from(number) * 5, 10) } else { (0, 0) };
            let from = (ticks.1 > 0).then(|| WallTimeNs(u64::from(number)));
            ring.push(Part { sections: vec![number; 30], ticks, from, ..Part::default() });
        }
        let kept: Vec<u8> = ring.parts().map(|part| part.sections[0]).collect();
        assert_eq!(kept, [7, 8, 9]);
        assert_eq!((ring.first_tick(), ring.from()), (Some(40), Some(WallTimeNs(8))));
        // More than there is room for at all.
        ring.push(Part { sections: vec![0; 101], ticks: (50, 10), ..Part::default() });
        assert_eq!((ring.parts().count(), ring.bytes(), ring.from()), (0, 0, None));
    }
}
