//! The bar of states: whose letters and colours stand for what, and how many cells each gets.
//!
//! Contract: the cells of a bar are all used, and a state with any time that rounds to a cell or more is seen. Letters tell
//! the states apart without colours; the colours are apart for the colour-blind too (Paul Tol's muted scheme).

use ratatui::style::Color;

use crate::analyze::StateShare;

/// How one state is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// One letter.
    pub letter: char,
    /// Red, green, blue of its ground.
    pub ground: (u8, u8, u8),
    /// Whether letters on it are light.
    pub is_dark: bool,
}

const LOOKS: [(&str, Look); 13] = [
    ("running.user", look('U', (0x11, 0x77, 0x33), true)),
    ("running.kernel", look('K', (0x44, 0xaa, 0x99), false)),
    ("stolen", look('S', (0x66, 0x11, 0x00), true)),
    ("runnable", look('R', (0xcc, 0x66, 0x77), false)),
    ("throttled", look('T', (0x88, 0x22, 0x55), true)),
    ("blocked.disk", look('D', (0x33, 0x22, 0x88), true)),
    ("blocked.fault", look('F', (0xaa, 0x44, 0x99), true)),
    ("blocked.lock", look('L', (0xdd, 0xcc, 0x77), false)),
    ("blocked.network", look('N', (0x88, 0xcc, 0xee), false)),
    ("blocked.pipe", look('P', (0x99, 0x99, 0x33), false)),
    ("blocked.other", look('O', (0x66, 0x66, 0xcc), true)),
    ("sleeping", look('.', (0xdd, 0xdd, 0xdd), false)),
    ("unknown", look('?', (0x77, 0x77, 0x77), true)),
];

const fn look(letter: char, ground: (u8, u8, u8), is_dark: bool) -> Look {
    Look { letter, ground, is_dark }
}

/// How a state is drawn; one that is not known here as `unknown`.
pub fn look_of(state: &str) -> Look {
    let known = LOOKS.iter().find(|(name, _)| *name == state);
    known.map_or(LOOKS[LOOKS.len() - 1].1, |(_, look)| *look)
}

/// Every state with its look, in the order of the bar.
pub fn legend() -> impl Iterator<Item = (&'static str, Look)> {
    LOOKS.iter().copied()
}

impl Look {
    /// The colour of its ground.
    pub fn ground_color(self) -> Color {
        let (red, green, blue) = self.ground;
        Color::Rgb(red, green, blue)
    }

    /// The colour of letters on it.
    pub fn letter_color(self) -> Color {
        if self.is_dark { Color::White } else { Color::Black }
    }

    /// A text on its ground, for a terminal.
    pub fn paint(self, text: &str) -> String {
        let (red, green, blue) = self.ground;
        let letter = if self.is_dark { 97 } else { 30 };
        format!("\u{1b}[{letter};48;2;{red};{green};{blue}m{text}\u{1b}[0m")
    }
}

/// How many of `cells` each state gets: all of them together, by the largest remainder.
pub fn cells(states: &[StateShare], cells: usize) -> Vec<(Look, usize)> {
    let exact: Vec<f64> = states.iter().map(|s| s.share.clamp(0.0, 1.0) * cells as f64).collect();
    let mut given: Vec<usize> = exact.iter().map(|part| part.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..states.len()).collect();
    by_remainder.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let left = cells.saturating_sub(given.iter().sum());
    for &i in by_remainder.iter().take(left) {
        given[i] += 1;
    }
    states.iter().map(|s| look_of(&s.state)).zip(given).filter(|(_, n)| *n > 0).collect()
}

/// A bar of letters, on colours if the terminal takes them.
pub fn draw(states: &[StateShare], width: usize, has_colours: bool) -> String {
    let parts = cells(states, width).into_iter().map(|(look, n)| {
        let letters = look.letter.to_string().repeat(n);
        if has_colours { look.paint(&letters) } else { letters }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(times: &[u64]) -> Vec<StateShare> {
        let whole: u64 = times.iter().sum();
        let named = LOOKS.iter().zip(times);
        let share = |((state, _), &time_ns): (&(&str, Look), &u64)| StateShare {
            state: (*state).to_owned(),
            time_ns,
            share: time_ns as f64 / whole as f64,
        };
        named.map(share).collect()
    }

    #[test]
    fn letters_by_share() {
        assert_eq!(draw(&shares(&[50, 25, 25]), 8, false), "UUUUKKSS");
        assert_eq!(draw(&[], 8, false), "");
        assert!(draw(&shares(&[1]), 2, true).contains("48;2;17;119;51m"));
    }

    #[test]
    fn looks_differ() {
        let letters: std::collections::HashSet<char> =
            legend().map(|(_, look)| look.letter).collect();
        assert_eq!(letters.len(), LOOKS.len());
    }

    proptest! {
        #[test]
        fn every_cell_is_used(times in prop::collection::vec(0u64..1_000_000, 1..12), width in 1usize..200) {
            prop_assume!(times.iter().sum::<u64>() > 0);
            let given: usize = cells(&shares(&times), width).iter().map(|(_, n)| n).sum();
            prop_assert_eq!(given, width);
        }
    }
}
