//! Names from others on a terminal, and widths in columns.

use ratatui::text::Span;

/// A name with everything that a terminal would obey, or that would change the direction of what follows, written out.
pub fn clean(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if is_obeyed(c) { text.extend(c.escape_unicode()) } else { text.push(c) }
    }
    text
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Columns a text takes on a terminal.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text of at most `columns`, with an ellipsis where it was cut.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        let mut longer = cut.clone();
        longer.push(c);
        if width(&longer) >= columns {
            break;
        }
        cut = longer;
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(clean("we\u{1b}[31mb\n\u{202e}x"), "we\\u{1b}[31mb\\u{a}\\u{202e}x");
        assert_eq!(clean("wäb 名前"), "wäb 名前");
    }

    #[test]
    fn cut_by_columns_not_bytes() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("名前名前", 5), "名前…");
        assert_eq!(width(&fit("abcdefghij", 6)), 6);
    }
}
