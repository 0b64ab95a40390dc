//! Plain tables: a heading, columns as wide as needed, numbers to the right.

use super::text::width;

/// Which side a column keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Draws a table; rows have as many cells as the heading.
pub fn draw(heading: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell));
        cells.chain([width(heading[column].0)]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(widest).collect();
    let mut text = String::new();
    let names: Vec<String> = heading.iter().map(|(name, _)| (*name).to_owned()).collect();
    for row in [&names].into_iter().chain(rows) {
        let mut line = String::new();
        for ((cell, &wide), (_, side)) in row.iter().zip(&widths).zip(heading) {
            let gap = " ".repeat(wide.saturating_sub(visible(cell)));
            if !line.is_empty() {
                line.push_str("  ");
            }
            match side {
                Side::Left => line.extend([cell.as_str(), gap.as_str()]),
                Side::Right => line.extend([gap.as_str(), cell.as_str()]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns a cell takes; colours take none.
fn visible(cell: &str) -> usize {
    let mut plain = String::new();
    let mut rest = cell;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    width(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["web".to_owned(), "1.50".to_owned()],
            vec!["名前".to_owned(), "12.25".to_owned()],
            vec!["\u{1b}[31mred\u{1b}[0m".to_owned(), "0".to_owned()],
        ];
        let text = draw(&[("NAME", Side::Left), ("CPU", Side::Right)], &rows);
        let expected = "NAME    CPU\nweb    1.50\n名前  12.25\n\u{1b}[31mred\u{1b}[0m       0\n";
        assert_eq!(text, expected);
    }
}
