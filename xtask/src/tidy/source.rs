//! A Rust file, taken apart far enough for the rules: comments, strings and test code aside.
//!
//! A scanner, not a parser: what it blanks it replaces by spaces and keeps the line breaks, so
//! that a place in one text is the same place in all.

use std::ops::Range;
use std::path::PathBuf;

/// A file and its views.
pub struct Source {
    /// Relative to the workspace.
    pub path: PathBuf,
    pub text: String,
    /// Without comments and the content of strings.
    pub code: String,
    /// Without comments only: attributes may hold strings.
    pub uncommented: String,
    /// What only tests compile, as places in the text.
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Takes a file apart.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let (code, uncommented) = blank_comments_and_strings(&text);
        let tests = test_items(&code);
        Self { path, text, code, uncommented, tests }
    }

    /// The code that is not only for tests.
    pub fn code_without_tests(&self) -> String {
        let mut code = self.code.clone().into_bytes();
        for test in &self.tests {
            blank(&mut code[test.clone()]);
        }
        String::from_utf8_lossy(&code).into_owned()
    }

    /// How many lines the file has without its test code.
    pub fn lines_without_tests(&self) -> usize {
        let breaks = |text: &str| text.bytes().filter(|&byte| byte == b'\n').count();
        let of_tests = |test: &Range<usize>| breaks(&self.text[test.clone()]) + 1;
        self.text.lines().count().saturating_sub(self.tests.iter().map(of_tests).sum())
    }

    /// Whether the whole file is test code, by its name within its package: `tests.rs`,
    /// `x_tests.rs`, `tests/`.
    pub fn is_test(&self) -> bool {
        self.path.components().skip(1).any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs")
        })
    }
}

/// A word or a sign of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

/// Splits code into words, `::` and single signs.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|next| !is_word(next)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            tokens.push(Token { text, line });
        }
        rest = after;
    }
    tokens
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// The text without comments and strings, and without comments only.
fn blank_comments_and_strings(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut uncommented) = (bytes.to_vec(), bytes.to_vec());
    let mut at = 0;
    while at < bytes.len() {
        let end = match Lexeme::at(bytes, at) {
            Lexeme::Comment(end) => {
                blank(&mut code[at..end]);
                blank(&mut uncommented[at..end]);
                end
            }
            Lexeme::Literal(end) => {
                blank(&mut code[at..end]);
                end
            }
            Lexeme::Other(end) => end,
        };
        at = end;
    }
    // Only whole characters are blanked, so both are still UTF-8.
    (
        String::from_utf8_lossy(&code).into_owned(),
        String::from_utf8_lossy(&uncommented).into_owned(),
    )
}

/// What begins at a place, with the place behind it.
enum Lexeme {
    Comment(usize),
    Literal(usize),
    Other(usize),
}

impl Lexeme {
    fn at(bytes: &[u8], at: usize) -> Self {
        let rest = &bytes[at..];
        let end = |length: usize| (at + length).min(bytes.len());
        match rest {
            [b'/', b'/', ..] => {
                Self::Comment(end(rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())))
            }
            [b'/', b'*', ..] => Self::Comment(end(block_comment(rest))),
            [b'"', ..] => Self::Literal(end(1 + quoted(&rest[1..], b'"'))),
            // A character or a lifetime: only a character has a closing quote.
            [b'\'', b'\\', ..] => Self::Literal(end(1 + quoted(&rest[1..], b'\''))),
            [b'\'', first, ..] => {
                let width = match first {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    0xf0.. => 4,
                };
                match rest.get(1 + width) {
                    Some(b'\'') => Self::Literal(end(2 + width)),
                    _ => Self::Other(end(1)),
                }
            }
            [first, ..] if is_word(char::from(*first)) => {
                let word = rest.iter().position(|&b| !is_word_byte(b)).unwrap_or(rest.len());
                match (&rest[..word], raw_string(&rest[word..])) {
                    (b"r" | b"br" | b"cr", Some(length)) => Self::Literal(end(word + length)),
                    _ => Self::Other(end(word)),
                }
            }
            _ => Self::Other(end(1)),
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a comment that begins with `/*`; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length up to and with the closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `"..."` or `#"..."#` behind an `r`, if that is what follows.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"".as_slice(), &rest[..hashes]].concat();
    let body = &rest[hashes + 1..];
    let close = body.windows(closing.len()).position(|window| window == closing);
    Some(close.map_or(rest.len(), |close| hashes + 1 + close + closing.len()))
}

/// The items under `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut items: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices(ATTRIBUTE) {
        if items.last().is_none_or(|last| start >= last.end) {
            let behind = start + ATTRIBUTE.len();
            items.push(start..behind + item(&code[behind..]));
        }
    }
    items
}

/// The length of one item: up to its closing brace, or to its semicolon if it has none, or to the
/// end of what it is in.
fn item(code: &str) -> usize {
    let (mut braces, mut brackets) = (0, 0);
    for (at, sign) in code.char_indices() {
        match sign {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if braces < 0 {
            return at;
        }
        if braces == 0 && brackets == 0 && matches!(sign, '}' | ';') {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words and signs of the code, each place checked to be that of the text.
    fn code(text: &str) -> String {
        let code = Source::new("x.rs", text).code;
        assert_eq!(code.len(), text.len());
        let breaks = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(breaks(&code), breaks(text));
        tokens(&code).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_go_and_lines_stay() {
        assert_eq!(code("a // b\nc /* d\n /* e */ f */ g"), "a c g");
        assert_eq!(code("//! é\nx"), "x");
    }

    #[test]
    fn strings_go_in_all_their_forms() {
        assert_eq!(code(r#"f("a // \" b") + 1"#), "f ( ) + 1");
        assert_eq!(code(r###"x(r#"a " b"#, br"\", "é\\", c"y")"###), "x ( , , , c )");
        assert_eq!(code("r#type x"), "r # type x");
        assert_eq!(code("var\"a\""), "var", "the r of a word begins no raw string");
    }

    #[test]
    fn characters_go_and_lifetimes_stay() {
        assert_eq!(code(r#"'"' &'a str 'é' '\'' '\u{7f}' b'x' 'y"#), "& ' a str b ' y");
    }

    #[test]
    fn strings_stay_where_only_comments_go() {
        let source = Source::new("x.rs", "#[link_section = \"iter/task\"] // no \"quote");
        assert_eq!(source.uncommented.trim_end(), "#[link_section = \"iter/task\"]");
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() { '{'; }\n}\nfn c() {}\n\
                    #[cfg(test)]\nuse x::[y; 3];\nfn d() {}\n";
        let source = Source::new("x.rs", text);
        let words = source.code_without_tests();
        for (word, kept) in [("a", true), ("b", false), ("c", true), ("x", false), ("d", true)] {
            assert_eq!(tokens(&words).iter().any(|token| token.text == word), kept, "{word}");
        }
        assert_eq!(source.lines_without_tests(), 4);
    }

    #[test]
    fn tokens_know_their_line() {
        let tokens = tokens("a::b\n{c}");
        let shown: Vec<_> = tokens.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(shown, [("a", 1), ("::", 1), ("b", 1), ("{", 2), ("c", 2), ("}", 2)]);
    }

    #[test]
    fn an_unfinished_file_is_no_reason_to_fall_over() {
        for text in [
            "\"",
            "'",
            "'\\",
            "/*",
            "r#\"",
            "#[cfg(test)]",
            "#[cfg(test)] mod x {",
            "#[cfg(test)]}",
        ] {
            let _ = Source::new("x.rs", text).code_without_tests();
        }
    }
}
