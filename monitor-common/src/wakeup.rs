//! Stacks of those who end waits: what the kernel half keeps of a waker until the wake-up tells how long the wait was.
//!
//! Contract: a wake-up is drawn when the waker's stack can be taken, before the end of the wait is known: in proportion to an expectation,
//! what the thread has waited by then and [`MARGIN_NS`]. What is sent weighs as many times the wait as the draw says it stands
//! for expectations. The draw knows nothing of what follows, so the weights stand without bias for all waits that ended.

use crate::{state::ThreadState, weight::IS_DRAWN};

/// What goes between the head of such a sample and its frames: whom it woke. The head is of the waker, and weighs the wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// The cgroup of the thread that waited.
    pub cgroup_id: u64,
    /// How long it was expected to have waited as this was drawn, ns.
    pub expected_ns: u64,
    /// Its process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// 1 if it is a kernel thread.
    pub is_kernel_thread: u32,
    /// How long the waker took to have his stack taken: it made the wait longer than those it stands for, ns.
    pub taking_ns: u32,
    /// Its name.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Woken>() == 48);

/// What is added to the time a thread has waited as its waker begins: another CPU that sleeps takes some microseconds to wake it. Without
/// that a wait that had just begun would be drawn too seldom and stand for too much.
pub const MARGIN_NS: u64 = 4_096;
/// Threads that are being woken at once, of those whose waker's stack is kept: from one hook to the next, some microseconds.
pub const MAX_WAKINGS: u32 = 4_096;
/// A wait longer than that is not scaled: it was sent whatever was drawn. Products with the longest stratum fit into 64 bits.
const MAX_SCALED_NS: u64 = 1 << 32;

/// Set in the word of a sample of a waker.
const WAKES: u32 = 1 << 10;

/// What the word `wait` of a [`crate::stack::StackHeader`] holds of a waker: what the woken thread waited in.
pub const fn wake_word(state: u32, is_drawn: bool) -> u32 {
    (state + 1) | WAKES | if is_drawn { IS_DRAWN } else { 0 }
}

/// The state in such a word, and whether it stands for others too; `None` for other samples.
pub fn woken_from(word: u32) -> Option<(ThreadState, bool)> {
    let state = (word & WAKES != 0).then_some(word & 0xff)?.checked_sub(1)?;
    Some((*ThreadState::ALL.get(state as usize)?, word & IS_DRAWN != 0))
}

/// What a wait weighs that was drawn with `weight_ns` when `expected_ns` was known of it, and that was made longer by `taking_ns` for it.
#[inline(always)]
pub fn corrected_ns(wait_ns: u64, weight_ns: u64, expected_ns: u64, taking_ns: u64) -> u64 {
    if weight_ns == expected_ns || expected_ns == 0 {
        return wait_ns;
    }
    let wait_ns = if wait_ns > MAX_SCALED_NS { MAX_SCALED_NS } else { wait_ns };
    let taking_ns = if taking_ns > wait_ns { wait_ns } else { taking_ns };
    taking_ns + (wait_ns - taking_ns) * weight_ns / expected_ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        line::{Line, Numbers},
        offcpu::waited_in,
        weight::{SENT_PER_WINDOW, WeightDraw, weighed_in},
    };

    #[test]
    fn words_are_read_back() {
        assert_eq!(woken_from(0), None);
        for state in ThreadState::ALL {
            for is_drawn in [false, true] {
                let word = wake_word(state as u32, is_drawn);
                assert_eq!(woken_from(word), Some((state, is_drawn)));
                assert_eq!(weighed_in(word), None);
            }
            assert_eq!(woken_from(crate::offcpu::wait_word(state as u32, true)), None);
            assert_eq!(waited_in(wake_word(state as u32, true)), Some((state, false)));
        }
    }

    /// Two kinds of waits, more of them than are sent, whose ends come later than expected by what nobody knew: each has its time.
    #[test]
    fn what_is_drawn_stands_for_the_time_that_was_waited() {
        let numbers = Numbers::from(521_288_629);
        let mut draw = WeightDraw {
            line: Line::NEW,
            window_ns: 0,
            laid: 0,
            lost_weight: 0,
            lost: 0,
            sent: 0,
            padding: [0; 15],
        };
        let (mut waited_ns, mut weighed_ns) = ([0u64; 2], [0u64; 2]);
        for turn in 0..400_000u64 {
            let kind = (turn % 3 == 0) as usize;
            let known_ns = [3_000, 60_000][kind];
            let wait_ns = known_ns + u64::from(numbers.next() % 30_000);
            let expected_ns = known_ns + MARGIN_NS;
            draw.settle(turn * 20_000, SENT_PER_WINDOW);
            let weight_ns = draw.weigh(expected_ns, || numbers.next());
            draw.sent += u32::from(weight_ns != 0);
            waited_ns[kind] += wait_ns;
            if weight_ns != 0 {
                weighed_ns[kind] += corrected_ns(wait_ns, weight_ns, expected_ns, 0);
            }
        }
        for (waited, weighed) in waited_ns.iter().zip(&weighed_ns) {
            let ratio = *weighed as f64 / *waited as f64;
            assert!((ratio - 1.0).abs() < 0.03, "{ratio}: {waited_ns:?} {weighed_ns:?}");
        }
    }

    #[test]
    fn what_stands_for_itself_weighs_what_it_was() {
        assert_eq!(corrected_ns(3_000_000_000_000, 70, 70, 5), 3_000_000_000_000);
        assert_eq!(corrected_ns(300, 800, 200, 0), 1_200);
        // What the taking added happened once.
        assert_eq!(corrected_ns(300, 800, 200, 100), 900);
        assert_eq!(corrected_ns(300, 800, 200, 400), 300);
    }
}
