//! Folded lines: `root;caller;leaf WEIGHT`, the format of stackcollapse and flamegraph.pl.
//!
//! Contract: [`read`] gives back exactly what [`write`] was given, whatever the names hold. For this
//! `\` is written `\\`, `;` is `\:`, a newline `\n`, a carriage return `\r`, and an empty
//! name `\e`; a `#` that begins a line is `\#`, since other readers take such a line for a comment.
//! In lines of other writers, a `\` before anything else stands for itself.

use thiserror::Error;

/// How much of a line an error shows.
const END_CHARS: usize = 24;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedStack {
    /// Names, root first.
    pub frames: Vec<String>,
    /// The weight, in the unit of the profile.
    pub weight: u64,
}

/// Why text is not made of folded lines.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FoldedError {
    /// A line does not end in a space and a whole number.
    #[error(
        "line {line} has no weight: a folded line ends in a space and a whole number, this one in {end:?}"
    )]
    NoWeight {
        /// Counted from 1.
        line: usize,
        /// The last characters of the line.
        end: String,
    },
}

/// Writes lines, in the order given.
pub fn write<'a, F>(stacks: impl IntoIterator<Item = (F, u64)>) -> String
where
    F: IntoIterator<Item = &'a str>,
{
    let mut text = String::new();
    for (frames, weight) in stacks {
        for (place, frame) in frames.into_iter().enumerate() {
            if place > 0 {
                text.push(';');
            } else if frame.starts_with('#') {
                text.push('\\');
            }
            escape(frame, &mut text);
        }
        text.push_str(&format!(" {weight}\n"));
    }
    text
}

/// Reads lines; empty ones and comments, which begin with `# `, are skipped.
pub fn read(text: &str) -> Result<Vec<FoldedStack>, FoldedError> {
    let is_said = |line: &str| !line.trim_end_matches('\r').is_empty() && !line.starts_with("# ");
    let lines = text.split('\n').enumerate().filter(|(_, line)| is_said(line));
    lines.map(|(place, line)| read_line(line, place + 1)).collect()
}

fn read_line(text: &str, line: usize) -> Result<FoldedStack, FoldedError> {
    let text = text.trim_end_matches('\r');
    let missing = || {
        let end = text.char_indices().rev().nth(END_CHARS - 1).map_or(text, |(at, _)| &text[at..]);
        FoldedError::NoWeight { line, end: end.to_owned() }
    };
    let Some((stack, weight)) = text.rsplit_once(' ') else { return Err(missing()) };
    let weight = weight.parse().map_err(|_| missing())?;
    let frames = if stack.is_empty() { vec![] } else { stack.split(';').map(unescape).collect() };
    Ok(FoldedStack { frames, weight })
}

fn escape(name: &str, text: &mut String) {
    if name.is_empty() {
        text.push_str("\\e");
    }
    for character in name.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            ';' => text.push_str("\\:"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

fn unescape(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => plain.push('\\'),
            Some(':') => plain.push(';'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('#') => plain.push('#'),
            Some('e') => {}
            other => plain.extend(std::iter::once('\\').chain(other)),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_plain() {
        let lines = write([(["main", "std::vector<int, 4>", "read_[k]"], 7)]);
        assert_eq!(lines, "main;std::vector<int, 4>;read_[k] 7\n");
    }

    #[test]
    fn reads_what_others_wrote() {
        let stacks = read("a;b c 3\r\n\n\\x;d 4").unwrap();
        assert_eq!(stacks[0], FoldedStack { frames: vec!["a".into(), "b c".into()], weight: 3 });
        assert_eq!(stacks[1].frames, ["\\x", "d"]);
        let wrong = |line, end: &str| Err(FoldedError::NoWeight { line, end: end.into() });
        assert_eq!(read("a 1\nb"), wrong(2, "b"));
        assert_eq!(read("a -1"), wrong(1, "a -1"));
        assert_eq!(read(&format!("# of others\n{}", "é".repeat(99))), wrong(2, &"é".repeat(24)));
    }

    fn hostile() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                4 => prop_oneof![
                    Just(';'), Just('\\'), Just('\n'), Just('\r'), Just('#'), Just(' '),
                    Just(':'), Just('e'), Just('n'), Just('1'), Just('\0'), Just('\u{85}'),
                ],
                1 => any::<char>(),
            ],
            0..8,
        )
        .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(
            stacks in proptest::collection::vec(
                (proptest::collection::vec(hostile(), 0..5), any::<u64>()), 0..6),
        ) {
            let text =
                write(stacks.iter().map(|(names, weight)| (names.iter().map(String::as_str), *weight)));
            prop_assert_eq!(text.lines().count(), stacks.len());
            let expected: Vec<_> = stacks
                .into_iter()
                .map(|(frames, weight)| FoldedStack { frames, weight })
                .collect();
            prop_assert_eq!(read(&text), Ok(expected));
        }
    }
}
