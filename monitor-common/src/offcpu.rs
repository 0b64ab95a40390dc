//! Off-CPU stacks: what the kernel half remembers of a wait until it ends, and how it draws the waits that are sent.
//!
//! Contract: of the waits that somebody asks for, one of [`STRATUM_NS`] or more is always sent, with the time it took. Shorter ones are laid
//! end to end, and of each stratum of that line the wait that a random point falls on is sent, with the length of the
//! stratum: a wait is drawn in proportion to its length, and the weights of all that are sent add up to the time waited but for one stratum a
//! CPU. A wait that was not walked at its beginning (see [`Wait::scale_up`]) is made up for by those that were.

use crate::{
    line::Line,
    stack::{MAX_FRAMES, StackHeader},
    state::ThreadState,
};

/// User frames that are kept of a wait.
pub const MAX_WAIT_FRAMES: usize = 127;
/// Threads whose waits are followed at once.
pub const MAX_WAITS: u32 = 16_384;
/// Processes that can be recorded at once.
pub const MAX_PROCESSES: usize = 8;

/// Waits of this length or more are kept each, at least as long as there are not too many of them.
pub const STRATUM_NS: u64 = 1_000_000;
/// As far as that goes up where there are: 64 ms.
pub const MAX_STRATUM_NS: u64 = STRATUM_NS << 6;
/// How often a CPU looks at what it spends.
pub const WINDOW_NS: u64 = 10_000_000;
/// Walks of user stacks in a window and CPU that are not too many: 50,000 a second, at 0.7 us each 3.5 % of the CPU.
pub const WALKS_PER_WINDOW: u32 = 500;
/// Waits that are sent in a window and CPU that are not too many: 5,000 a second, some 1.5 MB.
pub const SENT_PER_WINDOW: u32 = 50;
/// Time of waits by which the weights are held to their sum; products with 16 bits fit into 64.
const LAID_MEMORY_NS: u64 = 1 << 34;
/// Taken to be right at the beginning, so that the first of them do not say too much.
const LAID_BALLAST_NS: u64 = 1 << 27;
/// A wait is walked with at least this probability, one in so many: a lower one would be made up for by weights that are too large.
pub const MAX_SCALE: u64 = 64;
/// Where the expectation begins that has to be reached for a walk that is certain, once there are too many.
pub const FIRST_STEP_NS: u64 = 4_096;
/// Where it ends: 4 s. Products with 31 bits of chance fit into 64.
pub const MAX_STEP_NS: u64 = 1 << 32;

/// The last wait of a thread, by its id.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// When it began, ns of the scheduler's clock.
    pub since_ns: u64,
    /// How long this thread waits, the mean of its last waits, ns.
    pub expected_ns: u64,
    /// How many waits like this one there were for each that was walked: `scale_up / scale_down`.
    pub scale_up: u64,
    /// See `scale_up`; never 0.
    pub scale_down: u64,
    /// What the walk took, if it stands for others: it made the wait longer than those, ns.
    pub walk_ns: u64,
    /// `mm->start_stack`, as in a sample.
    pub start_stack: u64,
    /// Frames that follow.
    pub user_frames: u32,
    /// How the walk of them ended: a [`crate::unwind::WalkEnd`].
    pub walk_end: u32,
    /// The [`ThreadState`].
    pub state: u32,
    /// 1 while it lasts.
    pub is_open: u32,
    /// Innermost first.
    pub frames: [u64; MAX_WAIT_FRAMES],
}

const _: () = assert!(size_of::<Wait>() == 64 + 8 * MAX_WAIT_FRAMES);

/// Whose waits are wanted: written by user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitFilter {
    /// 1 for everybody's.
    pub all: u32,
    /// 1 for those of the slots that are not refused.
    pub by_slot: u32,
    /// Those of these processes; 0 for none.
    pub processes: [u32; MAX_PROCESSES],
}

const _: () = assert!(size_of::<WaitFilter>() == 40);

/// What user space writes for a slot whose waits are not wanted. A slot it has not seen yet is not refused, so that nothing is lost.
pub const SLOT_REFUSED: u64 = 1;

/// What one CPU goes by, and what it has counted since the start.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct WaitDraw {
    /// On which short waits are laid, ns.
    pub line: Line,
    /// Threads that are expected to wait this long are walked each; 0 for all threads.
    pub step_ns: u64,
    /// When the window began, ns of the scheduler's clock.
    pub window_ns: u64,
    /// Walks in it.
    pub walks: u32,
    /// Waits sent in it.
    pub sent: u32,
    /// Weight that found no room in the ring, ns.
    pub lost_ns: u64,
    /// How many waits carried it.
    pub lost: u64,
    /// Waits that nothing is known of since their thread found no room in the table.
    pub untracked: u64,
    /// Time of the short ones among them, of late, ns.
    pub short_ns: u64,
    /// What the walked ones of those stood for, ns.
    pub scaled_ns: u64,
    /// Waits whose end was not seen and cannot be told.
    pub endless: u64,
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 3],
}

const _: () = assert!(size_of::<WaitDraw>() == 128);

impl WaitDraw {
    /// The weight of a short wait, `None` if it is not walked: its length, and what it stands for with others, ns. 0 if it is not drawn.
    #[inline(always)]
    pub fn weigh(&mut self, wait_ns: u64, scaled_ns: Option<u64>, random: impl Fn() -> u32) -> u64 {
        self.short_ns += wait_ns;
        match scaled_ns {
            // Others stand for it.
            None => 0,
            Some(scaled_ns) => {
                let laid_ns = self.lay(scaled_ns);
                self.line.draw(laid_ns, STRATUM_NS, random)
            }
        }
    }

    /// How much of the line a walked wait takes that stands for `scaled_ns`: as much more or less, a quarter at most, as all short waits
    /// were more or less than what stood for them. Waits that are walked last longer than those they stand
    /// for, by more than the walk itself: without this the totals of two processes that wait for each other's bytes were 2.6 % too high.
    #[inline(always)]
    fn lay(&mut self, scaled_ns: u64) -> u64 {
        self.scaled_ns += scaled_ns;
        if self.scaled_ns > LAID_MEMORY_NS {
            // What was long ago counts for less and less.
            self.short_ns /= 2;
            self.scaled_ns /= 2;
        }
        let ratio = ((self.short_ns + LAID_BALLAST_NS) << 16) / (self.scaled_ns + LAID_BALLAST_NS);
        let ratio = if ratio < 3 << 14 { 3 << 14 } else { ratio };
        let ratio = if ratio > 5 << 14 { 5 << 14 } else { ratio };
        (scaled_ns * ratio) >> 16
    }

    /// The shortest wait that is sent whatever is drawn, ns.
    #[inline(always)]
    pub fn always_ns(&self) -> u64 {
        self.line.stratum_or(STRATUM_NS)
    }

    /// Spends more or less from now on, by what was spent in the last window. `sent_max` as [`SENT_PER_WINDOW`].
    #[inline(always)]
    pub fn settle(&mut self, now_ns: u64, sent_max: u32) {
        if now_ns.wrapping_sub(self.window_ns) < WINDOW_NS {
            return;
        }
        if self.walks > WALKS_PER_WINDOW {
            let doubled_ns = self.step_ns * 2;
            self.step_ns = doubled_ns.clamp(FIRST_STEP_NS, MAX_STEP_NS);
        } else if self.walks < WALKS_PER_WINDOW / 3 {
            let halved_ns = self.step_ns / 2;
            self.step_ns = if halved_ns < FIRST_STEP_NS { 0 } else { halved_ns };
        }
        let stratum_ns = if self.line.next == 0 { STRATUM_NS } else { self.line.next };
        if self.sent > sent_max {
            if stratum_ns < MAX_STRATUM_NS {
                self.line.next = stratum_ns * 2;
            }
        } else if self.sent < sent_max / 3 && stratum_ns > STRATUM_NS {
            self.line.next = stratum_ns / 2;
        }
        self.window_ns = now_ns;
        self.walks = 0;
        self.sent = 0;
    }
}

/// What the word `wait` of a [`StackHeader`] holds of a wait: its state and 1, so that 0 is a sample of the CPU clock.
pub const fn wait_word(state: u32, is_open: bool) -> u32 {
    (state + 1) | if is_open { STILL_WAITS } else { 0 }
}

/// Set in that word when the wait lasted as it was sent.
pub const STILL_WAITS: u32 = 1 << 8;

/// The state in such a word, and whether the wait lasted; `None` for a sample of the CPU clock.
pub fn waited_in(word: u32) -> Option<(ThreadState, bool)> {
    let state = (word & 0xff).checked_sub(1)?;
    Some((*ThreadState::ALL.get(state as usize)?, word & STILL_WAITS != 0))
}

const _: () = assert!(MAX_WAIT_FRAMES <= MAX_FRAMES && size_of::<StackHeader>() == 80);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Numbers;

    const FRESH: WaitDraw = WaitDraw {
        line: Line::NEW,
        step_ns: 0,
        window_ns: 0,
        walks: 0,
        short_ns: 0,
        scaled_ns: 0,
        sent: 0,
        lost_ns: 0,
        lost: 0,
        untracked: 0,
        endless: 0,
        padding: [0; 3],
    };

    /// One of eight is walked and lasts longer for it than those it stands for: the line is still as long as all, and no kind of them has
    /// more of it for that.
    #[test]
    fn what_stands_for_others_is_as_long_as_they_are() {
        let numbers = Numbers::from(362_436_069);
        let mut draw = FRESH;
        let (mut laid_ns, mut waited_ns) = ([0u64; 2], 0u64);
        for _ in 0..400_000 {
            for (length_ns, sum_ns) in [15_000, 35_000].iter().zip(&mut laid_ns) {
                let is_walked = numbers.next().is_multiple_of(8);
                let wait_ns = if is_walked { length_ns + 1_000 } else { *length_ns };
                waited_ns += wait_ns;
                let scaled_ns = is_walked.then_some(wait_ns * 8);
                *sum_ns += draw.weigh(wait_ns, scaled_ns, || numbers.next());
            }
        }
        let all_ns = laid_ns[0] + laid_ns[1];
        let share = laid_ns[0] as f64 / all_ns as f64;
        let waited_ns = waited_ns as f64;
        // Without the correction it is 3.4 % too long.
        assert!((all_ns as f64 / waited_ns - 1.0).abs() < 0.01, "{all_ns} of {waited_ns}");
        // 50,000 of each are walked, and some 20,000 drawn. What walks add is more of the short ones: 16 of 52.
        assert!((share - 16.0 / 52.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_cpu_spends_less_when_it_spends_too_much() {
        let mut draw = FRESH;
        for window in 1..20 {
            (draw.walks, draw.sent) = (WALKS_PER_WINDOW + 1, SENT_PER_WINDOW + 1);
            draw.settle(window * WINDOW_NS, SENT_PER_WINDOW);
        }
        assert_eq!((draw.step_ns, draw.line.next), (FIRST_STEP_NS << 18, MAX_STRATUM_NS));
        for window in 20..60 {
            draw.settle(window * WINDOW_NS, SENT_PER_WINDOW);
        }
        assert_eq!((draw.step_ns, draw.line.next), (0, STRATUM_NS));
    }

    #[test]
    fn words_are_read_back() {
        assert_eq!(waited_in(0), None);
        for state in ThreadState::ALL {
            for is_open in [false, true] {
                assert_eq!(waited_in(wait_word(state as u32, is_open)), Some((state, is_open)));
            }
        }
        assert_eq!(waited_in(200), None);
    }
}
